"""The rows of the table: each workload on each tool, one sample at a time.

A sample is a fresh mount with an empty cache, one workload (three epochs for small files), and what it cost: CPU between its
start and its end, peak memory so far, and what the server's log says from its start until nobody is connected any more, so
that fetches nobody waited for are counted too (for an epoch that is not the last: until its end).
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure, workloads
from benchmarks.content import Sizes, small_key, small_keys
from benchmarks.measure import Usage
from benchmarks.mounts import MOUNTS, Mounted
from benchmarks.server import WITH_US, BenchmarkError, Server
from benchmarks.workloads import Done

Workload = Callable[[Path, Sizes], Done]


@dataclass(frozen=True, slots=True)
class Sample:
    """One tool on one row, once. CPU and memory are None for a local folder."""

    row: str
    tool: str
    value: float
    count: int
    read_bytes: int
    cpu_s: float | None
    peak_bytes: int | None
    requests: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """A workload's name, container and unit; `epochs` are run on one mount, and each is a row of its own."""

    name: str
    container: str
    unit: str
    epochs: tuple[tuple[str, Workload], ...]
    tools: tuple[str, ...]

    def names(self) -> list[str]:
        """The rows of the table that it makes."""
        return [name for name, _ in self.epochs]


def _one(name: str, container: str, unit: str, workload: Workload, *tools: str) -> Row:
    return Row(name, container, unit, ((name, workload),), tools)


def _epoch(number: int) -> tuple[str, Workload]:
    return f"small files, epoch {number}", lambda root, sizes: workloads.small_files(root, sizes, number)


_WIRE = ("obstore x 8", "obstore x 64")
_STREAMS = ("moorage", "rclone streams")
_RANGES = ("moorage", "rclone ranges", "rclone streams")
_RANDOM = (*_RANGES, "obstore x 8")
ROWS = (
    _one("walk", "small", "entries/s", workloads.walk, *_STREAMS, "local"),
    _one("first byte", "large", "ms", workloads.first_byte, *_RANDOM),
    _one("sequential", "large", "MB/s", workloads.sequential, *_STREAMS, *_WIRE),
    _one("random 64K x 8", "large", "reads/s", workloads.random_64k, *_RANDOM),
    _one("random 4K", "large", "reads/s", workloads.random_4k, *_RANDOM),
    _one("random 4K by mmap", "large", "reads/s", workloads.random_4k_mmap, *_RANGES),
    Row(
        *("small files", "small", "files/s"),
        epochs=(_epoch(1), _epoch(2), _epoch(3)),
        tools=(*_STREAMS, "local", *_WIRE),
    ),
)
_UNITS = {name: row.unit for row in ROWS for name in row.names()}


def unit(name: str) -> str:
    """The unit of a row of the table."""
    return _UNITS[name]


def take(server: Server, row: Row, tool: str, sizes: Sizes, scratch: Path) -> list[Sample]:
    """One run of a row on a tool; a sample for each epoch."""
    _warm(server, row, sizes)
    if tool in MOUNTS:
        return list(_mounted(server, row, tool, sizes, scratch))
    return [_on_the_wire(server, row, tool, sizes)]


def _mounted(server: Server, row: Row, tool: str, sizes: Sizes, scratch: Path) -> Iterator[Sample]:
    kept: list[tuple[str, Done, Usage | None, int, int]] = []
    start = server.mark()
    with MOUNTS[tool](server, row.container, scratch) as mounted:
        for number, (name, workload) in enumerate(row.epochs, 1):
            # Epoch 2 comes from the disk cache; without the right to drop the page cache there is no such row.
            if number == 2 or (tool == "local" and number == 1):
                if not measure.may_drop_caches():
                    continue
                measure.drop_caches()
            begin = start if number == 1 else server.moment()
            before = _usage(mounted)
            done = workload(mounted.root, sizes)
            kept.append((name, done, _cost(before, _usage(mounted)), begin, server.moment()))
    end = server.mark()
    for place, (name, done, cost, begin, until) in enumerate(kept):
        traffic = server.traffic(begin, end if place == len(kept) - 1 else until)
        yield Sample(
            row=name,
            tool=tool,
            value=done.value,
            count=done.count,
            read_bytes=done.read_bytes,
            cpu_s=cost.cpu_s if cost else None,
            peak_bytes=cost.peak_bytes if cost else None,
            requests=traffic.requests,
            sent_bytes=traffic.sent_bytes,
        )


def _on_the_wire(server: Server, row: Row, tool: str, sizes: Sizes) -> Sample:
    name = row.names()[0]
    order = {
        "row": name,
        "endpoint": server.endpoint,
        "threads": int(tool.rpartition(" ")[2]),
        "warm_key": small_key(0) if row.container == "small" else "random.bin",
        "sizes": dataclasses.asdict(sizes),
    }
    start = server.mark()
    command = [*WITH_US, sys.executable, "-m", "benchmarks.wire"]
    run = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchmarkError(f"obstore: {run.stderr.strip().splitlines()[-1]}")
    traffic = server.traffic(start, server.mark())
    return Sample(
        row=name, tool=tool, requests=traffic.requests, sent_bytes=traffic.sent_bytes, **json.loads(run.stdout)
    )


def _warm(server: Server, row: Row, sizes: Sizes) -> None:
    """Have the server's files in the page cache, as a service would: its disk is not what is measured."""
    folder = server.content(row.container)
    paths = [folder / key for key in small_keys(sizes, 1)] if row.name == "small files" else []
    for path in paths:
        path.read_bytes()


def _usage(mounted: Mounted) -> Usage | None:
    return None if mounted.pid is None else measure.usage(mounted.pid)


def _cost(before: Usage | None, after: Usage | None) -> Usage | None:
    return Usage(after.cpu_s - before.cpu_s, after.peak_bytes) if before and after else None
