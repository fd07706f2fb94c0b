"""A program that reads a mount as a data loader does: `python -m tests.support.loading METHOD FOLDER NAME SIZE...`.

The parent opens the first file, starts eight workers by `fork` or `spawn`, and each reads whole files by path and by mmap;
forked ones also read by the parent's descriptor. It fails when a byte was wrong.
"""

import mmap
import multiprocessing
import os
import sys
from pathlib import Path

from tests.support.content import content

_WORKERS = 8
_PIECE_BYTES = 65536


def has_read(descriptor: int | None, path: Path, first: str, size: int) -> bool:
    """Whether all ways give the content; `first` is the file that the descriptor is of."""
    right = content(path.name, 0, size)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
        if view[:] != right or stream.read() != right:
            return False
    return descriptor is None or os.pread(descriptor, _PIECE_BYTES, 7) == content(first, 7, _PIECE_BYTES)


def main(method: str, folder: Path, *told: str) -> None:
    """Read all."""
    sizes = dict(zip(told[::2], map(int, told[1::2]), strict=True))
    first = next(iter(sizes))
    descriptor = os.open(folder / first, os.O_RDONLY)
    given = descriptor if method == "fork" else None
    tasks = [(given, folder / name, first, size) for name, size in sizes.items()]
    with multiprocessing.get_context(method).Pool(_WORKERS) as pool:
        verdicts = pool.starmap(has_read, tasks, chunksize=1)
    os.close(descriptor)
    if not all(verdicts):
        sys.exit(f"wrong bytes: {[name for name, right in zip(sizes, verdicts, strict=True) if not right]}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
