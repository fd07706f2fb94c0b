"""What the disk cache costs by itself: `python -m benchmarks.disk_cache FOLDER`, in a folder that is removed afterwards.

Each figure is the median of some rounds, and CPU is that of the whole process, the writer's thread included. Reads come from
the page cache. Extents of 4 MiB are written in both ways in turn, because a machine that others use favours who comes when.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from mountd.cache.disk import DiskCache

_ROUNDS = 5
_SMALL_BYTES, _SMALL = 100_000, 2000
_BIG_BYTES, _BIG = 4 << 20, 128
_PIECE_BYTES = 128 << 10
_LIMIT_BYTES, _QUEUE_BYTES = 64 << 30, 32 << 20
_FILES = [hashlib.sha256(str(number).encode()).digest()[:16] for number in range(_SMALL)]


def main(folder: Path) -> None:
    """Measure and print."""
    try:
        _small(folder / "small")
        _big(folder / "big")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _small(folder: Path) -> None:
    cache = DiskCache(folder, _LIMIT_BYTES, _QUEUE_BYTES)
    data = os.urandom(_SMALL_BYTES)
    rounds = range(_ROUNDS)
    writes = [_timed(lambda at=at: _fill(cache, data, ((file, at << 30) for file in _FILES))) for at in rounds]  # type: ignore[misc]
    _say("put and write an extent of 100 KB", writes, _SMALL)
    for what, offset, ask in (
        ("read 100 KB", 0, cache.read),
        ("read 100 KB that are not there", 1 << 40, cache.read),
        ("holds 100 KB", 0, cache.holds),
        ("holds 100 KB that are not there", 1 << 40, cache.holds),
    ):
        _each(ask, offset)  # once, to have the pages and the descriptors
        _say(what, [_timed(lambda ask=ask, offset=offset: _each(ask, offset)) for _ in rounds], _SMALL)  # type: ignore[misc]
    cache.close()


def _big(folder: Path) -> None:
    data = os.urandom(_BIG_BYTES)
    results: dict[str, list[tuple[float, float]]] = {"around the page cache": [], "through the page cache": []}
    for number in range(_ROUNDS):
        for how, taken in results.items():
            cache = DiskCache(folder / f"{number} {how}", _LIMIT_BYTES, _QUEUE_BYTES)
            # No setting turns it off: what can be had is used.
            cache._appender._is_direct &= how.startswith("around")  # noqa: SLF001
            places = [(_FILES[at], at * _BIG_BYTES) for at in range(_BIG)]
            taken.append(_timed(lambda cache=cache, places=places: _fill(cache, data, places)))  # type: ignore[misc]
            cache.close()
            os.sync()  # not a burden for the next one
    for how, taken in results.items():
        cpu_s, wall_s = (median(each) * 1e9 / _BIG / _BIG_BYTES for each in zip(*taken, strict=True))
        print(f"write extents of 4 MiB {how}: {cpu_s:.2f} s of CPU a GB, {1000 / wall_s:.0f} MB/s")  # noqa: T201
    cache = DiskCache(folder / f"0 {how}", _LIMIT_BYTES, _QUEUE_BYTES)

    def read() -> None:
        for at in range(_BIG):
            for piece in range(0, _BIG_BYTES, _PIECE_BYTES * 4):
                cache.read(_FILES[at], at * _BIG_BYTES + piece, _PIECE_BYTES)

    read()
    _say("read 128 KiB of 4 MiB", [_timed(read) for _ in range(_ROUNDS)], _BIG * _BIG_BYTES // _PIECE_BYTES // 4)
    cache.close()


def _each(ask: Callable[[bytes, int, int], object], offset: int) -> None:
    for file in _FILES:
        ask(file, offset, _SMALL_BYTES)


def _fill(cache: DiskCache, data: bytes, places: Iterable[tuple[bytes, int]]) -> None:
    for file, offset in places:
        while not cache.put(file, offset, data, _ignore):
            cache.drain(1)
    if not cache.drain(60):
        raise TimeoutError("the disk took nothing for a minute")


def _ignore() -> None:
    """Take note of nothing."""


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of CPU and of time that `work` took."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu_s, time.perf_counter() - wall_s


def _say(what: str, taken: list[tuple[float, float]], count: int) -> None:
    cpu_us, wall_us = (median(each) / count * 1e6 for each in zip(*taken, strict=True))
    print(f"{what}: {cpu_us:.1f} us of CPU, {wall_us:.1f} us")  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) != len(("command", "FOLDER")) or Path(sys.argv[1]).exists():
        sys.exit("python -m benchmarks.disk_cache FOLDER, a folder that is not there yet")
    main(Path(sys.argv[1]))
