"""`make bench`: start the server, take every sample in turn, show and write what came out.

Tools take turns within a run, so that a slow minute of the machine hits all of them. The load average at the start stands in
the result: above 0.5 somebody else was at work, and the figures are no more than a hint. A sample that fails is said and
left out, and the program ends with 1.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmarks import ladders, measure, report, results, rows
from benchmarks.content import FULL, QUICK, Sizes, make
from benchmarks.goals import Measured
from benchmarks.mounts import freeze
from benchmarks.processes import BenchmarkError
from benchmarks.server import Shape, publish, serve
from benchmarks.taking import Taking

_QUIET = 0.5
_PARTS = ("table", "latencies", "counts")
console = Console(width=max(Console().width, 170))


def main() -> None:
    """Run from the command line."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT, too: a shell's background job ignores it by default
        signal.signal(number, _interrupt)
    folder = options.folder.absolute() / ("quick" if options.quick else "full")
    try:
        if options.publish:
            results.publish(folder)
            return
        sys.exit(_run(options, folder))
    except (BenchmarkError, OSError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(options: argparse.Namespace, folder: Path) -> int:
    load = os.getloadavg()[0]
    if load >= _QUIET:
        console.print(f"bench: the load average is {load:.2f}: others work here, so take the figures as a hint")
    if not measure.may_drop_caches():
        console.print("bench: only root can drop the page cache: no row for epoch 2, and local epoch 1 is left out")
    sizes = QUICK if options.quick else FULL
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "access.log").unlink(missing_ok=True)
    shape = Shape(options.latency_ms / 1000, int(options.rate_mb * 1e6))
    taking, containers = Taking(console), make(folder / "content", sizes)
    parts = {
        "table": lambda: _table(folder, containers, shape, sizes, options, taking),
        "latencies": lambda: ladders.latencies(folder, containers, shape.rate_bytes, sizes, taking),
        "counts": lambda: ladders.counts(folder, shape, sizes, taking),
    }
    for name in options.parts:
        with taking.surviving(name):
            parts[name]()
    measured = Measured(taking.samples, shape)
    _show(
        measured, f"{options.latency_ms:g} ms to the first byte, {options.rate_mb:g} MB/s; load {load:.2f} at the start"
    )
    results.write(folder, taking, measured, sizes, load)
    console.print(f"bench: results.json, results.md and the pictures are in {folder}", highlight=False)
    return _failures(taking)


def _table(
    folder: Path, containers: list[str], shape: Shape, sizes: Sizes, options: argparse.Namespace, taking: Taking
) -> None:
    wanted = [row for row in rows.ROWS if not options.rows or any(row.name.startswith(name) for name in options.rows)]
    runs = options.runs or (1 if options.quick else 5)
    publish(folder, containers)
    with serve(folder, shape) as server:
        for container in containers:
            freeze(server, container)
        for run in range(1, runs + 1):
            for row in wanted:
                for tool in rows.tools(row, options.tools, run):
                    what = f"run {run} of {runs}: {row.name} on {tool}"
                    taking.attempt(what, rows.take(server, row, tool, sizes, folder / "mount", run))


def _show(measured: Measured, title: str) -> None:
    lines = report.summarise(measured.samples)
    if lines:
        console.print(report.terminal(report.COLUMNS, [report.cells(line) for line in lines], title))
        console.print(report.terminal(report.GOAL_COLUMNS, report.goal_cells(measured), "goals"))
    for word in ("ms", "files"):
        heading, cells = report.ladder(measured.samples, word)
        if cells:
            console.print(report.terminal(heading, cells, "one run each"))


def _failures(taking: Taking) -> int:
    for each in taking.failures:
        console.print(f"bench: FAILED: {each}", highlight=False, markup=False, style="red")
    return 1 if taking.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Moorage and its peers on one shaped blob server.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and one run, to try things out")
    parser.add_argument("--runs", type=int, default=0, help="runs of each row (5; with --quick 1)")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="only rows whose name starts so")
    parser.add_argument("--tools", nargs="+", default=[], metavar="TOOL", help="only tools whose name starts so")
    parser.add_argument(
        "--parts", nargs="+", default=_PARTS, choices=_PARTS, help="the table, the ladders; without it all"
    )
    parser.add_argument("--latency-ms", type=float, default=15.0)
    parser.add_argument("--rate-mb", type=float, default=60.0, help="MB/s on one connection")
    parser.add_argument("--folder", type=Path, default=Path(".bench"), help="scratch folder, with 10 GB free")
    parser.add_argument(
        "--publish", action="store_true", help="run nothing: put the last results into docs/benchmarks.md"
    )
    return parser.parse_args()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # one is enough: what comes now is the clearing up
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
