"""Extents from the network: one fetch for all who want the same extent, verified, bounded, kept.

`fetch` is called by a thread that may wait. The first who asks for an extent leads: it reads the store and puts the bytes
into the cache; whoever asks meanwhile joins and waits for the leader's result. `fetch_ahead` does the same on a pool of the
fetcher's own, and is refused when that pool is behind: read-ahead is a guess, and guesses never queue up.

Why nobody waits for ever: a leader never waits for another flight, and a store call ends by its deadline.
Why memory is bounded: a flight holds one extent, and flights are no more than the callers' threads plus the pool's.

A failed extent is remembered for a few seconds, so that the kernel's second try of a failed read fails at once.

The lock protects the two tables; neither I/O nor a callback happens under it.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from cachetools import TTLCache

from mountd.cache.base import ExtentCache
from mountd.dataset.extents import ExtentKey
from mountd.errors import CorruptDataError, DefectError, MountdError
from mountd.metrics import Metrics
from mountd.stores.base import RangeReader

_FAILURES_KEPT = 1024
_FAILURE_LIFE_S = 5.0
_JOIN_SLACK_S = 10.0


class Fetcher:
    """Fetches extents through the store of each URL; a context manager that ends its threads."""

    def __init__(
        self,
        stores: Mapping[str, RangeReader],
        cache: ExtentCache,
        metrics: Metrics,
        *,
        ahead_threads: int,
        deadline_s: float,
    ) -> None:
        self._stores, self._cache, self._metrics = stores, cache, metrics
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._flights: dict[ExtentKey, Future[bytes]] = {}
        self._failures: TTLCache[ExtentKey, MountdError] = TTLCache(_FAILURES_KEPT, _FAILURE_LIFE_S)
        self._ahead = ThreadPoolExecutor(ahead_threads, "fetch-ahead")
        self._ahead_room = threading.Semaphore(2 * ahead_threads)  # running and waiting together

    def cached(self, key: ExtentKey) -> bytes | None:
        """The extent, if no fetch is needed."""
        data = self._cache.get(key)
        self._metrics.add("cache_hits" if data is not None else "cache_misses")
        return data

    def fetch(self, key: ExtentKey) -> bytes:
        """The extent, from the cache or from the store; blocks.

        Raises:
            MountdError: as `stores.base` says.
        """
        flight, leads = self._join(key)
        if leads:
            self._lead(key, flight)
        try:
            return flight.result(self._deadline_s + _JOIN_SLACK_S)
        except TimeoutError:
            raise DefectError(
                f"{key.store_url}{key.key}: a fetch outlived its deadline of {self._deadline_s} s"
            ) from None

    def fetch_ahead(self, key: ExtentKey) -> bool:
        """Fetch `key` in the background unless it is here or under way; False if there is no room to."""
        with self._lock:
            if key in self._flights or key in self._failures:
                return True
        if not self._ahead_room.acquire(blocking=False):
            return False
        self._ahead.submit(self._run_ahead, key).add_done_callback(lambda _: self._ahead_room.release())
        return True

    def close(self) -> None:
        """Drop the read-ahead that has not begun and wait for what has."""
        self._ahead.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _join(self, key: ExtentKey) -> tuple[Future[bytes], bool]:
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = Future()
            failure = self._failures.get(key)
            if failure is not None:
                flight.set_exception(failure)
                return flight, False
            self._flights[key] = flight
            return flight, True

    def _lead(self, key: ExtentKey, flight: Future[bytes]) -> None:
        data, failure = b"", None
        try:
            # A flight that ended between the caller's look into the cache and now has left its bytes there.
            data = self._cache.get(key) or self._read_store(key)
            self._cache.put(key, data)
        except MountdError as error:
            failure = error
        except BaseException as error:  # noqa: BLE001  # a defect must not leave the others waiting for ever
            failure = DefectError(f"{key.store_url}{key.key}: {type(error).__name__}: {error}")
            failure.__cause__ = error
        with self._lock:
            del self._flights[key]
            if failure is not None:
                self._failures[key] = failure
        if failure is not None:
            flight.set_exception(failure)
        else:
            flight.set_result(data)

    def _read_store(self, key: ExtentKey) -> bytes:
        self._metrics.add("fetch_requests")
        self._metrics.add("fetch_in_flight")
        try:
            data = bytes(self._stores[key.store_url].read(key.key, key.offset, key.size, key.etag))
            _check_length(key, data)
        except BaseException:
            self._metrics.add("fetch_errors")
            raise
        finally:
            self._metrics.add("fetch_in_flight", -1)
        self._metrics.add("fetch_bytes", len(data))
        return data

    def _run_ahead(self, key: ExtentKey) -> None:
        if self._cache.get(key) is not None:
            return
        flight, leads = self._join(key)
        if leads:
            self._lead(key, flight)
            if flight.exception() is None:  # an error is told to the reader who comes for the bytes, if one comes
                self._metrics.add("prefetch_bytes", key.size)


def _check_length(key: ExtentKey, data: bytes) -> None:
    if len(data) != key.size:
        raise CorruptDataError(f"{key.store_url}{key.key}: {len(data)} bytes came, {key.size} were asked for")
