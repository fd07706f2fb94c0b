"""What reading is composed of: built here for every process that reads, the worker of a mount and the helper alike.

`Common` is what all datasets of a process share: one memory budget, one disk cache, one pool of threads, one count of
everything. A `Reading` is one manifest on top of it: its stores, the fetcher, what reads ahead, and the file system.

Invariant: what is opened is closed by the `ExitStack` that was given, pool before cache.
"""

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from mountd.cache.disk import DiskCache
from mountd.cache.memory import MemoryCache
from mountd.cache.tiers import Cache
from mountd.config import Settings
from mountd.dataset.manifest import Manifest
from mountd.metrics import Metrics
from mountd.reading.fetcher import Fetcher
from mountd.reading.needed import Needed
from mountd.reading.plan import PlanPrefetcher
from mountd.reading.pool import Pool
from mountd.reading.prefetcher import Prefetcher
from mountd.reading.reader import Reader
from mountd.stores import registry
from mountd.stores.credentials import Credential
from mountd.stores.credentials.renewing import CredentialProvider
from mountd.vfs import FileSystem

if TYPE_CHECKING:
    from mountd.stores.base import RangeReader

# Shares of the memory budget: what may wait for the disk, and what one stream may have read ahead.
_QUEUE_SHARE, _WINDOW_SHARE = 8, 2


class Common:
    """What the datasets of one process share. The lock is held while the disk cache is opened, by whoever needs it first."""

    def __init__(self, settings: Settings, parts: ExitStack) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.memory = MemoryCache(settings.memory_bytes)
        self._lock = threading.Lock()
        self._disk: DiskCache | None = None
        self._needed: tuple[Needed, ...] = ()
        parts.callback(self._close)
        self.pool = parts.enter_context(Pool(settings.read_deadline_s))

    def cache(self, needed: Needed, *, on_disk: bool) -> Cache:
        """Both tiers for one dataset; eviction spares what `needed` has."""
        if self.settings.cache == "off" or not on_disk:
            return Cache(self.memory, None)
        with self._lock:
            self._needed += (needed,)
            if self._disk is None:
                queue_bytes = self.settings.memory_bytes // _QUEUE_SHARE
                limit_bytes = self.settings.cache_size_bytes
                self._disk = DiskCache(self.settings.cache_dir, limit_bytes, queue_bytes, spare=self._is_needed)
        return Cache(self.memory, self._disk)

    def forget(self, needed: Needed) -> None:
        """Spare nothing for this dataset any more."""
        with self._lock:
            self._needed = tuple(each for each in self._needed if each is not needed)

    def _is_needed(self, file: bytes) -> bool:
        asked = [each.has(file) for each in self._needed]  # all of them: being asked makes each look
        return True in asked

    def _close(self) -> None:
        if self._disk is not None:
            self._disk.close()


@dataclass(frozen=True, slots=True)
class Reading:
    """One manifest, ready to be read. `providers` has whoever gives the credential of a source, by its URL."""

    manifest: Manifest
    providers: Mapping[str, CredentialProvider]
    cache: Cache
    fetcher: Fetcher
    prefetcher: Prefetcher
    plan: PlanPrefetcher
    reader: Reader
    files: FileSystem

    @classmethod
    def open(cls, manifest: Manifest, credentials: Mapping[str, Credential], common: Common, parts: ExitStack) -> Self:
        """Compose what reads `manifest`; `credentials` go by the URL of its sources.

        Raises:
            BadInputError: checksums are asked for and nobody has them, or the cache's folder cannot be used.
            MountdError: as the stores raise it.
        """
        settings, urls = common.settings, manifest.sources
        providers = {url: CredentialProvider(credentials.get(url)) for url in urls if registry.takes_credentials(url)}
        stores = _stores(urls, providers, common)
        in_place, needed = settings.cache == "auto", Needed()
        cache = common.cache(needed, on_disk=not (in_place and all(each.in_place for each in stores)))
        parts.callback(common.forget, needed)
        fetcher = Fetcher(stores, cache, common.metrics, common.pool, deadline_s=settings.read_deadline_s)
        prefetcher = Prefetcher(fetcher, settings.memory_bytes // _WINDOW_SHARE)
        plan = parts.enter_context(PlanPrefetcher(fetcher, cache, needed, settings.memory_bytes))
        reader = Reader(stores, cache, fetcher, prefetcher, plan, common.pool, common.metrics, in_place=in_place)
        return cls(manifest, providers, cache, fetcher, prefetcher, plan, reader, FileSystem(manifest, reader))


def _stores(urls: tuple[str, ...], providers: Mapping[str, CredentialProvider], common: Common) -> "list[RangeReader]":
    """One for each source of the manifest."""
    verified = common.settings.verify_wire
    if verified:
        registry.require_verifiable(urls)
    open_reader = partial(
        registry.open_reader,
        deadline_s=common.settings.read_deadline_s,
        on_retry=partial(common.metrics.add, "fetch_retries"),
        verified=verified,
    )
    return [open_reader(url, providers.get(url)) for url in urls]
