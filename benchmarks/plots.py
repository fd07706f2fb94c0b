"""What came out, as pictures: bars for each row of the table, and lines for the ladder of latencies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Line
from benchmarks.rows import TOOLS, UNITS, Sample

_COLUMNS = 3
_PLANNED = ", with a plan"
# Text stays text and names do not change from run to run, so that a new picture is a small change of the file.
_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "moorage", "font.size": 8, "axes.titlesize": 9}


def table(path: Path, lines: Sequence[Line]) -> None:
    """Bars for each row, with the bounds of the runs, those with a plan beside those without; the suffix says the format."""
    rows = list(dict.fromkeys(line.row.removesuffix(_PLANNED) for line in lines))
    colours = _colours()
    figure, panels = _figure([f"{row}, {UNITS[row]}" for row in rows])
    for axis, row in zip(panels, rows, strict=True):
        chosen = [line for line in lines if line.row.removesuffix(_PLANNED) == row][::-1]
        spreads = [line.value for line in chosen]
        bounds = [[each.median - each.least for each in spreads], [each.most - each.median for each in spreads]]
        names = [line.tool + line.row.removeprefix(row) for line in chosen]
        medians = [each.median for each in spreads]
        axis.barh(names, medians, xerr=bounds, color=[colours[line.tool] for line in chosen])
    _save(figure, path)


def ladder(path: Path, samples: Sequence[Sample]) -> None:
    """A line for each tool over the latencies, a panel for each row."""
    rungs = [each for each in samples if each.step.endswith(" ms")]
    rows = list(dict.fromkeys(each.row for each in rungs))
    steps = sorted({_step(each) for each in rungs})
    colours = _colours()
    figure, panels = _figure([f"{row}, {UNITS[row]}" for row in rows])
    for axis, row in zip(panels, rows, strict=True):
        for tool in dict.fromkeys(each.tool for each in rungs if each.row == row):
            points = [(_step(each), each.value) for each in rungs if (each.row, each.tool) == (row, tool)]
            axis.plot(*zip(*points, strict=True), marker="o", label=tool, color=colours[tool])
        axis.set(xscale="log", yscale="log", xlabel="latency, ms")
        axis.xaxis.minorticks_off()
        axis.set_xticks(steps, [f"{step:g}" for step in steps])
        axis.legend()
    _save(figure, path)


def _step(sample: Sample) -> float:
    return float(sample.step.split()[0])


def _colours() -> dict[str, str]:
    """One for each tool, the same in every picture."""
    return {tool: f"C{place}" for place, tool in enumerate(TOOLS)}


def _figure(titles: Sequence[str]) -> tuple[Any, list[Any]]:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(_STYLE)
    from matplotlib import pyplot as plt

    columns = min(_COLUMNS, len(titles))
    height = -(-len(titles) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(4.2 * columns, 2.2 * height), squeeze=False)
    for axis in axes.flat[len(titles) :]:
        axis.set_visible(False)
    panels = list(axes.flat[: len(titles)])
    for axis, title in zip(panels, titles, strict=True):
        axis.set_title(title)
    return figure, panels


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
