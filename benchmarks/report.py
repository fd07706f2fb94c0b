"""What came out, three ways: a table to read, JSON to keep, and a plot.

A row of the table is a workload on a tool: the median of its runs and their bounds, the CPU for one thing read (of a
stream: for a GB), peak memory, all requests of one run, and bytes fetched for a byte read.
"""

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.measure import Spread
from benchmarks.rows import Sample, unit

_COLUMNS = ("runs", "CPU", "peak RSS", "requests", "fetched / read")


@dataclass(frozen=True, slots=True)
class Line:
    """All runs of a row on a tool; None for what does not apply."""

    row: str
    tool: str
    unit: str
    value: Spread
    cpu_s: float | None
    cpu_per: str
    peak_bytes: float | None
    requests: float
    fetched_per_read: float | None


def summarise(samples: Sequence[Sample]) -> list[Line]:
    """One line for each row and tool, in the order in which they first came, rows together."""
    names = list(dict.fromkeys(each.row for each in samples))
    tools = list(dict.fromkeys(each.tool for each in samples))
    groups = [[each for each in samples if (each.row, each.tool) == (row, tool)] for row in names for tool in tools]
    return [_line(group) for group in groups if group]


def _line(group: list[Sample]) -> Line:
    first = group[0]
    streamed = first.row == "sequential"
    things = first.read_bytes / 1e9 if streamed else first.count
    cpu = [each.cpu_s for each in group if each.cpu_s is not None]
    peak = [each.peak_bytes for each in group if each.peak_bytes is not None]
    fetched = [each.sent_bytes / each.read_bytes for each in group if each.read_bytes]
    return Line(
        row=first.row,
        tool=first.tool,
        unit=unit(first.row),
        value=Spread.of(each.value for each in group),
        cpu_s=Spread.of(cpu).median / things if cpu else None,
        cpu_per="GB" if streamed else "each",
        peak_bytes=Spread.of(peak).median if peak else None,
        requests=Spread.of(each.requests for each in group).median,
        fetched_per_read=Spread.of(fetched).median if fetched else None,
    )


def table(lines: Sequence[Line], title: str) -> Table:
    """The lines for a terminal."""
    shown = Table(title=title, title_justify="left")
    for heading in ("workload", "on", "median", "least - most", *_COLUMNS):
        shown.add_column(heading, justify="left" if heading in {"workload", "on"} else "right", no_wrap=True)
    last = ""
    for line in lines:
        if last and line.row != last:
            shown.add_section()
        shown.add_row(line.row if line.row != last else "", line.tool, *cells(line))
        last = line.row
    return shown


def cells(line: Line) -> list[str]:
    """A line's numbers as text."""
    value = line.value
    return [
        f"{number(value.median)} {line.unit}",
        f"{number(value.least)} - {number(value.most)}",
        str(value.runs),
        _cpu(line),
        f"{line.peak_bytes / 2**20:,.0f} MiB" if line.peak_bytes is not None else "",
        f"{line.requests:,.0f}",
        f"{line.fetched_per_read:,.2f}" if line.fetched_per_read is not None and line.row != "first byte" else "",
    ]


def number(value: float) -> str:
    """Three digits or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(lines: Sequence[Line]) -> str:
    """The lines for docs/benchmarks.md."""
    rows = [["workload", "on", "median", "least - most", *_COLUMNS], ["---", "---", *["---:"] * 7]]
    rows += [[line.row, line.tool, *cells(line)] for line in lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def machine() -> dict[str, Any]:
    """The machine, as far as it matters."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory.split()[1]) / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def write_json(path: Path, samples: Sequence[Sample], facts: dict[str, Any]) -> None:
    """Every sample and how it was taken."""
    text = json.dumps({**facts, "samples": [dataclasses.asdict(each) for each in samples]}, indent=1)
    path.write_text(text + "\n")


def plot(path: Path, lines: Sequence[Line]) -> None:
    """Bars for each row, with the bounds of the runs; the file's suffix says the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = list(dict.fromkeys(line.row for line in lines))
    columns = min(3, len(rows))
    height = -(-len(rows) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(4.2 * columns, 2.2 * height), squeeze=False)
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    colours = {tool: f"C{place}" for place, tool in enumerate(dict.fromkeys(line.tool for line in lines))}
    for axis, row in zip(axes.flat, rows, strict=False):
        chosen = [line for line in lines if line.row == row][::-1]
        values = [line.value.median for line in chosen]
        bounds = [
            [each.value.median - each.value.least for each in chosen],
            [each.value.most - each.value.median for each in chosen],
        ]
        axis.barh([line.tool for line in chosen], values, xerr=bounds, color=[colours[line.tool] for line in chosen])
        axis.set_title(f"{row}, {unit(row)}", fontsize=9)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _cpu(line: Line) -> str:
    if line.cpu_s is None:
        return ""
    return f"{line.cpu_s:.2f} s/GB" if line.cpu_per == "GB" else f"{line.cpu_s * 1000:.2f} ms"
