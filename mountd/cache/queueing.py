"""Extents on their way to the disk: a queue bounded in bytes, between any number of threads and one writer.

Who offers never waits: what does not fit is declined, because a disk slower than the network must not hold up a read. What
the writer has taken counts until it is settled, so that the bound holds for everything the cache refers to. One offer alone
is always taken: with little memory the bound is below a single extent.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mountd.cache.appending import Record


@dataclass(frozen=True, slots=True)
class Offer:
    """A record, and whom to tell once the cache refers to its bytes no more."""

    record: Record
    written: Callable[[], None]


class WriteQueue:
    """The queue. The condition's lock protects what is queued, its bytes and the end; nothing is done under it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._offers: deque[Offer] = deque()
        self._held_bytes = 0
        self._closed = False

    def put(self, offer: Offer) -> bool:
        """Queue an offer; False if it does not fit beside the others, or the queue is closed."""
        size = len(offer.record.data)
        with self._changed:
            if self._closed or (self._held_bytes and self._held_bytes + size > self._limit_bytes):
                return False
            self._held_bytes += size
            self._offers.append(offer)
            self._changed.notify_all()
        return True

    def take(self, batch_bytes: int, timeout_s: float) -> list[Offer] | None:
        """Take a batch: one offer, or several that need `batch_bytes` of a segment at most. None is the end.

        After `timeout_s` without an offer the batch is empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._offers or self._closed, timeout_s)
            if self._closed and not self._offers:
                return None
            batch: list[Offer] = []
            size = 0
            while self._offers:
                size += self._offers[0].record.size_bytes
                if batch and size > batch_bytes:
                    break
                batch.append(self._offers.popleft())
            return batch

    def settle(self, batch: list[Offer]) -> None:
        """Let go of a batch, stored or not, empty it, and tell those who offered."""
        size = sum(len(offer.record.data) for offer in batch)
        told = [offer.written for offer in batch]
        batch.clear()
        for written in told:
            written()
        with self._changed:
            self._held_bytes -= size
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is queued or being written; False if that takes longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held_bytes, timeout_s)

    def close(self) -> None:
        """Take nothing more; `take` gives what is queued and then the end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
