"""The page about one run: facts, timeline, metrics with plots and images, inputs, outputs, files.

Every text goes through `escape`. Images that were logged stand in the page as data, those of a kind that a browser draws
and that are not too large; an SVG is never one of them, as it could hold a script.
"""

import base64
import datetime as dt
import html
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from mountd.units import format_size
from runtime.job import lineage, runs
from runtime.job.runs import InputRecord, RunRecord
from runtime.report.plots import plot
from runtime.tracking import files, journal, marks, metrics
from runtime.tracking.journal import Entry
from runtime.workspace import WorkspaceFolder

_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
_MAX_IMAGE_BYTES = 4 << 20
_MAX_PAGE_IMAGES = 40
_MAX_ROWS = 500
_STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;border-bottom:1px solid #ccc;margin-top:2rem}
h3{font-size:1rem;overflow-wrap:anywhere;margin-bottom:.2rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;overflow-wrap:anywhere;border-bottom:1px solid #eee}
svg{width:100%;max-width:35rem;display:block}svg text{font-size:11px;fill:#555}.axis{fill:none;stroke:#999}
.key{margin-right:1rem}.note{color:#666;font-size:.85rem;margin:.2rem 0}img{max-width:100%}code{overflow-wrap:anywhere}
.bar{display:flex;height:1.2rem;background:#eee}.bar div{min-width:1px}"""
_STEPS = (("getting ready", "#c2a25a"), ("the command and its outputs", "#1b6ca8"))


def escape(text: object) -> str:
    """`text` as HTML that shows it: what markup or a terminal would obey is spelled out."""
    plain = str(text).encode("utf-8", "backslashreplace").decode()
    shown = "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in plain)
    return html.escape(shown, quote=True)


def make(workspace: WorkspaceFolder, run_id: str) -> str:
    """The whole page.

    Raises:
        UnknownNameError: there is no such run.
    """
    record = runs.read(workspace, run_id)
    folder = runs.folder_of(workspace, run_id)
    entries, skipped = journal.read(folder)
    told = marks.read(folder, record.spec.tags)
    title = escape(told.display_name or run_id)
    sections = [
        f"<h1>{title}</h1>",
        _facts(record, told),
        _timeline(record),
        _section("Metrics", [*_metrics(folder, entries), *(f'<p class="note">{escape(line)}</p>' for line in skipped)]),
        _section("Inputs", _inputs(record)),
        _section("Outputs", _outputs(record)),
        _section("Runs below this one", _children(workspace, run_id)),
        _section("Files", _files(folder)),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(filter(None, sections))
        + "\n</body></html>\n"
    )


def _section(title: str, parts: Sequence[str]) -> str:
    return f"<h2>{title}</h2>\n" + "\n".join(parts) if parts else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    if not lines:
        return []
    top = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>" if head else ""
    return [f"<table>{top}{''.join(lines)}</table>"]


def _facts(record: RunRecord, told: marks.Marks) -> str:
    command = " ".join(lineage.without_secrets(record.spec.command))
    rows: list[tuple[str, object]] = [
        ("run", record.run_id),
        ("experiment", record.spec.experiment),
        ("status", runs.status_of(record)),
        ("command", command),
        ("folder", record.spec.cwd),
    ]
    optional = (("exit code", record.exit_code), ("error", record.error), ("parent", record.parent))
    rows += [(name, value) for name, value in optional if value is not None]
    rows += [(f"tag {key}", "" if value is None else value) for key, value in told.tags.items()]
    rows += [(f"property {key}", value) for key, value in told.properties.items()]
    return "".join(_table((), rows))


def _timeline(record: RunRecord) -> str:
    moments = [record.created, record.started, record.ended]
    lines = [("made", record.created), ("command started", record.started), ("ended", record.ended)]
    parts = _table((), [(name, moment) for name, moment in lines if moment])
    times = [dt.datetime.fromisoformat(moment) for moment in moments if moment]
    if len(times) == 3 and (whole_s := (times[2] - times[0]).total_seconds()) > 0:
        shares = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
        bars = "".join(
            f'<div style="width:{100 * max(took_s, 0) / whole_s:.2f}%;background:{colour}"></div>'
            for took_s, (_, colour) in zip(shares, _STEPS, strict=True)
        )
        names = "; ".join(f"{name} {took_s:.1f} s" for took_s, (name, _) in zip(shares, _STEPS, strict=True))
        parts += [f'<div class="bar">{bars}</div>', f'<p class="note">{escape(names)}</p>']
    if waits := [wait for each in record.inputs if (wait := waited(each))]:
        parts.append(f"<p>Waiting for data: {escape('; '.join(waits))}</p>")
    return _section("Timeline", parts)


def waited(each: InputRecord) -> str | None:
    """The line about how long the reads of a mounted input waited; None where that was not counted."""
    reads = each.counters.get("reads", {})
    if each.mode != "mount" or "wait_us" not in reads:
        return None
    waits = f"{reads['waited']} of {reads['count']} reads of '{each.name}' waited"
    return f"{waits}, {reads['wait_us'] / 1e6:.2f} s in all (reads that wait at the same time all count)"


def _metrics(folder: Path, entries: Sequence[Entry]) -> list[str]:
    parts: list[str] = []
    single: list[tuple[str, object]] = []
    images = 0
    for name, its in metrics.by_name(entries).items():
        if len(its) == 1 and its[0].kind == "scalar":
            single.append((name, _number(its[0].value)))
            continue
        parts.append(f"<h3>{escape(name)}</h3>")
        parts += [f'<p class="note">{escape(text)}</p>' for text in dict.fromkeys(e.description for e in its) if text]
        pictures = [entry.value for entry in its if entry.kind == metrics.IMAGE]
        parts += [_image(folder, each, name) for each in pictures[: max(0, _MAX_PAGE_IMAGES - images)]]
        images += len(pictures)
        parts.append(plot(metrics.series_of(its), escape) or _values(its))
    return _table(("metric", "value"), single) + [part for part in parts if part]


def _values(entries: Sequence[Entry]) -> str:
    """What cannot be plotted, as a table or as text."""
    kinds = {entry.kind for entry in entries}
    if kinds <= {"row", "table"}:
        columns = metrics.columns_of(entries)
        rows = list(zip(*columns.values(), strict=True))
        return "".join(_table(list(columns), rows[:_MAX_ROWS])) + _left_out(len(rows))
    values = [entry.value for entry in entries if entry.kind != metrics.IMAGE]
    if not values:
        return ""
    return "".join(f"<p><code>{escape(value)}</code></p>" for value in values[:_MAX_ROWS]) + _left_out(len(values))


def _left_out(count: int) -> str:
    return f'<p class="note">and {count - _MAX_ROWS} more</p>' if count > _MAX_ROWS else ""


def _number(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else value


def _image(folder: Path, name: object, metric: str) -> str:
    kind = _IMAGES.get(Path(str(name)).suffix.lower())
    try:
        path = files.find(folder, name)
        if kind is None or path.stat().st_size > _MAX_IMAGE_BYTES:
            return f'<p class="note">{escape(name)}: see the run\'s files</p>'
        data = base64.b64encode(path.read_bytes()).decode()
    except Exception as error:  # noqa: BLE001 # a file that somebody removed costs its picture, not the page
        return f'<p class="note">{escape(name)}: {escape(error)}</p>'
    return f'<img src="data:{kind};base64,{data}" alt="{escape(metric)}">'


def _inputs(record: RunRecord) -> list[str]:
    rows = []
    for each in record.inputs:
        reads, fetch = each.counters.get("reads", {}), each.counters.get("fetch", {})
        read = f"{format_size(reads.get('bytes', 0))} in {reads.get('count', 0)} reads" if each.mode == "mount" else ""
        fetched = f"{format_size(fetch['bytes'])} in {fetch.get('requests', 0)} requests" if "bytes" in fetch else ""
        version = each.version or ""
        rows.append((each.name, each.dataset, version, each.digest, each.mode, read, fetched))
    return _table(("input", "dataset", "version", "digest", "mode", "read", "fetched"), rows)


def _outputs(record: RunRecord) -> list[str]:
    rows = [
        (
            each.name,
            f"{each.datastore}/{each.path}",
            each.error or each.state,
            each.files,
            format_size(each.bytes),
            each.registered or "",
        )
        for each in record.outputs
    ]
    return _table(("output", "place", "state", "files", "size", "registered"), rows)


def _children(workspace: WorkspaceFolder, run_id: str) -> list[str]:
    children = runs.children_of(workspace, run_id, recursive=True)
    return _table(("run", "status", "made"), [(each.run_id, runs.status_of(each), each.created) for each in children])


def _files(folder: Path) -> list[str]:
    names = files.names(folder)
    rows = [(name, format_size(files.find(folder, name).stat().st_size)) for name in names[:_MAX_ROWS]]
    return _table(("file", "size"), rows) + ([_left_out(len(names))] if len(names) > _MAX_ROWS else [])
