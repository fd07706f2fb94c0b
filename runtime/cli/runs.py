"""`moorage runs`: what has run, with its logs, metrics and files; as lines, as JSON, or as a page of HTML.

All of it is read from the runs' folders in the workspace; no store and no catalog is asked.
"""

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import Invocation
from runtime.cli.printing import print_rows, printable

if TYPE_CHECKING:
    from runtime.job.runs import RunRecord
    from runtime.workspace import WorkspaceFolder

_POLL_S = 0.2
_SHOWN_METRICS = 30


@click.group()
def runs() -> None:
    """What has run: logs, metrics, reports."""


@runs.command("list")
@click.option("--experiment", metavar="NAME", help="Only runs of this experiment.")
@click.option("--status", metavar="STATUS", help="Only runs that are Running, Completed, Failed, Canceled, ...")
@click.option(
    "--tag", "tags", multiple=True, metavar="KEY[=VALUE]", help="Only runs with this tag; several: all of them."
)
@click.option("--parent", metavar="ID", help="Only runs below this one.")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N of those.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def list_runs(
    invocation: Invocation,
    experiment: str | None,
    status: str | None,
    tags: Sequence[str],
    parent: str | None,
    last: int | None,
    as_json: bool,  # noqa: FBT001 # click's way to pass a flag
) -> None:
    """The runs of the workspace, or those that the filters let through; the oldest first."""
    from runtime.job import runs as records

    workspace = invocation.workspace()
    found = [
        record
        for record in records.read_all(workspace)
        if experiment in {None, record.spec.experiment}
        and (status is None or status.lower() == records.status_of(record).lower())
        and parent in {None, record.parent}
        and _has_tags(workspace, record, tags)
    ]
    found = found[-last:] if last else found
    if as_json:
        click.echo(json.dumps([_document(record) for record in found], indent=1))
        return
    for record in found:
        code = "-" if record.exit_code is None else str(record.exit_code)
        click.echo(f"{record.run_id}  {records.status_of(record):<10}  {code:>3}  {record.created}")


def _has_tags(workspace: "WorkspaceFolder", record: "RunRecord", wanted: Sequence[str]) -> bool:
    if not wanted:
        return True
    from runtime.job import runs as records
    from runtime.tracking import marks

    there = marks.read(records.folder_of(workspace, record.run_id), record.spec.tags).tags
    pairs = (each.partition("=") for each in wanted)
    return all(key in there and (not equals or there[key] == value) for key, equals, value in pairs)


@runs.command("show")
@click.argument("run_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The whole record with metrics, tags and files, as one document.")
@click.pass_obj
def show_run(invocation: Invocation, run_id: str, as_json: bool) -> None:  # noqa: FBT001 # as above
    """One run: its status, inputs with what was read, outputs with where they are, tags and metrics."""
    from runtime.job import runs as records
    from runtime.tracking import files, marks

    workspace = invocation.workspace()
    record = records.read(workspace, run_id)
    folder = records.folder_of(workspace, run_id)
    told = marks.read(folder, record.spec.tags)
    logged = _metrics_of(workspace, run_id)
    if as_json:
        more = {
            "tags": told.tags,
            "properties": told.properties,
            "display_name": told.display_name,
            "metrics": _plain(logged),
            "files": files.names(folder),
        }
        click.echo(json.dumps(_document(record) | more, indent=1))
        return
    lines = _lines(record)
    lines += [f"tag       {key}{'' if value is None else f' = {value}'}" for key, value in told.tags.items()]
    lines += [f"metric    {name} = {_brief(value)}" for name, value in list(logged.items())[:_SHOWN_METRICS]]
    if len(logged) > _SHOWN_METRICS:
        lines.append(f"metric    and {len(logged) - _SHOWN_METRICS} more; --json has all")
    if names := files.names(folder):
        lines.append(f"files     {len(names)} in {folder / 'files'}")
    click.echo("\n".join(map(printable, lines)))


@runs.command("logs")
@click.argument("run_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.pass_obj
def show_logs(invocation: Invocation, run_id: str, follow: bool) -> None:  # noqa: FBT001 # as above
    """What the job printed."""
    from runtime.job import runs as records

    workspace = invocation.workspace()
    records.read(workspace, run_id)
    for block in _blocks(workspace, run_id, follow=follow):
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def _blocks(workspace: "WorkspaceFolder", run_id: str, *, follow: bool) -> Iterator[bytes]:
    from runtime.job import runs as records

    with records.log_path(workspace, run_id).open("rb") as log:
        while True:
            # Asked before the rest is read: what was printed before the end is not missed.
            is_over = not follow or records.status_of(records.read(workspace, run_id)) in records.FINAL
            while block := log.read(1 << 16):
                yield block
            if is_over:
                return
            time.sleep(_POLL_S)  # the log is another process's file


@runs.command("resume")
@click.argument("run_id", metavar="ID")
@click.pass_obj
def resume_run(invocation: Invocation, run_id: str) -> None:
    """Store and register the outputs of a job that succeeded, where that was cut short."""
    from runtime.job import finish

    record = finish.resume(invocation.workspace(), run_id, lambda line: click.echo(f"moorage: {line}", err=True))
    for output in record.outputs:
        registered = f", registered as {output.registered}" if output.registered else ""
        click.echo(f"{output.name}: {output.files} files in {output.datastore}/{output.path}{registered}")


@runs.command("report")
@click.argument("run_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where the page goes; ID.html if not said.")
@click.pass_obj
def report_run(invocation: Invocation, run_id: str, output: Path | None) -> None:
    """One page of HTML about a run, that needs nothing else: metrics plotted, inputs, outputs, files, timeline."""
    from runtime.report import page
    from runtime.workspace.files import write_whole

    text = page.make(invocation.workspace(), run_id)
    target = output or Path(f"{run_id}.html")
    if str(target) == "-":
        click.echo(text, nl=False)
        return
    write_whole(target, text)
    click.echo(str(target))


@runs.command("compare")
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def compare_runs(invocation: Invocation, run_ids: Sequence[str], as_json: bool) -> None:  # noqa: FBT001 # as above
    """The metrics of several runs side by side: of a metric that was logged often, the last value."""
    from runtime.job import runs as records

    workspace = invocation.workspace()
    logged = {run_id: _metrics_of(workspace, records.read(workspace, run_id).run_id) for run_id in run_ids}
    names = list(dict.fromkeys(name for metrics in logged.values() for name in metrics))
    rows = [
        {"metric": name} | {run_id: _last(metrics.get(name)) for run_id, metrics in logged.items()} for name in names
    ]
    print_rows(rows, as_json=as_json)


def _metrics_of(workspace: "WorkspaceFolder", run_id: str) -> dict[str, Any]:
    from runtime.job import runs as records
    from runtime.tracking import journal, metrics

    entries, skipped = journal.read(records.folder_of(workspace, run_id))
    journal.say_skipped(skipped)
    return metrics.shaped(entries, run_id)


def _last(value: Any) -> Any:
    if isinstance(value, list):
        return _plain(value[-1]) if value else None
    return f"table of {', '.join(value)}" if isinstance(value, dict) else _plain(value)


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return f"{value[-1]} (the last of {len(value)})" if value else "nothing"
    return f"table of {', '.join(value)}" if isinstance(value, dict) else str(value)


def _plain(value: Any) -> Any:
    """What JSON can say: NaN and the infinities as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, dict) else value


def _document(record: "RunRecord") -> dict[str, Any]:
    from runtime.job import runs as records

    return record.to_document() | {"status": records.status_of(record)}


def _lines(record: "RunRecord") -> list[str]:
    from mountd.units import format_size
    from runtime.job import runs as records

    lines = [f"{record.run_id}  {records.status_of(record)}", f"command   {' '.join(record.spec.command)}"]
    lines += [f"{name:<9} {value}" for name, value in _facts(record) if value is not None]
    for each in record.inputs:
        version = f" version {each.version}" if each.version else ""
        fetched = each.counters.get("fetch", {}).get("bytes")
        read = each.counters.get("reads", {}).get("bytes", 0)
        counted = "" if fetched is None else f", {format_size(read)} read, {format_size(fetched)} fetched"
        lines.append(f"input     {each.name} = {each.dataset}{version} ({each.mode}) at {each.value}{counted}")
    for output in record.outputs:
        what = f"{output.files} files, {format_size(output.bytes)} in {output.datastore}/{output.path}"
        lines.append(f"output    {output.name}: {output.error or (what if output.files else output.state)}")
        if output.registered:
            lines.append(f"          registered as {output.registered}")
    return lines


def _facts(record: "RunRecord") -> tuple[tuple[str, object], ...]:
    return (
        ("parent", record.parent),
        ("started", record.started),
        ("ended", record.ended),
        ("exit code", record.exit_code),
        ("error", record.error),
        ("launcher", record.launcher.pid if record.launcher and record.status == "Running" else None),
    )
