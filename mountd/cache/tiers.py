"""Memory before disk: one cache made of two."""

from mountd.cache.base import CacheStatus, ExtentCache
from mountd.dataset.extents import ExtentKey


class TieredCache:
    """Asks `near`, then `far`; what `far` had moves near. `status` is that of `far`, which is what survives."""

    def __init__(self, near: ExtentCache, far: ExtentCache) -> None:
        self._near, self._far = near, far

    def get(self, key: ExtentKey) -> bytes | None:
        """The extent from the nearest tier that has it."""
        data = self._near.get(key)
        if data is None:
            data = self._far.get(key)
            if data is not None:
                self._near.put(key, data)
        return data

    def put(self, key: ExtentKey, data: bytes) -> None:
        """Offer an extent to both tiers."""
        self._near.put(key, data)
        self._far.put(key, data)

    def status(self) -> CacheStatus:
        """The gauges of the far tier."""
        return self._far.status()

    def close(self) -> None:
        """Close both tiers."""
        self._near.close()
        self._far.close()
