"""How cost grows: a few workloads at several latencies, and listings of several numbers of files. One run each.

A rung's latency has a server of its own. The files that are only listed do not exist: `walk` reads no byte of one. The last
rung of files is a manifest alone, made without a listing (`manifests`), as nobody would wait for one here.
"""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import measure, rows
from benchmarks.content import FULL, Sizes
from benchmarks.mounts import MOUNTS, freeze
from benchmarks.rows import MOORAGE, STREAMS, WIRE, Row, Sample
from benchmarks.server import Server, Shape, pretend, publish, serve
from benchmarks.taking import Taking

_LATENCIES_MS = (1.0, 15.0, 60.0)
_TOOLS = {
    "first byte": (MOORAGE, STREAMS, WIRE),
    "sequential": (MOORAGE, STREAMS, WIRE),
    "random 64K x 8": (MOORAGE, STREAMS, WIRE),
    "small files": (MOORAGE, STREAMS, WIRE),
    "planned small files": (MOORAGE,),
}
_COUNTS, _QUICK_COUNTS = (1_000, 100_000, 1_000_000), (1_000, 20_000)
_MOST_FOR_RCLONE = 100_000  # it asks the server for each folder: a million files are minutes that say nothing new


def latencies(folder: Path, containers: list[str], rate_bytes: int, sizes: Sizes, taking: Taking) -> None:
    """Climb the latencies."""
    fewer = dataclasses.replace(sizes, random_reads=min(sizes.random_reads, 80), small_read=min(sizes.small_read, 800))
    publish(folder, containers)
    for latency_ms in _LATENCIES_MS:
        step = f"{latency_ms:g} ms"
        with serve(folder, Shape(latency_ms / 1000, rate_bytes)) as server:
            for container in containers:
                freeze(server, container)
            for row in (_first_epoch(row) for row in rows.ROWS if row.name in _TOOLS):
                for tool in row.tools:
                    taking.attempt(f"{step}: {row.epochs[0]} on {tool}", _rung(server, row, tool, fewer, step))


def counts(folder: Path, shape: Shape, sizes: Sizes, taking: Taking) -> None:
    """Climb the numbers of files."""
    steps = {f"listed-{count}": count for count in (_COUNTS if sizes == FULL else _QUICK_COUNTS)}
    pretend(folder, steps)
    with serve(folder, shape) as server:
        for container, count in steps.items():
            step, listed = f"{count:,} files", dataclasses.replace(sizes, small_files=count)
            taking.attempt(f"{step}: freeze", _freezing(server, container, count, step))
            taking.attempt(f"{step}: mount", _mounting(server, container, count, step))
            for tool in (MOORAGE, STREAMS) if count <= _MOST_FOR_RCLONE else (MOORAGE,):
                row = Row("walk", container, "entries/s", ("walk",), ())
                taking.attempt(f"{step}: walk on {tool}", _rung(server, row, tool, listed, step))


def _first_epoch(row: Row) -> Row:
    return dataclasses.replace(row, epochs=row.epochs[:1], tools=_TOOLS[row.name])


def _rung(server: Server, row: Row, tool: str, sizes: Sizes, step: str) -> Iterator[Sample]:
    for sample in rows.take(server, row, tool, sizes, server.folder / "mount", 1):
        yield dataclasses.replace(sample, step=step)


def _freezing(server: Server, container: str, count: int, step: str) -> Iterator[Sample]:
    start, begin = server.mark(), time.perf_counter()
    freeze(server, container)
    seconds = time.perf_counter() - begin
    traffic = server.traffic(start, server.mark())
    yield Sample("freeze", MOORAGE, 1, seconds, count, 0, None, None, traffic.requests, traffic.sent_bytes, step)


def _mounting(server: Server, container: str, count: int, step: str) -> Iterator[Sample]:
    begin = time.perf_counter()
    with MOUNTS[MOORAGE](server, container, server.folder / "mount") as mounted:
        mounted.root.stat()  # the mount answers
        seconds = time.perf_counter() - begin
        assert mounted.pid is not None  # noqa: S101 - only a local folder has none
        measure.rest(mounted.pid)
        usage = measure.usage(mounted.pid)
    yield Sample("mount", MOORAGE, 1, seconds, count, 0, usage.cpu_s, usage.peak_bytes, 0, 0, step)
