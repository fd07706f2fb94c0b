"""`make bench`: start the server, take every sample in turn, show and write what came out.

Tools take turns within a run, so that a slow minute of the machine hits all of them. The load average at the start stands in
the result: above 0.5 somebody else was at work, and the figures are no more than a hint.
"""

import argparse
import dataclasses
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from benchmarks import measure, report, rows
from benchmarks.content import FULL, QUICK, Sizes, make
from benchmarks.mounts import RCLONE_FLAGS, freeze
from benchmarks.rows import ROWS, Row, Sample
from benchmarks.server import BenchmarkError, Server, Shape, publish, serve

_QUIET = 0.5
console = Console(width=max(Console().width, 150))


def main() -> None:
    """Run from the command line."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT, too: a shell's background job ignores it by default
        signal.signal(number, _interrupt)
    try:
        _run(options)
    except (BenchmarkError, OSError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(options: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    if load >= _QUIET:
        console.print(f"bench: the load average is {load:.2f}: others work here, so take the figures as a hint")
    if not measure.may_drop_caches():
        console.print("bench: only root can drop the page cache: no row for epoch 2, and local epoch 1 is left out")
    sizes = QUICK if options.quick else FULL
    folder = options.folder / ("quick" if options.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "access.log").unlink(missing_ok=True)
    publish(folder, make(folder / "content", sizes))
    shape = Shape(options.latency_ms / 1000, int(options.rate_mb * 1e6))
    wanted = [row for row in ROWS if not options.rows or any(row.name.startswith(name) for name in options.rows)]
    runs = options.runs or (1 if options.quick else 5)
    with serve(folder, shape) as server:
        samples = _samples(server, wanted, options.tools, sizes, runs)
    lines = report.summarise(samples)
    shaped = f"{options.latency_ms:g} ms to the first byte, {options.rate_mb:g} MB/s a connection"
    console.print(report.table(lines, f"{shaped}; load {load:.2f} at the start"))
    facts = {
        "machine": report.machine(),
        "load_at_start": load,
        "shape": dataclasses.asdict(shape),
        "sizes": dataclasses.asdict(sizes),
        "rclone_flags": RCLONE_FLAGS,
    }
    _write(folder, samples, lines, facts)


def _samples(server: Server, wanted: list[Row], tools: list[str], sizes: Sizes, runs: int) -> list[Sample]:
    for container in dict.fromkeys(row.container for row in wanted):
        freeze(server, container)
    scratch, samples = server.folder / "mount", []
    for run in range(1, runs + 1):
        for row in wanted:
            for tool in (each for each in row.tools if not tools or each.split()[0] in tools):
                console.print(f"bench: run {run} of {runs}: {row.name} on {tool}", highlight=False)
                samples += rows.take(server, row, tool, sizes, scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    return samples


def _write(folder: Path, samples: list[Sample], lines: list[report.Line], facts: dict[str, Any]) -> None:
    report.write_json(folder / "results.json", samples, facts)
    (folder / "table.md").write_text(report.markdown(lines))
    report.plot(folder / "plot.svg", lines)
    console.print(f"bench: results.json, table.md and plot.svg are in {folder}", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Moorage and its peers on one shaped blob server.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and one run, to try things out")
    parser.add_argument("--runs", type=int, default=0, help="runs of each row (5; with --quick 1)")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="only rows whose name starts so")
    parser.add_argument("--tools", nargs="+", default=[], metavar="TOOL", help="of moorage, rclone, local, obstore")
    parser.add_argument("--latency-ms", type=float, default=15.0)
    parser.add_argument("--rate-mb", type=float, default=60.0, help="MB/s on one connection")
    parser.add_argument("--folder", type=Path, default=Path(".bench").absolute(), help="scratch folder, with 5 GB free")
    return parser.parse_args()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
