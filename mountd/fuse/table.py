"""The in-flight table: the requests that a worker has taken and not answered, in memory that outlives the worker.

A memfd of slots that every worker of a mount gets in its turn. A service thread hands the kernel an empty slot to write the
request into (`readv`), so that there is no moment at which a request is taken and stands nowhere; the slot is emptied after
the answer. Whoever comes after a dead worker answers what is not empty. An answer that was sent already, and whose slot was
not emptied in time, is refused by the kernel (ENOENT), which is harmless.

A slot is 512 bytes: the request, then when it was taken (nanoseconds of the monotonic clock) and how many workers died of
it. Empty is a length of 0 in the request's head; the rest of an empty slot means nothing. Before the slots there is a page
with the worker's heartbeat, a number that stands still when the worker does, and how far it got along its plan.

Invariants: a slot is taken by one thread at a time; only the worker that serves writes slots, and its supervisor only after
that worker's death; `clear` of a request empties the slot once, however often it is called.
"""

import mmap
import os
import queue
import struct
import threading
import time
from dataclasses import dataclass
from typing import Final, Self

from mountd.errors import DefectError

LAYOUT: Final = 1
SLOTS: Final = 1024
SLOT_BYTES: Final = 512
REQUEST_BYTES: Final = 496  # every request that is answered is shorter: 40 bytes of head, two numbers, a name
_HEAD_BYTES: Final = 4096
_HEAD = struct.Struct("<8sII")  # magic, layout, slots
_MAGIC: Final = b"moorage\0"
_BEAT, _POSITION = 16, 24  # places of two numbers in the first page
_NUMBER = struct.Struct("<Q")
_TAIL = struct.Struct("<QI")  # taken, deaths
_UNIQUE = struct.Struct("<8xQ")
_EMPTY = bytes(8)
_NOTHING_TAKEN = bytes(_TAIL.size)
RESENT: Final = 1 << 63  # the bit of `unique` that says that the kernel asks again


@dataclass(frozen=True, slots=True)
class Left:
    """A request that a dead worker left: the number of its slot, its bytes, and how many workers died of it."""

    slot: int
    request: bytes
    deaths: int


class InFlightTable:
    """The slots of one mount, as one process sees them."""

    def __init__(self, descriptor: int) -> None:
        """Map the table that the memfd `descriptor` holds.

        Raises:
            DefectError: it holds none, or one of another layout.
        """
        self.descriptor = descriptor
        try:
            self._memory = mmap.mmap(descriptor, _HEAD_BYTES + SLOTS * SLOT_BYTES)
        except (OSError, ValueError) as error:
            raise DefectError(f"no in-flight table: {error}") from None
        if _HEAD.unpack_from(self._memory) != (_MAGIC, LAYOUT, SLOTS):
            raise DefectError("an in-flight table of another layout; are two versions of Moorage installed?")
        self._view = memoryview(self._memory)
        self._slots = [self._view[_start(slot) : _start(slot) + REQUEST_BYTES] for slot in range(SLOTS)]
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._lock = threading.Lock()  # protects the two tables below; nothing else happens under it
        self._busy: dict[int, int] = {}  # unique -> slot
        self._deaths: dict[int, int] = {}  # of requests that the kernel is to send again

    @classmethod
    def create(cls) -> Self:
        """A new table without a request."""
        descriptor = os.memfd_create("in-flight table", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _HEAD_BYTES + SLOTS * SLOT_BYTES)
        os.pwrite(descriptor, _HEAD.pack(_MAGIC, LAYOUT, SLOTS), 0)
        return cls(descriptor)

    def close(self) -> None:
        """Let go of the memory; others who have it keep it."""
        for each in self._slots:
            each.release()
        self._view.release()
        self._memory.close()
        os.close(self.descriptor)

    def adopt(self) -> list[Left]:
        """Begin to serve: the empty slots are free from now on, and what a dead worker left is returned."""
        left: list[Left] = []
        for slot in range(SLOTS):
            length = int.from_bytes(self._slots[slot][:4], "little")
            if not length:
                self._slots[slot][:] = bytes(REQUEST_BYTES)  # its page is in our memory before the kernel writes there
                self._free.put(slot)
                continue
            _, deaths = _TAIL.unpack_from(self._memory, _start(slot) + REQUEST_BYTES)
            left.append(Left(slot, bytes(self._slots[slot][: min(length, REQUEST_BYTES)]), deaths))
        return left

    def take(self) -> int:
        """The number of an empty slot; waits while all are in use, which bounds what is in flight."""
        return self._free.get()

    def room(self, slot: int) -> memoryview:
        """Where the kernel is to write the request."""
        return self._slots[slot]

    def hold(self, slot: int, unique: int, *, deaths: int = 0) -> None:
        """The request `unique` has been taken into `slot`."""
        with self._lock:
            self._busy[unique] = slot
            if unique & RESENT:
                deaths = self._deaths.pop(unique & ~RESENT, 0)
        _TAIL.pack_into(self._memory, _start(slot) + REQUEST_BYTES, time.monotonic_ns(), deaths)

    def expect_again(self, left: Left) -> None:
        """The kernel will send this request again: remember how many died of it."""
        if left.deaths:
            with self._lock:
                self._deaths[_UNIQUE.unpack_from(left.request)[0] & ~RESENT] = left.deaths

    def clear(self, unique: int) -> None:
        """The request `unique` has been answered."""
        with self._lock:
            slot = self._busy.pop(unique, None)
        if slot is not None:
            self.free(slot)

    def free(self, slot: int) -> None:
        """Empty a slot that holds no request which is to be answered, and let others have it."""
        start = _start(slot)
        self._memory[start + REQUEST_BYTES : start + REQUEST_BYTES + _TAIL.size] = _NOTHING_TAKEN
        self._memory[start : start + len(_EMPTY)] = _EMPTY  # the last: from here on it is empty
        self._free.put(slot)

    def beat(self, plan_position: int = 0) -> None:
        """Tell the supervisor that this worker goes on, and how far it is along its plan."""
        _NUMBER.pack_into(self._memory, _BEAT, self.beats + 1)
        _NUMBER.pack_into(self._memory, _POSITION, plan_position)

    @property
    def beats(self) -> int:
        """How often a worker of this mount has said that it goes on."""
        return int(_NUMBER.unpack_from(self._memory, _BEAT)[0])

    @property
    def plan_position(self) -> int:
        """How far the last worker was along its plan."""
        return int(_NUMBER.unpack_from(self._memory, _POSITION)[0])

    def taken_ns(self) -> list[int]:
        """When each request that is in flight was taken, by the monotonic clock; 0: a moment ago, or its worker died."""
        return [_TAIL.unpack_from(self._memory, _start(slot) + REQUEST_BYTES)[0] for slot in self._occupied()]

    def blame(self) -> int:
        """Count a death for every request that is in flight: one of them may be what its worker died of."""
        occupied = self._occupied()
        for slot in occupied:
            taken, deaths = _TAIL.unpack_from(self._memory, _start(slot) + REQUEST_BYTES)
            _TAIL.pack_into(self._memory, _start(slot) + REQUEST_BYTES, taken, deaths + 1)
        return len(occupied)

    def _occupied(self) -> list[int]:
        return [slot for slot in range(SLOTS) if any(self._slots[slot][:4])]


def _start(slot: int) -> int:
    return _HEAD_BYTES + slot * SLOT_BYTES
