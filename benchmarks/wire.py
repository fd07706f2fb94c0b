"""Raw obstore on the same server: what the wire gives to a program that throws the bytes away.

A program of its own, because obstore and forked readers do not go together: `python -m benchmarks.wire` takes one JSON
object on its standard input (row, endpoint, threads, sizes) and prints one with what it did and cost. No mount, no cache,
no second copy: a bound, not a rival.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import obstore
from obstore.store import AzureStore

from benchmarks.content import Sizes, small_keys
from benchmarks.measure import usage
from benchmarks.server import ACCOUNT, KEY
from benchmarks.workloads import BLOCK_BYTES, PAGE_BYTES, Done, offsets, timed_reads

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PART_BYTES = 4 << 20


def sequential(store: "ObjectStore", sizes: Sizes, threads: int) -> Done:
    """The big file in parts of 4 MiB, in order; MB/s."""
    starts = range(0, sizes.stream_bytes, _PART_BYTES)

    def part(start: int) -> int:
        end = min(start + _PART_BYTES, sizes.stream_bytes)
        return len(obstore.get_range(store, "stream.bin", start=start, end=end))

    seconds, got = _timed(part, starts, threads)
    return Done(got / seconds / 1e6, 1, got)


def first_byte(store: "ObjectStore", sizes: Sizes, _threads: int) -> Done:
    """One byte of each file, over a connection that is open; the median in milliseconds."""
    keys = [f"first-{number:02}.bin" for number in range(sizes.first_files)]
    times = [_timed(lambda key: len(obstore.get_range(store, key, start=0, end=1)), [key], 1)[0] for key in keys]
    return Done(statistics.median(times) * 1000, len(keys), len(keys))


def random_64k(store: "ObjectStore", sizes: Sizes, threads: int) -> Done:
    """Exactly the blocks; reads a second."""
    return _ranges(store, offsets(sizes, sizes.random_reads, BLOCK_BYTES), BLOCK_BYTES, threads)


def random_4k(store: "ObjectStore", sizes: Sizes, _threads: int) -> Done:
    """Exactly the pages, one after the other; reads a second."""
    return _ranges(store, offsets(sizes, sizes.tiny_reads, PAGE_BYTES), PAGE_BYTES, 1)


def small_files(store: "ObjectStore", sizes: Sizes, threads: int) -> Done:
    """The small files of epoch 1, whole; files a second."""
    keys = small_keys(sizes, 1)
    seconds, got = _timed(lambda key: len(obstore.get(store, key).bytes()), keys, threads)
    return Done(len(keys) / seconds, len(keys), got)


ROWS: dict[str, tuple[str, Callable[["ObjectStore", Sizes, int], Done]]] = {
    "first byte": ("large", first_byte),
    "sequential": ("large", sequential),
    "random 64K x 8": ("large", random_64k),
    "random 4K": ("large", random_4k),
    "small files, epoch 1": ("small", small_files),
}


def main() -> None:
    """Run one row as told on the standard input."""
    order: dict[str, Any] = json.load(sys.stdin)
    container, row = ROWS[order["row"]]
    store = AzureStore(
        container_name=container,
        account_name=ACCOUNT,
        account_key=KEY,
        endpoint=order["endpoint"],
        client_options={"allow_http": True},
    )
    obstore.head(store, order["warm_key"])  # a connection is open before the clock starts
    before = usage(os.getpid())
    done = row(store, Sizes(**order["sizes"]), order["threads"])
    after = usage(os.getpid())
    answer = {"value": done.value, "count": done.count, "read_bytes": done.read_bytes}
    json.dump(answer | {"cpu_s": after.cpu_s - before.cpu_s, "peak_bytes": after.peak_bytes}, sys.stdout)


def _ranges(store: "ObjectStore", places: list[int], size_bytes: int, threads: int) -> Done:
    def read(start: int) -> bytes:
        return obstore.get_range(store, "random.bin", start=start, end=start + size_bytes).to_bytes()

    return timed_reads(read, places, size_bytes, threads=threads)


def _timed(job: Callable[[Any], int], items: Sequence[Any], threads: int) -> tuple[float, int]:
    """Seconds and the sum of what the jobs answer."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(bool, range(threads)))
        begin = time.perf_counter()
        got = sum(pool.map(job, items))
        return time.perf_counter() - begin, got


if __name__ == "__main__":
    main()
