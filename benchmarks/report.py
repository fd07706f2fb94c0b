"""What came out, as cells of tables: pure, from samples to text.

A line of the table is a workload on a tool: the median of its runs and their bounds, the CPU for one thing read (of a
stream: for a GB), peak memory, all requests of one run, and bytes fetched for a byte read. A line of a ladder
has the median for each step.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from rich.table import Table

from benchmarks.goals import Measured, judge
from benchmarks.measure import Spread
from benchmarks.rows import TOOLS, UNITS, Sample

Cells = list[list[str]]
_Key = TypeVar("_Key", bound=Hashable)
COLUMNS = ("workload", "on", "median", "least - most", "runs", "CPU", "peak RSS", "requests", "fetched / read")
GOAL_COLUMNS = ("goal", "of what", "wanted", "reached", "met")


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
    """One line for each row and tool, rows in the order in which they first came; ladders are left out."""
    table = [each for each in samples if not each.step]
    names = _in_order(each.row for each in table)
    groups = [[each for each in table if (each.row, each.tool) == (row, tool)] for row in names for tool in TOOLS]
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
        unit=UNITS[first.row],
        value=Spread.of(each.value for each in group),
        cpu_s=Spread.of(cpu).median / things if cpu else None,
        cpu_per="GB" if streamed else "each",
        peak_bytes=Spread.of(peak).median if peak else None,
        requests=Spread.of(each.requests for each in group).median,
        fetched_per_read=Spread.of(fetched).median if fetched else None,
    )


def cells(line: Line) -> list[str]:
    """A line's cells under `COLUMNS`."""
    value = line.value
    fetched = line.fetched_per_read if line.row != "first byte" else None
    return [
        line.row,
        line.tool,
        f"{number(value.median)} {line.unit}",
        f"{number(value.least)} - {number(value.most)}",
        str(value.runs),
        _cpu(line),
        f"{line.peak_bytes / 2**20:,.0f} MiB" if line.peak_bytes is not None else "",
        f"{line.requests:,.0f}",
        f"{fetched:,.2f}" if fetched is not None else "",
    ]


def goal_cells(measured: Measured) -> Cells:
    """Each goal under `GOAL_COLUMNS`."""
    said = {True: "yes", False: "**no**", None: ""}
    return [
        [goal.what, goal.unit, goal.wanted, number(reached) if reached is not None else "not measured", said[met]]
        for goal, reached, met in judge(measured)
    ]


def ladder(samples: Sequence[Sample], step_word: str) -> tuple[list[str], Cells]:
    """Heading and cells of the ladder whose steps end in this word."""
    rungs = [each for each in samples if each.step.endswith(f" {step_word}")]
    steps = _in_order(each.step for each in rungs)
    lines: Cells = []
    taken = {(each.row, each.tool) for each in rungs}
    names = _in_order(each.row for each in rungs)
    for row, tool in ((row, tool) for row in names for tool in TOOLS if (row, tool) in taken):
        found = [
            [each.value for each in rungs if (each.row, each.tool, each.step) == (row, tool, step)] for step in steps
        ]
        lines.append([f"{row}, {UNITS[row]}", tool, *(number(median(values)) if values else "" for values in found)])
    return ["workload", "on", *steps], lines + _peaks(rungs, steps)


def number(value: float) -> str:
    """Three digits or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(heading: Sequence[str], rows: Cells) -> str:
    """Cells as a table of Markdown; words left, numbers right."""
    ruler = ["---", "---", *["---:"] * (len(heading) - 2)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [heading, ruler, *rows])


def terminal(heading: Sequence[str], rows: Cells, title: str) -> Table:
    """The same for a terminal."""
    shown = Table(title=title, title_justify="left")
    for place, name in enumerate(heading):
        shown.add_column(name, justify="left" if place < 2 else "right", no_wrap=True)
    last = ""
    for row in rows:
        if last and row[0] != last:
            shown.add_section()
        shown.add_row(row[0] if row[0] != last else "", *(each.replace("**", "") for each in row[1:]))
        last = row[0]
    return shown


def _peaks(rungs: Sequence[Sample], steps: Sequence[str]) -> Cells:
    """What a mount that nobody has read yet holds in memory, where that was measured."""
    peaks = {each.step: each.peak_bytes for each in rungs if each.row == "mount" and each.peak_bytes is not None}
    line = [f"{peaks[step] / 2**20:,.0f}" if step in peaks else "" for step in steps]
    return [["mount, MiB of peak RSS", "moorage", *line]] if peaks else []


def _cpu(line: Line) -> str:
    if line.cpu_s is None:
        return ""
    return f"{line.cpu_s:.2f} s/GB" if line.cpu_per == "GB" else f"{line.cpu_s * 1000:.2f} ms"


def _in_order(keys: Iterable[_Key]) -> list[_Key]:
    return list(dict.fromkeys(keys))
