"""Read-ahead of the streams in each file.

Notes every read, asks the file's `Streams` how far ahead is worth it, and offers those extents to the fetcher. It keeps the
streams of the files read last, a bounded number, and forgets nothing that matters: a forgotten stream starts anew.

The lock protects the table of streams and the streams in it; the fetcher is called after it is released.
"""

import threading
from collections.abc import Callable

from cachetools import LRUCache

from mountd.dataset.extents import ExtentKey
from mountd.reading.fetcher import Fetcher
from mountd.reading.window import Streams

_FILES = 4096


class Prefetcher:
    """Fetches ahead of readers; `note` returns at once."""

    def __init__(self, fetcher: Fetcher, extent_bytes: int) -> None:
        self._fetcher, self._extent_bytes = fetcher, extent_bytes
        self._lock = threading.Lock()
        self._files: LRUCache[int, Streams] = LRUCache(_FILES)

    def note(self, inode: int, offset: int, size: int, extents: Callable[[int, int], list[ExtentKey]]) -> None:
        """Record that [offset, offset + size) of the file `inode` is read; `extents(offset, size)` names its extents."""
        with self._lock:
            streams = self._files.get(inode)
            if streams is None:
                streams = self._files[inode] = Streams(self._extent_bytes)
            start, end = streams.note(offset, size)
        if start < end:
            for key in extents(start, end - start):
                if not self._fetcher.fetch_ahead(key):
                    return
