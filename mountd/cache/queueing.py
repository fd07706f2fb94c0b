"""Extents on their way to the disk: a queue bounded in bytes, between any number of threads and one writer.

Who offers never waits: what does not fit is declined, because a disk slower than the network must not hold up a read. What
the writer has taken counts until it is settled, so that the bound holds for everything the cache refers to. One offer alone
is always taken: with little memory the bound is below a single extent.

The writer lingers a moment for a batch, and is woken for the first offer and for a whole batch only: small files come by the
thousand a second, and a wake-up for each costs as much as the write.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mountd.cache.appending import Record

_LINGER_S = 0.02


@dataclass(frozen=True, slots=True)
class Offer:
    """A record, and whom to tell once the cache refers to its bytes no more."""

    record: Record
    written: Callable[[], None]


class WriteQueue:
    """The queue. The condition's lock protects what is queued, its bytes and the end; nothing is done under it."""

    def __init__(self, limit_bytes: int, batch_bytes: int) -> None:
        """`batch_bytes`: what a batch of several offers may need of a segment."""
        self._limit_bytes, self._batch_bytes = limit_bytes, batch_bytes
        self._enough_bytes = min(batch_bytes, limit_bytes // 2)
        self._changed = threading.Condition()
        self._offers: deque[Offer] = deque()
        self._queued_bytes = self._held_bytes = 0  # not taken by the writer; not settled
        self._closed = False

    def put(self, offer: Offer) -> bool:
        """Queue an offer; False if it does not fit beside the others, or the queue is closed."""
        size = len(offer.record.data)
        with self._changed:
            if self._closed or (self._held_bytes and self._held_bytes + size > self._limit_bytes):
                return False
            before, self._queued_bytes = self._queued_bytes, self._queued_bytes + size
            self._held_bytes += size
            self._offers.append(offer)
            if not before or before < self._enough_bytes <= self._queued_bytes:
                self._changed.notify_all()
        return True

    def take(self, timeout_s: float) -> list[Offer] | None:
        """Take a batch: one offer, or several that fit a batch. None is the end.

        After `timeout_s` without an offer the batch is empty.
        """
        with self._changed:
            if self._changed.wait_for(lambda: self._offers or self._closed, timeout_s):
                self._changed.wait_for(lambda: self._queued_bytes >= self._enough_bytes or self._closed, _LINGER_S)
            if self._closed and not self._offers:
                return None
            batch: list[Offer] = []
            size = 0
            while self._offers:
                size += self._offers[0].record.size_bytes
                if batch and size > self._batch_bytes:
                    break
                batch.append(self._offers.popleft())
            self._queued_bytes -= sum(len(offer.record.data) for offer in batch)
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
