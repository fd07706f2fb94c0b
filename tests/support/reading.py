"""The reading side put together for tests, over any store and with or without a disk cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mountd.cache.disk import DiskCache
from mountd.cache.memory import MemoryCache
from mountd.cache.tiers import Cache
from mountd.dataset.manifest import Manifest
from mountd.metrics import Metrics
from mountd.reading.fetcher import Fetcher
from mountd.reading.needed import Needed
from mountd.reading.plan import PlanPrefetcher
from mountd.reading.pool import Pool
from mountd.reading.prefetcher import Prefetcher
from mountd.reading.reader import Reader
from mountd.stores.base import RangeReader
from mountd.vfs import FileSystem
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Reading:
    """All parts, each as a worker has it."""

    cache: Cache
    metrics: Metrics
    fetcher: Fetcher
    plan: PlanPrefetcher
    reader: Reader

    def files(self, manifest: Manifest) -> FileSystem:
        """The file system of `manifest`, whose only sources are the stores that this was opened with."""
        return FileSystem(manifest, self.reader)


@contextmanager
def open_reading(
    *stores: RangeReader,
    memory_bytes: int = 64 << 20,
    disk: DiskCache | None = None,
    needed: Needed | None = None,
    threads: int = 8,
    ahead_limit: int = 4,
    deadline_s: float = 10,
) -> Iterator[Reading]:
    """Compose it; at the end nothing is in flight, and no memory but that of kept extents is reserved."""
    metrics = Metrics()
    cache = Cache(MemoryCache(memory_bytes), disk)
    with Pool(deadline_s, threads, ahead_limit) as pool:
        fetcher = Fetcher(stores, cache, metrics, pool, deadline_s=deadline_s)
        prefetcher = Prefetcher(fetcher, memory_bytes // 4)
        with PlanPrefetcher(fetcher, cache, needed or Needed(), memory_bytes) as plan:
            reader = Reader(stores, cache, fetcher, prefetcher, plan, pool, metrics, in_place=True)
            yield Reading(cache, metrics, fetcher, plan, reader)
        until(lambda: not metrics.snapshot()["fetch"]["in_flight"], what="the end of all fetches")
