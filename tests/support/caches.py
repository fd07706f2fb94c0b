"""Extents of made-up files in a disk cache: what was put, and whether what comes back is right."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from mountd.cache.disk import DiskCache
from tests.support.content import content

MIB = 1 << 20
LIMIT_BYTES = 64 * MIB
QUEUE_BYTES = 32 * MIB


def file_id(name: str) -> bytes:
    """The 16 bytes by which a cache knows the file `name`."""
    return hashlib.sha256(name.encode()).digest()[:16]


@lru_cache(maxsize=64)
def _whole(name: str, size: int) -> bytes:
    return content(name, 0, size)


def data_of(name: str, offset: int, size: int) -> bytes:
    """Bytes of `name`; made once, in the next power of two."""
    return _whole(name, max(MIB, 1 << (offset + size - 1).bit_length()))[offset : offset + size]


@contextmanager
def opened(folder: Path, limit_bytes: int = LIMIT_BYTES, queue_bytes: int = QUEUE_BYTES) -> Iterator[DiskCache]:
    """A cache, closed at the end."""
    cache = DiskCache(folder, limit_bytes, queue_bytes)
    try:
        yield cache
    finally:
        cache.close()


def put(cache: DiskCache, name: str, offset: int, size: int) -> bytes:
    """Put an extent and wait until it is written, or given up; return its bytes."""
    data = data_of(name, offset, size)
    assert cache.put(file_id(name), offset, data, _nothing)
    assert cache.drain(20)
    return data


def found(cache: DiskCache, name: str, offset: int, size: int) -> int:
    """How many bytes of the range are here; each of them must be the right one, in its place and only once."""
    at = offset
    total = 0
    for start, piece in cache.read(file_id(name), offset, size):
        assert at <= start
        at = start + len(piece)
        assert at <= offset + size
        assert piece
        assert bytes(piece) == data_of(name, start, len(piece))
        total += len(piece)
    return total


def segments(folder: Path) -> list[Path]:
    """The segment files of a cache folder, the coldest first."""
    return sorted((folder / "segments").glob("*.segment"), key=lambda path: path.stat().st_mtime_ns)


def used_bytes(folder: Path) -> int:
    """What the segments of a folder take."""
    return sum(path.stat().st_size for path in segments(folder))


def open_files() -> list[str]:
    """What this process has open, by name."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            names.append(str(link.readlink()))
    return sorted(names)


def _nothing() -> None:
    pass
