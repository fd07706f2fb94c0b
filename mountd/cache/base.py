"""What every part of the cache says of itself.

A cache may lose anything at any time and must never return a wrong byte: a damaged or missing extent is a miss.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """Gauges of a cache: bytes it holds, bytes it may hold, extents found damaged since it was opened."""

    used_bytes: int
    limit_bytes: int
    corrupt: int = 0
