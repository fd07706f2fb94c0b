"""A file of any size that exists nowhere: a server's body of it, and a program that reads it from a mount and compares.

    python tests/support/huge.py FILE SIZE_BYTES THREADS SEED

Its bytes repeat after a prime number, so that no block, page, extent or part of a power of two looks like another one. The
program reads the whole file in pieces of 4 MiB, in random order, by so many threads, and prints what was not right.
Standard library only.
"""

import hashlib
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

PIECE_BYTES = 4 << 20
_PERIOD_BYTES = (1 << 20) - 3
_TILES = hashlib.shake_128(b"huge").digest(_PERIOD_BYTES) * (2 + PIECE_BYTES // _PERIOD_BYTES + 1)


def piece(offset: int, size: int) -> bytes:
    """Bytes [offset, offset + size); at most PIECE_BYTES."""
    at = offset % _PERIOD_BYTES
    return _TILES[at : at + size]


class Huge:
    """What a server sends: it can be sliced like bytes."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def __len__(self) -> int:
        return self._size_bytes

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size_bytes)
        return b"".join(piece(at, min(PIECE_BYTES, stop - at)) for at in range(start, stop, PIECE_BYTES))


def main(path: str, size_bytes: int, threads: int, seed: int) -> None:
    """Read all of it."""
    descriptor = os.open(path, os.O_RDONLY)
    offsets = list(range(0, size_bytes, PIECE_BYTES))
    random.Random(seed).shuffle(offsets)

    def is_right(offset: int) -> bool:
        size = min(PIECE_BYTES, size_bytes - offset)
        return os.pread(descriptor, size, offset) == piece(offset, size)

    with ThreadPoolExecutor(threads) as pool:
        wrong = [offset for offset, right in zip(offsets, pool.map(is_right, offsets), strict=True) if not right]
    sys.exit(f"wrong bytes in the pieces at {wrong[:20]}" if wrong else 0)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
