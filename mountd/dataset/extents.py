"""Extents and spans: which parts of a file one read needs. Pure arithmetic.

A file is cut at multiples of the extent size, so that every reader of a file asks for the same extents; the last one is as
short as the file is. All ranges are half open, in bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExtentKey:
    """Names the bytes of one extent for ever: an ETag pins the content, the store's URL keeps two accounts apart."""

    store_url: str
    key: str
    etag: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a read: bytes [start, end) of the extent that begins at `offset` and is `size` bytes long."""

    offset: int
    size: int
    start: int
    end: int


def clip(offset: int, size: int, file_size: int) -> int:
    """How many of `size` bytes at `offset` the file has: a read beyond the end is shorter, never an error."""
    return max(0, min(size, file_size - offset))


def spans(offset: int, size: int, file_size: int, extent_size: int) -> Iterator[Span]:
    """Yield the spans that make up the bytes [offset, offset + size) of a file, in order; they never overlap."""
    end = offset + clip(offset, size, file_size)
    first = offset - offset % extent_size if end > offset else end
    for begin in range(first, end, extent_size):
        length = min(extent_size, file_size - begin)
        yield Span(begin, length, max(0, offset - begin), min(length, end - begin))
