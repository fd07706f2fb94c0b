"""The bytes of many files, in order: ranges that are fetched ahead by a few threads while others are parsed.

Whoever stops early has read little: the first range is small, and each one that is asked for doubles both the size of
the next and how far ahead the threads are, up to their limits. So ten rows of a gigabyte cost some hundred KiB, and a
whole file is read by large ranges.

Invariants: chunks come in the files' order, each file's from its first byte to its last; at most `_AHEAD_BYTES` wait.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from runtime.datasets.tabular.files import TableFile

_FIRST_BYTES: Final = 64 << 10
_MOST_BYTES: Final = 4 << 20
_AHEAD_BYTES: Final = 32 << 20
_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Chunk:
    """`data` of the file number `file`; `is_last` if nothing of it follows."""

    file: int
    data: bytes
    is_last: bool


def chunks(files: Sequence[TableFile]) -> Iterator[Chunk]:
    """The bytes of all files; errors as `TableFile.read`."""
    waiting: deque[tuple[int, bool, int, Future[bytes]]] = deque()
    ahead_bytes, allowed_bytes = 0, _FIRST_BYTES
    ranges = _ranges(files)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="table-read")
    try:
        following = next(ranges, None)
        while following is not None or waiting:
            while following is not None and (not waiting or ahead_bytes < allowed_bytes):
                number, offset, size, is_last = following
                waiting.append((number, is_last, size, pool.submit(files[number].read, offset, size)))
                ahead_bytes += size
                following = next(ranges, None)
            number, is_last, size, future = waiting.popleft()
            yield Chunk(number, future.result(), is_last)
            ahead_bytes -= size
            allowed_bytes = min(allowed_bytes * 2, _AHEAD_BYTES)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ranges(files: Sequence[TableFile]) -> Iterator[tuple[int, int, int, bool]]:
    size = _FIRST_BYTES
    for number, file in enumerate(files):
        offset = 0
        while offset < file.size:
            part = min(size, file.size - offset)
            yield number, offset, part, offset + part == file.size
            offset += part
            size = min(size * 2, _MOST_BYTES)
