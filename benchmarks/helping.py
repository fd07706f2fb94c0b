"""A helper's reads beside a mount's and a plain file's: `python -m benchmarks.helping [MIB]`.

One file of MIB (64) is on the disk cache, fetched from an Azure container that the environment opens
(`BENCH_URL`, a base URL, and AZURE_STORAGE_KEY or its like). Then the same 64 KiB reads, in one shuffled order, are timed:
by `pread` of a plain copy, by the helper one at a time, by the helper 64 at a time, and by `pread` of a mount whose pages
the kernel was told to forget. Each is the best of three; ratios count, not the figures.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mountd import client
from mountd.client.helper import Grant, Helper
from mountd.client.helper_processes import OwnHelper, order_of
from mountd.freeze import FreezeSource, freeze
from mountd.stores.credentials.origins import from_environment
from mountd.stores.registry import open_writer

_READ_BYTES = 64 << 10
_ROUNDS = 3


def _best(read: Callable[[], int], expected_bytes: int) -> float:
    taken = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        if read() != expected_bytes:
            sys.exit("a read was short")
        taken.append(time.perf_counter() - begin)
    return min(taken)


def _pread(path: Path, offsets: list[int]) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED if path.parent.is_mount() else os.POSIX_FADV_NORMAL)
        return sum(len(os.pread(descriptor, _READ_BYTES, offset)) for offset in offsets)
    finally:
        os.close(descriptor)


def _measure(size: int, folder: Path) -> dict[str, float]:
    url, credential = os.environ["BENCH_URL"], from_environment()
    plain, manifest = folder / "file", folder / "manifest"
    plain.write_bytes(random.Random(1).randbytes(size))  # content, no secret
    open_writer(url, credential).write("file", plain, overwrite=True)
    freeze([FreezeSource(url, credential, "file")], manifest)
    offsets = list(range(0, size, _READ_BYTES))
    random.Random(2).shuffle(offsets)  # an order, no secret
    settings = {"cache_dir": str(folder / "cache"), "memory": "32MiB"}
    (folder / "mount").mkdir()
    given = {url: credential} if credential is not None else {}
    with client.start(manifest, folder / "mount", credentials=given, settings=settings, lifeline=True) as mount:
        list(client.warm(mount.mountpoint))
        by_mount = _best(lambda: _pread(folder / "mount" / "file", offsets), size)
    owner = OwnHelper(order_of([Grant("", url, credential)], settings))
    try:
        owner.ensure()
        with Helper(owner.address).open(manifest) as files:
            entry = files.entry("file")
            reads = [(entry, offset, _READ_BYTES) for offset in offsets]
            one = _best(lambda: sum(len(files.read(*each)) for each in reads), size)
            many = _best(lambda: sum(map(len, files.read_many(reads))), size)
    finally:
        owner.close()
    return {
        "plain file": _best(lambda: _pread(plain, offsets), size),
        "mount": by_mount,
        "helper": one,
        "helper x64": many,
    }


def main() -> None:
    """Print a line for each way: seconds, reads a second, and how many times a plain file's seconds."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else 64) << 20
    with tempfile.TemporaryDirectory() as folder:
        taken = _measure(size, Path(folder))
    for name, seconds in taken.items():
        count = size // _READ_BYTES / seconds
        sys.stdout.write(
            f"{name:12} {seconds:7.3f} s {count:9.0f} reads/s {seconds / taken['plain file']:6.1f} x plain\n"
        )


if __name__ == "__main__":
    main()
