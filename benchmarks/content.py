"""What the server holds: two containers of files, made once in a scratch folder.

`small`: files of log-normal size in folders of 1,000, filled from one block of random bytes. `large`: one file for streams,
one for random reads and a few for first bytes; these are sparse, so they cost no disk. Everything follows from a fixed seed.
"""

import random
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20
_MEDIAN_BYTES = 88_000  # with this spread the mean is around 100 KB
_SPREAD = 0.6
_LEAST_BYTES, _MOST_BYTES = 1_000, 4 * _MIB


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; the defaults are a full run's."""

    stream_bytes: int = 2048 * _MIB
    random_bytes: int = 4096 * _MIB
    first_files: int = 16
    first_bytes: int = 64 * _MIB
    small_files: int = 20_000
    small_read: int = 6_000
    random_reads: int = 160  # in all, by 8 threads
    tiny_reads: int = 200
    processes: int = 8


FULL = Sizes()
QUICK = Sizes(
    stream_bytes=256 * _MIB,
    random_bytes=1024 * _MIB,
    first_files=4,
    small_files=2_000,
    small_read=600,
    random_reads=80,
    tiny_reads=40,
)


def make(content: Path, sizes: Sizes) -> list[str]:
    """Write what is not there yet below `content`; return the names of the containers."""
    large = content / "large"
    large.mkdir(parents=True, exist_ok=True)
    _sparse(large / "stream.bin", sizes.stream_bytes)
    _sparse(large / "random.bin", sizes.random_bytes)
    for number in range(sizes.first_files):
        _sparse(large / f"first-{number:02}.bin", sizes.first_bytes)
    _small(content / "small", sizes.small_files)
    return ["large", "small"]


def small_keys(sizes: Sizes, epoch: int) -> list[str]:
    """The small files that one epoch reads, in its order: the same files in every epoch, shuffled anew."""
    chosen = random.Random(7).sample(range(sizes.small_files), sizes.small_read)
    random.Random(epoch).shuffle(chosen)
    return [small_key(number) for number in chosen]


def small_key(number: int) -> str:
    """The key of a small file."""
    return f"{number // 1000:04}/{number:07}.bin"


def _sparse(path: Path, size_bytes: int) -> None:
    if not path.exists():
        with path.open("wb") as file:
            file.truncate(size_bytes)


def _small(folder: Path, count: int) -> None:
    source = random.Random(1)
    block = source.randbytes(_MOST_BYTES + 64 * 1024)
    for number in range(count):
        wanted = source.lognormvariate(0, _SPREAD) * _MEDIAN_BYTES
        size = int(min(max(wanted, _LEAST_BYTES), _MOST_BYTES))
        start = source.randrange(64 * 1024)
        path = folder / small_key(number)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(memoryview(block)[start : start + size])
