"""What the number of entries costs: mount time, memory, lookups and listings of a manifest of any size.

`python -m benchmarks.scale mount 10000000` mounts it as a user does, for each thing that is measured anew, so that neither
kernel nor worker has seen anything; `threads` asks an open manifest by as many threads as a worker has; `freeze` writes one
as `mountd freeze` does, from a sorted listing, and `freeze-shuffled` from one that jumps about.

Memory is RssAnon + RssShmem of the worker (/proc/PID/status): what it has for itself. RssFile, which is left out, is the
page cache's: programs, libraries and, were it mapped, the manifest.
"""

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.manifests import file_path, make_manifest
from benchmarks.measure import peak_of
from mountd import client
from mountd.dataset.manifest import ROOT, FrozenFile, Manifest, write_manifest

_MOUNTD = Path(sys.executable).parent / "mountd"
_MIB = 1 << 20
_LOOKUPS = 20_000
_THREADS = 66  # service threads and those that wait for bytes
_TOGETHER_S = 300.0
_PRIME = 7_368_787  # steps of it meet every number, in an order that looks like none


@dataclass(frozen=True, slots=True)
class Scale:
    """What a manifest costs that was mounted three times; `mount_s` is from the command to its return."""

    mount_s: tuple[float, float, float]
    empty_bytes: int  # of a worker that mounted one file
    mounted_bytes: int
    walked_bytes: int  # the most, after lookups, listing or walk
    lookups_per_s: float
    listed_per_s: float
    walked_per_s: float


@dataclass(frozen=True, slots=True)
class _Mounted:
    root: Path
    pid: int
    mount_s: float


def measure(folder: Path, files: int, *, in_folder: int = 1000, walk_every: int = 1) -> Scale:
    """Look up random files, list all of them, and walk every `walk_every`th folder; all below the scratch `folder`.

    Raises:
        OSError: a name was missing or told twice.
    """
    manifest = folder / "manifest"
    make_manifest(manifest, 1)
    with _mounted(manifest, folder) as mount:
        empty_bytes = own_bytes(mount.pid)
    manifest.unlink()
    make_manifest(manifest, files, in_folder=in_folder)
    try:
        return _measured(manifest, files, in_folder, walk_every, empty_bytes)
    finally:
        manifest.unlink()  # ten million entries are a gigabyte


def _measured(manifest: Path, files: int, in_folder: int, walk_every: int, empty_bytes: int) -> Scale:
    folder = manifest.parent
    with _mounted(manifest, folder) as first:
        mounted_bytes = own_bytes(first.pid)
        lookups_per_s = _rate(lambda: _look_up(first.root, files, in_folder))
        looked_up_bytes = own_bytes(first.pid)
    with _mounted(manifest, folder) as second:
        listed_per_s = _rate(lambda: _list(second.root, files))
        listed_bytes = own_bytes(second.pid)
    with _mounted(manifest, folder) as third:
        walked_per_s = _rate(lambda: _walk(third.root, walk_every))
        walked_bytes = max(looked_up_bytes, listed_bytes, own_bytes(third.pid))
    times = (first.mount_s, second.mount_s, third.mount_s)
    return Scale(times, empty_bytes, mounted_bytes, walked_bytes, lookups_per_s, listed_per_s, walked_per_s)


def own_bytes(pid: int) -> int:
    """The memory of a process that is no file's."""
    fields = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(words[1]) * 1024 for words in fields if words[0] in {"RssAnon:", "RssShmem:"})


@contextmanager
def _mounted(manifest: Path, folder: Path) -> Iterator[_Mounted]:
    root = folder / "mnt"
    begin = time.perf_counter()
    subprocess.run([_MOUNTD, "mount", manifest, root, "--cache-dir", folder / "cache"], check=True)
    mount_s = time.perf_counter() - begin
    try:
        yield _Mounted(root, client.status(root)["worker_pid"], mount_s)
    finally:
        client.stop(root)


def _rate(work: Callable[[], int]) -> float:
    """How many a second `work` does, which returns how many it did."""
    begin = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - begin)


def _look_up(root: Path, files: int, in_folder: int) -> int:
    """Stat files at random, by names that nobody has listed."""
    chosen = random.Random(files).sample(range(files), min(_LOOKUPS, files))
    for number in chosen:
        os.stat(f"{root}/{file_path(number, in_folder)}")  # noqa: PTH116  # a Path a file would be part of the measurement
    return len(chosen)


def _list(root: Path, files: int) -> int:
    """Read the names in every folder; each file's is there once."""
    found, total = 0, 0
    for folder in sorted(os.listdir(root)):  # noqa: PTH208  # as in `_look_up`
        for name in os.listdir(root / folder):  # noqa: PTH208
            found, total = found + 1, total + int(name[:-4])
    if (found, total) != (files, files * (files - 1) // 2):
        raise OSError(f"{root}: {found} files are listed and {files} are there, or some twice")
    return found


def _walk(root: Path, every: int) -> int:
    """List folders and stat each file of them."""
    found = 0
    for folder in sorted(os.listdir(root))[::every]:  # noqa: PTH208
        with os.scandir(root / folder) as entries:
            for entry in entries:
                found += entry.stat().st_size > 0
    return found


def _freeze(folder: Path, files: int, *, step: int = 1) -> str:
    listing = (
        FrozenFile(file_path(number), 100_000, f"0x8DC{number:012X}", 1_700_000_000_000_000_000 + number)
        for number in (place * step % files for place in range(files))
    )
    before_s = time.process_time()
    rate = _rate(lambda: write_manifest(folder / "m", ["https://moorage.invalid/data/"], listing).files)
    cpu_s = time.process_time() - before_s
    size_bytes, peak_bytes = (folder / "m").stat().st_size, peak_of(Path("/proc/self/status").read_text())
    return (
        f"{rate:,.0f} entries/s, {cpu_s / files * 1e6:.1f} us of CPU and {size_bytes / files:.0f} bytes each; "
        f"{peak_bytes / _MIB:.0f} MiB of memory at most"
    )


def _mount(folder: Path, files: int) -> str:
    told = measure(folder, files)
    above = [f"{(each - told.empty_bytes) / _MIB:.1f} MiB" for each in (told.mounted_bytes, told.walked_bytes)]
    lines = (
        f"mount: {', '.join(f'{each:.2f}' for each in told.mount_s)} s",
        f"memory: {told.empty_bytes / _MIB:.1f} MiB empty; above it {above[0]} mounted, {above[1]} walked",
        f"lookups {told.lookups_per_s:,.0f}/s, listed {told.listed_per_s:,.0f}/s, walked {told.walked_per_s:,.0f}/s",
    )
    return "\n".join(lines)


def _threads(folder: Path, files: int) -> str:
    make_manifest(folder / "manifest", files)
    together = threading.Barrier(_THREADS + 1, timeout=_TOGETHER_S)

    def ask(seed: int) -> None:
        for number in random.Random(seed).sample(range(files), min(3000, files)):
            name = Path(file_path(number)).name.encode()
            manifest.lookup(ROOT + 1 + number // 1000, name)
        together.wait()  # all have asked
        together.wait()  # and none has gone before the memory was read

    with Manifest.open(folder / "manifest") as manifest, ThreadPoolExecutor(_THREADS) as pool:
        before_bytes = own_bytes(os.getpid())
        asked = [pool.submit(ask, seed) for seed in range(_THREADS)]
        together.wait()
        grown_bytes = own_bytes(os.getpid()) - before_bytes
        together.wait()
        for each in asked:
            each.result()
    return f"{_THREADS} threads that look up names: {grown_bytes / _MIB:.1f} MiB more"


_COMMANDS: dict[str, Callable[[Path, int], str]] = {
    "mount": _mount,
    "threads": _threads,
    "freeze": _freeze,
    "freeze-shuffled": partial(_freeze, step=_PRIME),
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        what = _COMMANDS[sys.argv[1]]
        sys.stdout.write(what(Path(scratch), int(sys.argv[2])) + "\n")
