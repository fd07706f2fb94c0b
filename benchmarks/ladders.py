"""How cost grows: a few workloads at several latencies, and several numbers of files. One run each, but of mounts.

A rung's latency has a server of its own. The files of the other ladder do not exist, as nobody reads a byte of one: rclone
and freezing get a listing of them, Moorage mounts a manifest that was made without one (`manifests`).
"""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import measure, rows
from benchmarks.content import FULL, Sizes
from benchmarks.manifests import make_manifest
from benchmarks.mounts import MOUNTS, freeze, manifest
from benchmarks.rows import MOORAGE, STREAMS, WIRE, Row, Sample
from benchmarks.server import Server, Shape, pretend, publish, serve
from benchmarks.taking import Taking

_LATENCIES_MS = (1.0, 15.0, 60.0)
_TOOLS = {
    "first byte": (MOORAGE, STREAMS, WIRE),
    "sequential": (MOORAGE, STREAMS),
    "random 64K x 8": (MOORAGE, STREAMS, WIRE),
    "small files": (MOORAGE, STREAMS, WIRE),
    "small files with a plan": (MOORAGE,),
}
_COUNTS, _QUICK_COUNTS = (1_000, 100_000, 1_000_000, 10_000_000), (1_000, 20_000)
_MOST_LISTED = 100_000  # by rclone, which asks for a folder at a time: more are minutes that say nothing new
_MOST_WALKED = 1_000_000
_MOUNTS = 3  # they are short, and one says little


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
    climbed = _COUNTS if sizes == FULL else _QUICK_COUNTS
    pretend(folder, {f"listed-{count}": count for count in climbed})
    with serve(folder, shape) as server:
        for count in climbed:
            step = f"{count:,} files"
            taking.attempt(f"{step}: freeze", _freezing(server, f"listed-{count}", count, step))
            if count <= _MOST_LISTED:
                taking.attempt(f"{step}: walk on {STREAMS}", _walking(server, f"listed-{count}", STREAMS, count, step))
            made = manifest(server, "made")
            made.unlink(missing_ok=True)
            make_manifest(made, count)
            for run in range(1, _MOUNTS + 1):
                taking.attempt(f"{step}: mount {run}", _mounting(server, "made", count, step, run))
            if count <= _MOST_WALKED:
                taking.attempt(f"{step}: walk on {MOORAGE}", _walking(server, "made", MOORAGE, count, step))
            made.unlink()


def _first_epoch(row: Row) -> Row:
    return dataclasses.replace(row, epochs=row.epochs[:1], tools=_TOOLS[row.name])


def _rung(server: Server, row: Row, tool: str, sizes: Sizes, step: str) -> Iterator[Sample]:
    for sample in rows.take(server, row, tool, sizes, server.folder / "mount", 1):
        yield dataclasses.replace(sample, step=step)


def _walking(server: Server, container: str, tool: str, count: int, step: str) -> Iterator[Sample]:
    row = Row("walk", container, "entries/s", ("walk",), ())
    return _rung(server, row, tool, dataclasses.replace(FULL, small_files=count), step)


def _freezing(server: Server, container: str, count: int, step: str) -> Iterator[Sample]:
    start, begin = server.mark(), time.perf_counter()
    freeze(server, container)
    seconds = time.perf_counter() - begin
    traffic = server.traffic(start, server.mark())
    yield Sample("freeze", MOORAGE, 1, seconds, count, 0, None, None, traffic.requests, traffic.sent_bytes, step)


def _mounting(server: Server, container: str, count: int, step: str, run: int) -> Iterator[Sample]:
    begin = time.perf_counter()
    with MOUNTS[MOORAGE](server, container, server.folder / "mount") as mounted:
        mounted.root.stat()  # the mount answers
        seconds = time.perf_counter() - begin
        assert mounted.pid is not None  # noqa: S101 - only a local folder has none
        measure.rest(mounted.pid)
        usage = measure.usage(mounted.pid)
    yield Sample("mount", MOORAGE, run, seconds, count, 0, usage.cpu_s, usage.peak_bytes, 0, 0, step)
