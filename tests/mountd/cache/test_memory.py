"""The memory budget: by hand, and at random against what its rules promise."""

import threading
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mountd.cache.memory import Extent, MemoryCache
from tests.support.content import content
from tests.support.waiting import until

MIB = 1 << 20
UNIT = 256 << 10
LIMIT = 8 * MIB
WHOLE = {name: memoryview(content(name.decode(), 0, 6 * MIB)) for name in (b"a", b"b")}


def put(memory: MemoryCache, start: int, size: int, *, ahead: bool = False, file: bytes = b"a") -> Extent:
    """Reserve and keep; pinned."""
    assert memory.try_reserve(size) if ahead else memory.reserve(size, 0)
    return memory.put(file, start, WHOLE[file][start : start + size], ahead=ahead)


def keep(memory: MemoryCache, start: int, size: int, *, ahead: bool = False) -> None:
    """Reserve and keep; not pinned."""
    memory.unpin(put(memory, start, size, ahead=ahead))


def is_here(memory: MemoryCache, start: int, size: int) -> bool:
    return memory.holds(b"a", start, start + size)


def test_a_read_that_waits_for_memory_goes_on_when_some_is_given_back() -> None:
    memory = MemoryCache(LIMIT)
    assert memory.reserve(LIMIT, 0)
    granted: list[bool] = []
    waiting = [threading.Thread(target=lambda: granted.append(memory.reserve(LIMIT // 2, 20))) for _ in range(2)]
    for each in waiting:
        each.start()
    until(lambda: len(memory._changed._waiters) == 2, what="the wait")  # type: ignore[attr-defined]
    memory.release(LIMIT)
    for each in waiting:
        each.join(10)
    assert granted == [True, True]


def test_a_read_that_waits_for_memory_goes_on_when_the_disk_has_written_some() -> None:
    memory = MemoryCache(LIMIT)
    extent = put(memory, 0, LIMIT // 2)
    assert memory.reserve(LIMIT // 2, 0)
    granted: list[bool] = []
    waiting = threading.Thread(target=lambda: granted.append(memory.reserve(MIB, 20)))
    waiting.start()
    until(lambda: memory._changed._waiters, what="the wait")  # type: ignore[attr-defined]
    memory.unpin(extent)
    waiting.join(10)
    assert granted == [True]
    assert not is_here(memory, 0, LIMIT // 2)


def test_a_wait_for_memory_ends_in_time_and_takes_nothing() -> None:
    memory = MemoryCache(LIMIT)
    put(memory, 0, LIMIT // 2)
    assert not memory.reserve(LIMIT, 0.05)
    assert memory.status().used_bytes == LIMIT // 2


@pytest.mark.parametrize("kept", [0, MIB])
def test_one_fetch_larger_than_all_memory_is_granted_when_nothing_else_is_under_way(kept: int) -> None:
    memory = MemoryCache(LIMIT)
    if kept:
        keep(memory, 0, kept)
    assert memory.reserve(3 * LIMIT, 0)
    assert not memory.reserve(1, 0)
    assert not memory.try_reserve(1)
    memory.release(3 * LIMIT)
    assert memory.status().used_bytes == 0


def test_what_was_read_goes_before_what_was_read_ahead() -> None:
    memory = MemoryCache(LIMIT)
    keep(memory, 0, 2 * MIB, ahead=True)
    keep(memory, 2 * MIB, 2 * MIB)
    assert memory.reserve(5 * MIB, 0)
    assert is_here(memory, 0, 2 * MIB)
    assert not is_here(memory, 2 * MIB, 2 * MIB)


def test_read_ahead_leaves_a_quarter_of_the_memory_to_readers() -> None:
    memory = MemoryCache(LIMIT)
    assert [memory.try_reserve(MIB) for _ in range(8)] == [True] * 6 + [False] * 2
    assert memory.reserve(2 * MIB, 0)


def test_read_ahead_drops_no_unread_bytes_unless_nobody_came_for_them_in_a_long_while() -> None:
    memory = MemoryCache(LIMIT)
    keep(memory, 0, 3 * MIB, ahead=True)
    keep(memory, 3 * MIB, 3 * MIB, ahead=True)
    assert not memory.try_reserve(MIB)
    assert is_here(memory, 0, 6 * MIB)
    for extent in memory._unread:
        extent.put_s -= 100
    assert memory.try_reserve(MIB)
    assert not is_here(memory, 0, MIB)
    assert is_here(memory, 3 * MIB, 3 * MIB)


def test_read_ahead_that_was_used_and_that_was_wasted_is_counted_once() -> None:
    memory = MemoryCache(LIMIT)
    for start in range(0, 6 * MIB, MIB):
        keep(memory, start, MIB, ahead=True)
    for _ in range(3):
        memory.read(b"a", MIB - 10, 20)
    assert memory.reserve(LIMIT, 0)
    status = memory.status()
    assert (status.ahead_read_bytes, status.ahead_wasted_bytes) == (2 * MIB, 4 * MIB)


def test_tiny_extents_are_bounded_by_their_number_because_each_costs_more_than_its_bytes() -> None:
    memory = MemoryCache(LIMIT)
    for place in range(3 * LIMIT // 4096):
        keep(memory, 2 * place, 1)
    assert memory.status().used_bytes <= LIMIT // 4096
    assert is_here(memory, 2 * place, 1)


def test_several_extents_together_hold_a_range() -> None:
    memory = MemoryCache(LIMIT)
    for start in (2 * MIB, 0, MIB):
        keep(memory, start, MIB)
    assert is_here(memory, UNIT, 2 * MIB + UNIT)
    assert not is_here(memory, UNIT, 3 * MIB)
    keep(memory, 4 * MIB, MIB)
    assert not is_here(memory, 0, 5 * MIB)


def test_who_was_given_bytes_keeps_them_when_their_place_is_given_to_others() -> None:
    memory = MemoryCache(LIMIT)
    keep(memory, 0, 4 * MIB)
    [(_, view)] = memory.read(b"a", 100, 1000)
    assert memory.reserve(LIMIT, 0)
    assert memory.read(b"a", 100, 1000) == []
    assert view == WHOLE[b"a"][100:1100]


@dataclass
class Told:
    """What the model knows of an extent: a reader has touched it, and when it was spent (0: it was not)."""

    is_touched: bool
    spent_at: int
    is_stale: bool = False


class Budget(RuleBasedStateMachine):
    """One cache, and what was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryCache(LIMIT)
        self.reserved: list[tuple[int, bool]] = []  # (bytes, for read-ahead)
        self.told: dict[Extent, Told] = {}
        self.clock = self.used = self.wasted = 0

    def held(self) -> int:
        """Bytes that may not be dropped."""
        return sum(size for size, _ in self.reserved) + sum(map(_size, filter(_is_pinned, self.told)))

    def kept(self) -> set[Extent]:
        return {extent for block in self.memory._blocks.values() for extent in block}

    @rule(units=st.integers(1, 12))
    def reserve(self, units: int) -> None:
        size, held, before = units * UNIT, self.held(), self.memory.status().used_bytes
        granted = self.memory.reserve(size, 0)
        self.drop(size if granted else 0, before, LIMIT)
        assert granted == (held + size <= LIMIT)
        if granted:
            self.reserved.append((size, False))

    @rule(units=st.integers(1, 6))
    def reserve_for_read_ahead(self, units: int) -> None:
        size, limit, before = units * UNIT, LIMIT * 3 // 4, self.memory.status().used_bytes
        fresh = sum(_size(each) for each, told in self.told.items() if _is_unread(each, told) and not told.is_stale)
        granted = self.memory.try_reserve(size)
        dropped = self.drop(size if granted else 0, before, limit)
        assert not any(told.spent_at == 0 and not told.is_stale for told in dropped)
        assert granted == (self.held() + fresh + size <= limit)
        if granted:
            assert self.memory.status().used_bytes <= limit
            self.reserved.append((size, True))

    def drop(self, granted: int, before: int, limit: int) -> list[Told]:
        """Check and forget what the cache has dropped, which had used `before`, to grant so many bytes."""
        gone = {extent: self.told.pop(extent) for extent in set(self.told) - self.kept()}
        assert not any(map(_is_pinned, gone))
        left = [told for extent, told in self.told.items() if not _is_pinned(extent)]
        if any(not told.spent_at for told in gone.values()):
            assert not any(told.spent_at for told in left)
        spent = [told.spent_at for told in gone.values() if told.spent_at]
        assert not spent or all(told.spent_at >= max(spent) for told in left if told.spent_at)
        self.wasted += sum(_size(extent) for extent, told in gone.items() if not told.is_touched)
        freed = sum(map(_size, gone))
        assert (
            not granted or not gone or before - freed + max(map(_size, gone)) + granted > limit
        )  # no more than needed
        assert self.memory.status().used_bytes == before - freed + granted
        return list(gone.values())

    @rule(unit=st.integers(0, 12), units=st.integers(1, 4), ahead=st.booleans())
    def keep(self, unit: int, units: int, *, ahead: bool) -> None:
        held = len(self.reserved)
        (self.reserve_for_read_ahead if ahead else self.reserve)(units)
        if len(self.reserved) > held:
            self.put(held, b"a", unit)
            self.memory.unpin(list(self.told)[-1])

    @precondition(lambda self: self.reserved)
    @rule(which=st.integers(0), file=st.sampled_from([b"a", b"b"]), unit=st.integers(0, 12))
    def put(self, which: int, file: bytes, unit: int) -> None:
        size, ahead = self.reserved.pop(which % len(self.reserved))
        data = WHOLE[file][unit * UNIT : unit * UNIT + size]
        extent = self.memory.put(file, unit * UNIT, data, ahead=ahead)
        self.clock += 1
        self.told[extent] = Told(not ahead, 0 if ahead else self.clock)

    @precondition(lambda self: self.reserved)
    @rule(which=st.integers(0))
    def release(self, which: int) -> None:
        self.memory.release(self.reserved.pop(which % len(self.reserved))[0])

    @precondition(lambda self: any(map(_is_pinned, self.told)))
    @rule(which=st.integers(0))
    def unpin(self, which: int) -> None:
        pinned = [extent for extent in self.told if _is_pinned(extent)]
        self.memory.unpin(pinned[which % len(pinned)])

    @rule(
        file=st.sampled_from([b"a", b"b"]),
        offset=st.integers(0, 24).map(lambda number: number * UNIT // 2 + number % 3),
        size=st.integers(1, 2 * MIB),
    )
    def read(self, file: bytes, offset: int, size: int) -> None:
        end, at = offset + size, offset
        inside = {extent for extent in self.told if extent.file == file and extent.start < end and extent.end > offset}
        held = self.memory.holds(file, offset, end)
        pieces = self.memory.read(file, offset, size)
        for start, data in pieces:
            assert start >= at
            at = start + len(data)
            assert at <= end
            assert data == WHOLE[file][start:at]
        assert sum(len(data) for _, data in pieces) == _covered(inside, offset, end)
        assert held == (_covered(inside, offset, end) == size)
        self.clock += 1
        for extent in inside:
            told = self.told[extent]
            self.used += 0 if told.is_touched else _size(extent)
            told.is_touched = True
            if extent.end <= end:
                told.spent_at = self.clock

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0))
    def read_one_to_its_end(self, which: int) -> None:
        extent = list(self.told)[which % len(self.told)]
        self.read(extent.file, extent.end - 10, 10)

    @rule()
    def let_a_long_while_pass(self) -> None:
        for extent, told in self.told.items():
            extent.put_s -= 100
            told.is_stale = True

    @invariant()
    def no_more_is_used_than_may_be(self) -> None:
        status = self.memory.status()
        kept = sum(map(_size, self.told))
        assert set(self.told) == self.kept()
        assert status.used_bytes == kept + sum(size for size, _ in self.reserved)
        assert status.used_bytes <= LIMIT
        assert (status.ahead_read_bytes, status.ahead_wasted_bytes) == (self.used, self.wasted)


def _size(extent: Extent) -> int:
    return extent.end - extent.start


def _is_pinned(extent: Extent) -> bool:
    return extent.pins > 0


def _is_unread(extent: Extent, told: Told) -> bool:
    return not told.spent_at and not _is_pinned(extent)


def _covered(extents: set[Extent], offset: int, end: int) -> int:
    at, total = offset, 0
    for start, finish in sorted((extent.start, extent.end) for extent in extents):
        total += max(0, min(end, finish) - max(at, start))
        at = max(at, min(end, finish))
    return total


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
