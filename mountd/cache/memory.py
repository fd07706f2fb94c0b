"""Extents in memory, within a fixed number of bytes; the least recently used go first."""

import threading

from cachetools import LRUCache

from mountd.cache.base import CacheStatus
from mountd.dataset.extents import ExtentKey


class MemoryCache:
    """An LRU of extents. The lock protects the table only; nothing is copied under it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._extents: LRUCache[ExtentKey, bytes] = LRUCache(limit_bytes, getsizeof=len)

    def get(self, key: ExtentKey) -> bytes | None:
        """The extent, or None."""
        with self._lock:
            return self._extents.get(key)

    def put(self, key: ExtentKey, data: bytes) -> None:
        """Keep an extent; one larger than the whole limit is declined."""
        if len(data) <= self._limit_bytes:
            with self._lock:
                self._extents[key] = data

    def status(self) -> CacheStatus:
        """The gauges now."""
        with self._lock:
            return CacheStatus(int(self._extents.currsize), self._limit_bytes)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._extents.clear()
