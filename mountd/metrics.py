"""Counters of one process, as `mountd status --json` shows them.

One flat table of integers behind one lock; nothing but additions happens under it. Names are `group_counter`; the snapshot
nests them by group. Gauges (memory in use, bytes on disk) are not kept here: their owners are asked when a status is made.
"""

import threading

NAMES = (
    "reads_count",
    "reads_bytes",
    "fetch_requests",
    "fetch_bytes",
    "fetch_errors",
    "fetch_retries",
    "fetch_hedged",
    "fetch_in_flight",
    "cache_hits",
    "cache_misses",
    "cache_declined",
)


class Metrics:
    """Counters that any thread may add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = dict.fromkeys(NAMES, 0)

    def add(self, name: str, amount: int = 1) -> None:
        """Add `amount` to one counter of `NAMES`."""
        with self._lock:
            self._values[name] += amount

    def add_read(self, size_bytes: int) -> None:
        """Count one read that a reader of the mount made."""
        with self._lock:
            self._values["reads_count"] += 1
            self._values["reads_bytes"] += size_bytes

    def snapshot(self) -> dict[str, dict[str, int]]:
        """All counters at one moment, nested: {"reads": {"count": …, "bytes": …}, "fetch": {…}, "cache": {…}, …}."""
        with self._lock:
            values = dict(self._values)
        nested: dict[str, dict[str, int]] = {}
        for name, value in values.items():
            group, _, counter = name.partition("_")
            nested.setdefault(group, {})[counter] = value
        return nested
