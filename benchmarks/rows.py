"""The rows of the table: each workload on each tool, one sample at a time.

A sample is a fresh mount with an empty cache, one workload (three epochs for small files), and what it cost. CPU, memory and
the server's log are read once the mount rests, so that fetches nobody waited for, and storing what came, are counted too;
the log of the last epoch is read to the end of the mount.
"""

import dataclasses
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from benchmarks.content import Sizes, small_key, small_keys
from benchmarks.measure import Usage
from benchmarks.mounts import MOUNTS, Mounted
from benchmarks.processes import ask
from benchmarks.server import Server
from benchmarks.workloads import Done

_LIMIT_S = 180.0
_RUNS_BESIDE = 2  # of columns that no goal asks for, one of which is slow


@dataclass(frozen=True, slots=True)
class Sample:
    """One tool on one row, once. CPU and memory are None for a local folder; `step` says where on a ladder it was taken."""

    row: str
    tool: str
    run: int
    value: float
    count: int
    read_bytes: int
    cpu_s: float | None
    peak_bytes: int | None
    requests: int
    sent_bytes: int
    step: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A workload's container, unit, tools and epochs, which are run on one mount; each epoch is a row of the table."""

    name: str
    container: str
    unit: str
    epochs: tuple[str, ...]
    tools: tuple[str, ...]


def _one(name: str, container: str, unit: str, *tools: str) -> Row:
    return Row(name, container, unit, (name,), tools)


def _epochs(suffix: str) -> tuple[str, ...]:
    return tuple(f"small files, epoch {number}{suffix}" for number in (1, 2, 3))


MOORAGE, STREAMS, RANGES = "moorage", "rclone streams", "rclone ranges"
PYFUSE3, AS_USER, LOCAL = "moorage pyfuse3", "moorage as user", "local"
WIRE, WIDE_WIRE = "obstore x 8", "obstore x 64"
#: A rival stands where it is at its best, and where a goal needs it.
ROWS = (
    _one("walk", "small", "entries/s", MOORAGE, PYFUSE3, STREAMS, LOCAL),
    _one("first byte", "large", "ms", MOORAGE, STREAMS, RANGES, WIRE),
    _one("sequential", "large", "MB/s", MOORAGE, PYFUSE3, AS_USER, STREAMS, WIRE, WIDE_WIRE),
    _one("random 64K x 8", "large", "reads/s", MOORAGE, PYFUSE3, STREAMS, RANGES, WIRE),
    _one("random 4K", "large", "reads/s", MOORAGE, RANGES, WIRE),
    _one("random 4K by mmap", "large", "reads/s", MOORAGE, RANGES),
    Row("small files", "small", "files/s", _epochs(""), (MOORAGE, PYFUSE3, AS_USER, STREAMS, LOCAL, WIRE, WIDE_WIRE)),
    Row("small files with a plan", "small", "files/s", _epochs(", with a plan"), (MOORAGE,)),
)
#: In this order they are shown.
TOOLS = (MOORAGE, PYFUSE3, AS_USER, STREAMS, RANGES, LOCAL, WIRE, WIDE_WIRE)
UNITS = {name: row.unit for row in ROWS for name in row.epochs} | {"freeze": "s", "mount": "s"}


def take(server: Server, row: Row, tool: str, sizes: Sizes, scratch: Path, run: int) -> Iterator[Sample]:
    """One run of a row on a tool; a sample for each epoch.

    Raises:
        BenchmarkError: the tool could not do it; one line says why.
        OSError: as above.
    """
    _warm(server, row, sizes)
    if tool in MOUNTS:
        yield from _mounted(server, row, tool, sizes, scratch, run)
    else:
        yield _on_the_wire(server, row, tool, sizes, run)


def tools(row: Row, wanted: list[str], run: int) -> list[str]:
    """The row's tools in one run: those that begin with one of the words, all without any, as far as this user can."""
    chosen = [tool for tool in row.tools if not wanted or any(tool.startswith(word) for word in wanted)]
    beside = {PYFUSE3, AS_USER} if run > _RUNS_BESIDE else set()
    return [tool for tool in chosen if tool not in beside and (tool != AS_USER or os.geteuid() == 0)]


def _mounted(server: Server, row: Row, tool: str, sizes: Sizes, scratch: Path, run: int) -> Iterator[Sample]:
    kept: list[tuple[str, Done, Usage | None, int, int]] = []
    start = server.mark()
    with MOUNTS[tool](server, row.container, scratch) as mounted:
        for number, name in enumerate(row.epochs, 1):
            # Epoch 2 comes from the disk cache; without the right to drop the page cache there is no such row.
            if number == 2 or (tool == LOCAL and number == 1):
                if not measure.may_drop_caches():
                    continue
                measure.drop_caches()
            begin = start if number == 1 else server.moment()
            done, cost = _read(mounted, name, sizes)
            kept.append((name, done, cost, begin, server.moment()))
    end = server.mark()
    for place, (name, done, cost, begin, until) in enumerate(kept):
        traffic = server.traffic(begin, end if place == len(kept) - 1 else until)
        yield Sample(
            row=name,
            tool=tool,
            run=run,
            value=done.value,
            count=done.count,
            read_bytes=done.read_bytes,
            cpu_s=cost.cpu_s if cost else None,
            peak_bytes=cost.peak_bytes if cost else None,
            requests=traffic.requests,
            sent_bytes=traffic.sent_bytes,
        )


def _read(mounted: Mounted, workload: str, sizes: Sizes) -> tuple[Done, Usage | None]:
    """Run a workload on a mounted folder; what it did, and what it cost the mount until that rested."""
    order = {"workload": workload, "root": str(mounted.root), "sizes": dataclasses.asdict(sizes)}
    command = (*mounted.enter, sys.executable, "-m", "benchmarks.reading")
    if mounted.pid is None:
        return Done(**ask(command, order, _LIMIT_S)), None
    before = measure.usage(mounted.pid)
    done = Done(**ask(command, order, _LIMIT_S))
    measure.rest(mounted.pid)
    after = measure.usage(mounted.pid)
    return done, Usage(after.cpu_s - before.cpu_s + done.cpu_s, after.peak_bytes)


def _on_the_wire(server: Server, row: Row, tool: str, sizes: Sizes, run: int) -> Sample:
    order = {
        "row": row.epochs[0],
        "endpoint": server.endpoint,
        "threads": int(tool.rpartition(" ")[2]),
        "warm_key": small_key(0) if row.container == "small" else "random.bin",
        "sizes": dataclasses.asdict(sizes),
    }
    start = server.mark()
    answer = ask((sys.executable, "-m", "benchmarks.wire"), order, _LIMIT_S)
    traffic = server.traffic(start, server.mark())
    # The request that opened the connection is not the row's.
    return Sample(
        row=row.epochs[0], tool=tool, run=run, requests=traffic.requests - 1, sent_bytes=traffic.sent_bytes, **answer
    )


def _warm(server: Server, row: Row, sizes: Sizes) -> None:
    """Have the server's files in the page cache, as a service would: its disk is not what is measured."""
    small = small_keys(sizes, 1) if "small files" in row.name else []
    for name in ["stream.bin"] if row.name == "sequential" else small:
        with (server.content(row.container) / name).open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
