"""What is read, and how fast: functions over a mounted folder, each of which returns a `Done`.

Readers are threads or processes that are made before the clock starts. Every byte count is checked, so a short read fails
the run and does not make it faster. A plan is handed over (`mountd plan`) when the readers stand ready, and the clock starts
when the mount has taken it; the CPU of the command that hands it over is part of what is done.

Invariants: nothing here knows what kind of mount it reads; the same seed gives the same offsets to everyone.
"""

import mmap
import multiprocessing
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.content import Sizes, small_keys

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

_MIB = 1 << 20
BLOCK_BYTES = 64 * 1024
PAGE_BYTES = 4096
THREADS = 8
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """What a workload did: `value` in the unit of its row, the things and bytes that it read, the CPU of commands it ran."""

    value: float
    count: int
    read_bytes: int
    cpu_s: float = 0.0


def walk(root: Path, sizes: Sizes) -> Done:
    """List every folder and stat every file; entries a second."""
    begin, seen = time.perf_counter(), 0
    folders = [str(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                seen += 1
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    entry.stat()
    if seen < sizes.small_files:
        raise OSError(f"{root}: {seen} entries, {sizes.small_files} are there")
    return Done(seen / (time.perf_counter() - begin), seen, 0)


def first_byte(root: Path, sizes: Sizes) -> Done:
    """Open a cold file and read one byte of it; the median in milliseconds."""
    times = []
    for number in range(sizes.first_files):
        begin = time.perf_counter()
        with (root / f"first-{number:02}.bin").open("rb", buffering=0) as file:
            _check(file.read(1), 1)
        times.append(time.perf_counter() - begin)
    return Done(statistics.median(times) * 1000, len(times), len(times))


def sequential(root: Path, sizes: Sizes) -> Done:
    """Read a big file from its start to its end, 1 MiB a call; MB/s."""
    buffer, got = bytearray(_MIB), 0
    begin = time.perf_counter()
    with (root / "stream.bin").open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            got += count
    if got != sizes.stream_bytes:
        raise OSError(f"{root}/stream.bin: {got} bytes came, it has {sizes.stream_bytes}")
    return Done(got / (time.perf_counter() - begin) / 1e6, 1, got)


def random_64k(root: Path, sizes: Sizes) -> Done:
    """Read blocks of 64 KiB at random offsets by 8 threads; reads a second."""
    places = offsets(sizes, sizes.random_reads, BLOCK_BYTES)
    file = os.open(root / "random.bin", os.O_RDONLY)
    try:
        return timed_reads(lambda offset: os.pread(file, BLOCK_BYTES, offset), places, BLOCK_BYTES)
    finally:
        os.close(file)


def random_4k(root: Path, sizes: Sizes) -> Done:
    """Read 4 KiB at random offsets, one after the other; reads a second."""
    places = offsets(sizes, sizes.tiny_reads, PAGE_BYTES)
    file = os.open(root / "random.bin", os.O_RDONLY)
    try:
        return timed_reads(lambda offset: os.pread(file, PAGE_BYTES, offset), places, PAGE_BYTES, threads=1)
    finally:
        os.close(file)


def random_4k_mmap(root: Path, sizes: Sizes) -> Done:
    """As `random_4k`, but by page faults in a mapped file, as numpy.memmap does."""
    places = offsets(sizes, sizes.tiny_reads, PAGE_BYTES)
    with (root / "random.bin").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        return timed_reads(lambda at: mapped[at : at + PAGE_BYTES], places, PAGE_BYTES, threads=1)


def small_files(root: Path, sizes: Sizes, epoch: int, *, planned: bool = False) -> Done:
    """Read thousands of small files whole, shuffled, by worker processes as a data loader does; files a second."""
    context = multiprocessing.get_context("fork")
    keys, gate = small_keys(sizes, epoch), context.Barrier(sizes.processes + 1)
    workers, answers = [], []
    for number in range(sizes.processes):
        receiving, sending = context.Pipe(duplex=False)
        part = [str(root / key) for key in keys[number :: sizes.processes]]
        worker = context.Process(target=_read_files, args=(part, gate, sending), daemon=True)
        worker.start()
        sending.close()
        workers.append(worker)
        answers.append(receiving)
    try:
        cpu_s = _hand_over(root, keys) if planned else 0.0
        gate.wait(_START_S)
        parts = [_answer(each) for each in answers]
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    # By the readers' own clocks, which are one: this process may come last out of the gate, when half is read.
    seconds = max(end for _, _, end in parts) - min(begin for _, begin, _ in parts)
    return Done(len(keys) / seconds, len(keys), sum(got for got, _, _ in parts), cpu_s)


def offsets(sizes: Sizes, count: int, size_bytes: int) -> list[int]:
    """Random places in the file for random reads, on multiples of 4 KiB."""
    source = random.Random(count)
    return [source.randrange((sizes.random_bytes - size_bytes) // PAGE_BYTES) * PAGE_BYTES for _ in range(count)]


def timed_reads(read: Callable[[int], bytes], places: list[int], size_bytes: int, *, threads: int = THREADS) -> Done:
    """Read at every place by some threads; reads a second."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(bool, range(threads)))  # the threads are there before the clock starts
        begin = time.perf_counter()
        for data in pool.map(read, places):
            _check(data, size_bytes)
        seconds = time.perf_counter() - begin
    return Done(len(places) / seconds, len(places), len(places) * size_bytes)


def _hand_over(root: Path, keys: list[str]) -> float:
    """Tell the mount the order in which the files will be read; seconds of CPU that this took."""
    with tempfile.NamedTemporaryFile("w", suffix=".plan") as plan:
        plan.write("".join(f"{key}\n" for key in keys))
        plan.flush()
        command = [str(Path(sys.executable).parent / "mountd"), "plan", str(root), plan.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_START_S)
    if done.returncode:
        _, _, last = done.stderr.strip().rpartition("\n")
        raise OSError(f"mountd plan: {last}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # no other child has ended yet
    return used.ru_utime + used.ru_stime


def _check(data: bytes, size_bytes: int) -> None:
    if len(data) != size_bytes:
        raise OSError(f"{len(data)} bytes came, {size_bytes} were asked for")


def _read_files(paths: list[str], gate: "Barrier", answer: "Connection") -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # ended without a word when the harness ends
    gate.wait(_START_S)
    begin, got = time.monotonic(), 0
    try:
        for path in paths:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path a file would be part of the measurement
                size = os.fstat(file.fileno()).st_size
                data = file.read(size)
                _check(data, size)
                got += size
        answer.send((got, begin, time.monotonic()))
    except OSError as error:
        answer.send(str(error))


def _answer(receiving: "Connection") -> tuple[int, float, float]:
    """What a reader read, when it began and when it ended."""
    said = receiving.recv()
    if isinstance(said, str):
        raise OSError(said)
    got, begin, end = said
    return got, begin, end


def _epochs(suffix: str, *, planned: bool) -> dict[str, Callable[[Path, Sizes], Done]]:
    named = {number: f"small files, epoch {number}{suffix}" for number in (1, 2, 3)}
    return {name: partial(small_files, epoch=number, planned=planned) for number, name in named.items()}


#: Each row of the table by its name.
WORKLOADS: dict[str, Callable[[Path, Sizes], Done]] = {
    "walk": walk,
    "first byte": first_byte,
    "sequential": sequential,
    "random 64K x 8": random_64k,
    "random 4K": random_4k,
    "random 4K by mmap": random_4k_mmap,
    **_epochs("", planned=False),
    **_epochs(", with a plan", planned=True),
}
