"""Extents of made-up files in a disk cache: what was put, whether what comes back is right, and damage to its files."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from mountd.cache.disk import DiskCache
from tests.support.content import content

MIB = 1 << 20
LIMIT_BYTES = 64 * MIB
QUEUE_BYTES = 32 * MIB
DAMAGES = ("flip", "cut", "remove", "zero", "swap")


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


def files_of(folder: Path) -> list[Path]:
    """Every file of a cache folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(files: list[Path], which: float, how: str, where: float, length: int) -> None:
    """Do one of DAMAGES to one of the files, `length` bytes of it at `where`; both places are shares of the whole."""
    path = files[int(which * len(files))]
    place = int(where * path.stat().st_size)
    if how == "remove":
        path.unlink()
    elif how == "cut":
        os.truncate(path, place)
    elif how == "swap":
        shutil.copyfile(files[0], path) if path != files[0] else None
    else:
        with path.open("r+b") as stream:
            stream.seek(place)
            old = stream.read(length)
            stream.seek(place)
            stream.write(bytes(len(old)) if how == "zero" else bytes(byte ^ 0x55 for byte in old))


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
