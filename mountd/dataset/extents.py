"""Files by identity, and ranges of their bytes: pure arithmetic.

A *range* is a pair (start, end), half open, in bytes. A fetch begins and ends at multiples of the granule, or at the end of
the file, so that two readers of neighbouring places rarely fetch the same bytes twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

Range = tuple[int, int]

# A random page costs 4 times its size, and a fault's read-around (128 KiB from any page) 1.1 times.
GRANULE_BYTES = 16 * 1024
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class FileKey:
    """One frozen file, for ever: `digest` names it to every cache, the rest is what a store must be asked for.

    The digest covers the store's URL, which keeps two accounts apart, the key, and the ETag, which pins the content. `md5`
    is the whole content's, where the listing told one.
    """

    digest: bytes
    inode: int
    source: int
    key: str
    etag: str
    size: int
    md5: bytes | None = None

    @classmethod
    def of(
        cls, store_url: str, inode: int, source: int, key: str, etag: str, size: int, md5: bytes | None = None
    ) -> "FileKey":
        """The file `key` of the manifest's source number `source`, which is the store at `store_url`."""
        fields = f"{store_url}\0{key}\0{etag}".encode("utf-8", "surrogateescape")
        return cls(blake2b(fields, digest_size=DIGEST_BYTES).digest(), inode, source, key, etag, size, md5)


def clip(offset: int, size: int, file_size: int) -> int:
    """How many of `size` bytes at `offset` the file has: a read beyond the end is shorter, never an error."""
    return max(0, min(size, file_size - offset))


def widen(start: int, end: int, file_size: int) -> Range:
    """The range, grown to whole granules within the file."""
    return start - start % GRANULE_BYTES, min(file_size, -(-end // GRANULE_BYTES) * GRANULE_BYTES)


def gaps(start: int, end: int, covered: Iterable[Range]) -> list[Range]:
    """What is left of (start, end) without the ranges `covered`, which are ascending by their start."""
    left: list[Range] = []
    for begin, finish in covered:
        if begin >= end:
            break
        if begin > start:
            left.append((start, begin))
        start = max(start, finish)
    if start < end:
        left.append((start, end))
    return left


def split(start: int, end: int, part_bytes: int) -> Iterator[Range]:
    """Yield the range in parts that end at multiples of `part_bytes`, or at its end."""
    while start < end:
        finish = min(end, (start // part_bytes + 1) * part_bytes)
        yield start, finish
        start = finish
