"""Extents from the network: one fetch for all who want the same extent, verified, bounded, kept.

`ready` answers from the cache and never waits for a network. `fetch` is called by a thread that may wait. The first who
asks for an extent leads: it reads the store and puts the bytes into the cache; whoever asks meanwhile joins and waits for
the leader's result. `fetch_ahead` does the same on a pool of the fetcher's own, and is refused when that pool is behind:
read-ahead is a guess, and guesses never queue up.

Why nobody waits for ever: a leader never waits for another flight, and a store call ends by its deadline.
Why memory is bounded: a flight holds one extent, and flights are no more than the callers' threads plus the pool's.

A failed extent is remembered for a few seconds, so that the kernel's second try of a failed read fails at once. Everyone
who hears of a failure raises a copy of his own: an exception grows with each frame it passes, and keeps what is in them.

The lock protects the two tables; neither I/O nor a callback happens under it.
"""

import copy
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

from cachetools import TTLCache

from mountd.cache.base import ExtentCache
from mountd.dataset.extents import ExtentKey
from mountd.errors import CorruptDataError, DefectError, MountdError
from mountd.metrics import Metrics
from mountd.stores.base import RangeReader

_LOG = logging.getLogger(__name__)
_FAILURES_KEPT = 1024
_FAILURE_LIFE_S = 5.0
_JOIN_SLACK_S = 10.0
_CLOSE_WAIT_S = 2.0  # a store that hangs is not waited for: a mount that ends must end


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
        self._ahead_tasks: set[Future[None]] = set()

    def ready(self, keys: Sequence[ExtentKey]) -> list[bytes] | None:
        """All these extents, or None if one of them must be fetched."""
        found: list[bytes] = []
        for key in keys:
            data = self._cache.get(key)
            if data is None:
                return None
            found.append(data)
        self._metrics.add("cache_hits", len(found))
        return found

    def fetch(self, key: ExtentKey) -> bytes:
        """The extent, from the cache or from the store; blocks.

        Raises:
            MountdError: as `stores.base` says.
        """
        flight, leads = self._join(key)
        hit = leads and self._lead(key, flight)
        self._metrics.add("cache_hits" if hit else "cache_misses")
        try:
            failure = flight.exception(self._deadline_s + _JOIN_SLACK_S)
        except TimeoutError:
            raise DefectError(
                f"{key.store_url}{key.key}: a fetch outlived its deadline of {self._deadline_s} s"
            ) from None
        if failure is not None:
            raise copy.copy(failure)
        return flight.result()

    def fetch_ahead(self, key: ExtentKey) -> bool:
        """Fetch `key` in the background unless it is here or under way; False if there is no room to."""
        with self._lock:
            if key in self._flights or key in self._failures:
                return True
        if not self._ahead_room.acquire(blocking=False):
            return False
        try:
            task = self._ahead.submit(self._run_ahead, key)
        except RuntimeError:  # no thread to be had, or closed meanwhile; the read itself must not suffer
            self._ahead_room.release()
            return False
        with self._lock:
            self._ahead_tasks.add(task)
        task.add_done_callback(self._end_ahead)
        return True

    def close(self) -> None:
        """Drop the read-ahead that has not begun; wait for what has, but not for long."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            tasks = list(self._ahead_tasks)
        if not wait(tasks, _CLOSE_WAIT_S).not_done:
            self._ahead.shutdown(wait=True)

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
                flight.set_exception(failure)  # never raised itself: `fetch` raises a copy
                return flight, False
            self._flights[key] = flight
            return flight, True

    def _lead(self, key: ExtentKey, flight: Future[bytes]) -> bool:
        """Bring the extent and end the flight; True if no store was asked."""
        data, failure = b"", None
        hit = False
        try:
            # A flight that ended between the caller's look into the cache and now has left its bytes there.
            kept = self._cache.get(key)
            hit = kept is not None
            data = kept if kept is not None else self._read_store(key)
            if not hit:
                self._cache.put(key, data)
        except MountdError as error:
            failure = copy.copy(error)
        except BaseException as error:  # noqa: BLE001  # a defect must not leave the others waiting for ever
            _LOG.exception("defect: %s%s", key.store_url, key.key)
            failure = DefectError(f"{key.store_url}{key.key}: {type(error).__name__}: {error}")
        with self._lock:
            del self._flights[key]
            if failure is not None:
                self._failures[key] = failure
        if failure is not None:
            flight.set_exception(failure)
        else:
            flight.set_result(data)
        return hit

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
        # An error is told to the reader who comes for the bytes, if one comes.
        if leads and not self._lead(key, flight) and flight.exception() is None:
            self._metrics.add("prefetch_bytes", key.size)

    def _end_ahead(self, task: Future[None]) -> None:
        self._ahead_room.release()
        with self._lock:
            self._ahead_tasks.discard(task)


def _check_length(key: ExtentKey, data: bytes) -> None:
    if len(data) != key.size:
        raise CorruptDataError(f"{key.store_url}{key.key}: {len(data)} bytes came, {key.size} were asked for")
