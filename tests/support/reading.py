"""The reading side put together for tests, over any store and with or without a disk cache; and a store that misbehaves."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from mountd.cache.disk import DiskCache
from mountd.cache.memory import MemoryCache
from mountd.cache.tiers import Cache
from mountd.dataset.extents import FileKey
from mountd.dataset.manifest import Manifest
from mountd.metrics import Metrics
from mountd.reading.fetcher import Fetcher
from mountd.reading.needed import Needed
from mountd.reading.plan import PlanPrefetcher
from mountd.reading.pool import Pool
from mountd.reading.prefetcher import Prefetcher
from mountd.reading.reader import Parts, Reader
from mountd.stores.base import RangeReader
from mountd.vfs import FileSystem
from tests.support.content import content
from tests.support.waiting import until

URL = "test://store/"


class FakeStore:
    """A network store of endless files; it counts what it is asked, and blocks, fails or cuts short on request."""

    url = URL
    in_place = False

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.short_by = 0

    @property
    def asked_bytes(self) -> int:
        """The sum of all requests."""
        return sum(size for _, _, size in self.asked)

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        """The content; or what the test has ordered."""
        self.asked.append((key, offset, size))
        assert etag == f"tag {key}"
        self.meet(key, offset)
        return data_of(key, offset, size - self.short_by)

    def meet(self, key: str, offset: int) -> None:
        """Block or fail, as ordered; a test may refine it for single places."""
        del key, offset
        assert self.gate.wait(30)
        if self.failure is not None:
            raise self.failure


@dataclass(frozen=True, slots=True)
class Reading:
    """All parts, each as a worker has it."""

    cache: Cache
    metrics: Metrics
    pool: Pool
    fetcher: Fetcher
    plan: PlanPrefetcher
    reader: Reader

    def files(self, manifest: Manifest) -> FileSystem:
        """The file system of `manifest`, whose only sources are the stores that this was opened with."""
        return FileSystem(manifest, self.reader)

    def read(self, file: FileKey, offset: int, size: int) -> bytes:
        """The bytes of one read, joined."""
        return joined(self.reader.read(file, offset, size))


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
        prefetcher = Prefetcher(fetcher, memory_bytes // 2)
        with PlanPrefetcher(fetcher, cache, needed or Needed(), memory_bytes) as plan:
            reader = Reader(stores, cache, fetcher, prefetcher, plan, pool, metrics, in_place=True)
            yield Reading(cache, metrics, pool, fetcher, plan, reader)
        until(lambda: not fetcher._flights, what="the end of all fetches")
    assert metrics.snapshot()["fetch"]["in_flight"] == 0
    assert pool._ahead_count == 0
    assert cache.memory.status().used_bytes == kept_bytes(cache.memory)


def kept_bytes(memory: MemoryCache) -> int:
    """The bytes of all extents in the table, each counted once."""
    extents = {extent for block in memory._blocks.values() for extent in block}
    return sum(extent.end - extent.start for extent in extents)


def file_of(name: str, size: int, md5: bytes | None = None) -> FileKey:
    """The file `name` of a `FakeStore`."""
    return FileKey.of(URL, 2, 0, name, f"tag {name}", size, md5)


def data_of(name: str, offset: int, size: int) -> bytes:
    """The content, made once for each name and MiB."""
    if size <= 0:
        return b""
    first, last = offset >> 20, (offset + size - 1) >> 20
    whole = _mib(name, first) if first == last else b"".join(_mib(name, number) for number in range(first, last + 1))
    return whole[offset - (first << 20) :][:size]


def never(told: object) -> None:
    """Stand in for a callback that must not be called."""
    message = f"nobody should have been told, and was told {told!r}"
    raise AssertionError(message)


def joined(parts: Parts) -> bytes:
    """The parts of an answer as one run of bytes."""
    return b"".join(map(bytes, parts))


@lru_cache(maxsize=128)
def _mib(name: str, number: int) -> bytes:
    return content(name, number << 20, 1 << 20)
