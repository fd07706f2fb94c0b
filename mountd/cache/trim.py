"""What a cache folder holds, and how it shrinks: whole segments go, those that nobody read for longest first.

A segment's heat is its modification time, which readers set anew (`warm`) and which is therefore the same for all
processes. One process trims at a time, under a lock that the others do not wait for. A segment that a living process appends
to is locked by it and stays; one in which `spare` wants a file stays too. Readers that have a dropped segment open go on.

The limit holds when a segment is begun: room for the whole of it must be there. N processes that begin one at the same
moment, each seeing the same room, exceed the limit by N - 1 segments, and the next one to begin a segment trims.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mountd.cache.folder import Descriptor, claim, exclusive
from mountd.cache.segments import SUFFIX, files_in, segment_path

TRIM_TO: Final = 0.9
_KEEP_FREE_BYTES: Final = 1 << 30
_KEEP_FREE_SHARE: Final = 0.05
_BLOCK_BYTES: Final = 512  # of st_blocks, everywhere


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as a listing of the folder tells it."""

    number: int
    path: Path
    size_bytes: int
    touched_ns: int


def segments_folder(folder: Path) -> Path:
    """Where the segments of a cache folder are."""
    return folder / "segments"


def list_segments(folder: Path) -> list[Segment]:
    """Every segment of a cache folder, the coldest first; none where there is no folder."""
    found: list[Segment] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(segments_folder(folder)) as entries:
        for entry in entries:
            # Dropped by another process meanwhile, or a name that is none of ours.
            with contextlib.suppress(FileNotFoundError, ValueError):
                if entry.name.endswith(SUFFIX):
                    number = int(entry.name.removesuffix(SUFFIX), 16)
                    told = entry.stat(follow_symlinks=False)
                    found.append(Segment(number, Path(entry.path), told.st_size, told.st_mtime_ns))
    return sorted(found, key=lambda segment: segment.touched_ns)


def used_bytes(folder: Path) -> int:
    """The bytes that a cache folder takes, whoever wrote them."""
    return _index_bytes(folder) + sum(segment.size_bytes for segment in list_segments(folder))


def has_room(folder: Path, limit_bytes: int, room_bytes: int) -> bool:
    """Whether `room_bytes` more neither pass the limit nor leave the disk short."""
    return used_bytes(folder) + room_bytes <= limit_bytes and _short_bytes(folder, room_bytes) <= 0


def is_disk_short(folder: Path, room_bytes: int) -> bool:
    """Whether it is the disk, and not the limit, that has no room for `room_bytes` more."""
    return _short_bytes(folder, room_bytes) > 0


def trim(folder: Path, goal_bytes: int, room_bytes: int = 0, spare: Callable[[bytes], bool] | None = None) -> int:
    """Drop segments until at most `goal_bytes` are used and the disk has `room_bytes`; return how many went.

    Nothing goes while another process trims, and nothing is touched in a folder that is no cache.
    """
    dropped = 0
    if not segments_folder(folder).is_dir():
        return dropped
    with exclusive(folder / "trim.lock") as is_ours:
        segments = list_segments(folder) if is_ours else []
        excess = _index_bytes(folder) + sum(segment.size_bytes for segment in segments) - goal_bytes
        excess = max(excess, _short_bytes(folder, room_bytes))
        for segment in segments:
            if excess <= 0:
                break
            if not _is_needed(segment.path, spare) and _drop(segment.path):
                excess -= segment.size_bytes
                dropped += 1
    return dropped


def clear(folder: Path) -> int:
    """Remove every segment and the index; mounts that use them notice and go on. Return how many segments went.

    A folder without segments is no cache: its `index` may be somebody's work.
    """
    if not segments_folder(folder).is_dir():
        return 0
    segments = list_segments(folder)
    for segment in segments:
        segment.path.unlink(missing_ok=True)
    (folder / "index").unlink(missing_ok=True)
    return len(segments)


def warm(folder: Path, segments: Iterable[int]) -> None:
    """Say that these segments were read from just now."""
    for segment in segments:
        with contextlib.suppress(OSError):  # dropped meanwhile, or a disk that may not be written to: they stay cold
            os.utime(segment_path(segments_folder(folder), segment))


def _index_bytes(folder: Path) -> int:
    try:
        return (folder / "index").stat().st_blocks * _BLOCK_BYTES
    except FileNotFoundError:
        return 0


def _short_bytes(folder: Path, room_bytes: int) -> int:
    """How many bytes the disk lacks for `room_bytes` and what is kept free of it."""
    disk = shutil.disk_usage(folder)
    return int(min(_KEEP_FREE_BYTES, disk.total * _KEEP_FREE_SHARE)) + room_bytes - disk.free


def _is_needed(segment: Path, spare: Callable[[bytes], bool] | None) -> bool:
    with contextlib.suppress(OSError):  # what cannot be read is not needed
        return spare is not None and any(spare(file) for file in files_in(segment))
    return False


def _drop(segment: Path) -> bool:
    """Remove a segment unless a living process appends to it."""
    try:
        descriptor = Descriptor.open(segment, os.O_RDONLY)
        if not claim(descriptor.number):
            return False
        segment.unlink()
    except OSError:  # gone already; or it cannot be removed, and must not keep the others
        return False
    return True
