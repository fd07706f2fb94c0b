"""The deciding part of hedging, against the plainest arithmetic."""

import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mountd.reading.latencies import ENOUGH, FLOOR_S, KEPT, ROOM_BYTES, SHARE, THREADS, Allowance, Latencies

KIB, MIB = 1 << 10, 1 << 20


@given(st.lists(st.floats(0, 100), max_size=KEPT * 2))
def test_slow_is_what_lies_above_nearly_all_of_the_last_attempts(times_s: list[float]) -> None:
    learnt = Latencies()
    for each in times_s:
        learnt.note(KIB, each)
    slow_s = learnt.slow_s(KIB)
    if len(times_s) < ENOUGH:
        assert slow_s is None
        return
    assert slow_s is not None
    assert slow_s >= FLOOR_S
    seen = times_s[: len(times_s) // 32 * 32][-KEPT:]  # learnt at every thirty-second
    above = sum(each > slow_s for each in seen)
    assert above <= len(seen) * 0.01
    assert slow_s == FLOOR_S or slow_s in seen


@given(st.integers(1, 64 * MIB), st.floats(0, 50))
def test_an_attempt_has_ten_times_what_is_slow_in_few_steps_and_never_below_five_seconds(
    size: int, time_s: float
) -> None:
    learnt = Latencies()
    assert learnt.attempt_s(size) == math.inf  # an unknown link may be as slow as it likes
    for _ in range(ENOUGH):
        learnt.note(size, time_s)
    slow_s, attempt_s = learnt.slow_s(size), learnt.attempt_s(size)
    assert slow_s == max(FLOOR_S, time_s)
    assert attempt_s >= max(5, 10 * slow_s)
    assert attempt_s == 5 or attempt_s / 2 < 10 * slow_s
    assert math.log2(attempt_s / 5).is_integer()


def test_sizes_that_are_not_similar_teach_each_other_nothing() -> None:
    sizes = [1, 64 * KIB, 64 * KIB + 1, 256 * KIB, 256 * KIB + 1, MIB, MIB + 1, 4 * MIB, 4 * MIB + 1, 1 << 40]
    for number, size in enumerate(sizes):
        learnt = Latencies()
        for _ in range(ENOUGH):
            learnt.note(size, 1)
        similar = [other for other, each in enumerate(sizes) if learnt.slow_s(each) is not None]
        assert similar == [number & ~1, number | 1]


class Allowances(RuleBasedStateMachine):
    """Requests are made, some of them twice; what may be out is counted anew by plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.allowance, self.out, self.requests, self.granted_among_others = Allowance(), list[int](), 0, 0

    @rule(count=st.integers(1, 50))
    def request(self, count: int) -> None:
        self.requests += count
        self.allowance.earn(count)

    @rule(size=st.one_of(st.integers(1, 4 * MIB), st.integers(1, 2 * ROOM_BYTES)))
    def take(self, size: int) -> None:
        alone = not self.out
        granted = self.allowance.take(size)
        assert granted or not alone
        if granted and not alone:
            self.granted_among_others += 1
            assert sum(self.out) + size <= ROOM_BYTES
        if granted:
            self.out.append(size)

    @rule(size=st.integers(1, 2 * ROOM_BYTES))
    def take_hopeless(self, size: int) -> None:
        granted = self.allowance.take_hopeless(size)
        assert granted is (len(self.out) < THREADS)
        if granted:
            self.out.append(size)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        self.allowance.give(self.out.pop(data.draw(st.integers(0, len(self.out) - 1))))

    @invariant()
    def few_are_asked_twice(self) -> None:
        assert self.granted_among_others <= 1 + self.requests * SHARE + 1e-6
        assert (self.allowance.out, self.allowance.out_bytes) == (len(self.out), sum(self.out))
        assert len(self.out) <= THREADS


TestAllowances = Allowances.TestCase


def test_there_are_never_more_than_the_threads() -> None:
    allowance = Allowance()
    for _ in range(THREADS + 10):
        allowance.earn(20)
        allowance.take(1)
    assert allowance.out == THREADS
    assert not allowance.take_hopeless(1)
