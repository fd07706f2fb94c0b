"""Any range of any entry: a read becomes spans, and spans become bytes.

Two faces of one read. `read_ready` never waits for a network: it answers from the cache, its disk included (measured: a hop
to another thread halves a warm epoch), or from the page cache of a local file, or says None. `read` waits. Both return the
parts in order, together exactly as long as the file has bytes there.

Stores that are read in place (local folders) skip cache and read-ahead: the kernel has both.
"""

from collections.abc import Mapping
from functools import partial

from mountd.dataset.extents import ExtentKey, clip, spans
from mountd.dataset.manifest import Entry, Manifest
from mountd.metrics import Metrics
from mountd.reading.fetcher import Fetcher
from mountd.reading.prefetcher import Prefetcher
from mountd.stores.base import Buffer, RangeReader, ReadyReader

EXTENT_BYTES = 1 << 20


class Reader:
    """Reads entries of one manifest; any number of threads may call it."""

    def __init__(
        self,
        manifest: Manifest,
        stores: Mapping[str, RangeReader],
        fetcher: Fetcher,
        metrics: Metrics,
        *,
        in_place: bool,
    ) -> None:
        """`in_place`: read stores that allow it without the cache."""
        self._manifest, self._fetcher, self._metrics = manifest, fetcher, metrics
        self._prefetcher = Prefetcher(fetcher, EXTENT_BYTES)
        self._stores = [stores[url] for url in manifest.sources]
        self._in_place = [in_place and store.in_place for store in self._stores]
        self._ready = [store if isinstance(store, ReadyReader) else None for store in self._stores]

    def read_ready(self, entry: Entry, offset: int, size: int) -> list[Buffer] | None:
        """The bytes, if they are here; None if the caller must wait for them with `read`."""
        size = clip(offset, size, entry.size)
        parts = self._ready_parts(entry, offset, size)
        if parts is not None:
            self._metrics.add_read(size)
        return parts

    def read(self, entry: Entry, offset: int, size: int) -> list[Buffer]:
        """The bytes; blocks until they are here.

        Raises:
            MountdError: as `stores.base` says.
        """
        size = clip(offset, size, entry.size)
        if not size:
            return []
        key = self._manifest.key(entry)
        if self._in_place[entry.source]:
            parts: list[Buffer] = [self._stores[entry.source].read(key, offset, size, entry.etag)]
        else:
            parts = [
                memoryview(self._fetcher.fetch(self._extent(entry, key, span.offset, span.size)))[span.start : span.end]
                for span in spans(offset, size, entry.size, EXTENT_BYTES)
            ]
        self._metrics.add_read(size)
        return parts

    def _ready_parts(self, entry: Entry, offset: int, size: int) -> list[Buffer] | None:
        if not size:
            return []
        key = self._manifest.key(entry)
        if self._in_place[entry.source]:
            store = self._ready[entry.source]
            data = store.read_ready(key, offset, size, entry.etag) if store is not None else None
            return None if data is None else [data]
        self._prefetcher.note(entry.inode, offset, size, partial(self._extents, entry, key))
        wanted = list(spans(offset, size, entry.size, EXTENT_BYTES))
        found = self._fetcher.ready([self._extent(entry, key, span.offset, span.size) for span in wanted])
        if found is None:
            return None
        return [memoryview(extent)[span.start : span.end] for span, extent in zip(wanted, found, strict=True)]

    def _extents(self, entry: Entry, key: str, offset: int, size: int) -> list[ExtentKey]:
        return [
            self._extent(entry, key, span.offset, span.size) for span in spans(offset, size, entry.size, EXTENT_BYTES)
        ]

    def _extent(self, entry: Entry, key: str, offset: int, size: int) -> ExtentKey:
        return ExtentKey(self._manifest.sources[entry.source], key, entry.etag, offset, size)
