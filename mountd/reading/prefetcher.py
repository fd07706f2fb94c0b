"""Read-ahead of the streams in each file.

Takes note of every read of a file that is too large to be fetched whole, asks the file's `Streams` what is worth fetching
now, and offers it to the fetcher. It keeps the streams of the files read last, a bounded number, and forgets nothing that
matters: a forgotten stream starts anew.

The lock protects the table of streams and the streams in it; the fetcher is called after it is released.
"""

import threading

from cachetools import LRUCache

from mountd.dataset.extents import FileKey
from mountd.errors import MountdError
from mountd.reading.fetcher import Fetcher
from mountd.reading.window import Advice, Streams

_FILES = 4096


class Prefetcher:
    """Fetches ahead of readers of large files; nothing here waits."""

    def __init__(self, fetcher: Fetcher, largest_window_bytes: int) -> None:
        self._fetcher, self._largest_window_bytes = fetcher, largest_window_bytes
        self._lock = threading.Lock()
        self._files: LRUCache[bytes, Streams] = LRUCache(_FILES)

    def note(self, file: FileKey, offset: int, size: int, *, starved: bool) -> Advice:
        """Record that [offset, offset + size) is read; `starved`: not all of it was here."""
        with self._lock:
            streams = self._files.get(file.digest)
            if streams is None:
                streams = self._files[file.digest] = Streams(file.size, self._largest_window_bytes)
            return streams.note(offset, size, starved=starved)

    def status(self) -> dict[str, int]:
        """{"streams": those under way with a window, "bytes": how far ahead of their readers they have asked, together}."""
        with self._lock:
            files = list(self._files.values())
        # The sums are made outside of the lock, which every read of a large file takes; a stream may move on meanwhile.
        open_ = [stream for each in files for stream in each.under_way()]
        return {"streams": len(open_), "bytes": sum(max(0, each.asked_to - each.expected) for each in open_)}

    def follow(self, file: FileKey, advice: Advice) -> None:
        """Fetch what `advice` says is worth it, as far as there is room."""
        for start, end in advice.ahead:
            try:
                begun = self._fetcher.ahead(file, start, end)
            except MountdError:  # told to the reader who comes for the bytes, if one comes
                begun = None
            if begun is None:
                with self._lock:
                    advice.stream.withdraw(start)
                return
