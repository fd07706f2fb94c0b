"""What reading asks of a cache, whatever it is made of.

A cache may lose anything at any time and must never return a wrong byte: a damaged or missing extent is a miss.
"""

from dataclasses import dataclass
from typing import Protocol

from mountd.dataset.extents import ExtentKey


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """Gauges of a cache: bytes it holds, bytes it may hold, extents found damaged since it was opened."""

    used_bytes: int
    limit_bytes: int
    corrupt: int = 0


class ExtentCache(Protocol):
    """Keeps extents; every method may be called by any thread and none raises."""

    def get(self, key: ExtentKey) -> bytes | None:
        """The whole extent, verified, or None."""

    def put(self, key: ExtentKey, data: bytes) -> None:
        """Offer an extent; the cache may decline, and returns without waiting for a disk."""

    def status(self) -> CacheStatus:
        """The gauges now."""

    def close(self) -> None:
        """Finish what was accepted and give every resource back."""
