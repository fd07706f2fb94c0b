from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.errors import BadInputError, StoreUnreachableError
from mountd.stores.retry import NO_ANSWER, Backoff, Deadline, TransientError, parse_retry_after, retry


class World:
    """Virtual time: sleeping and attempts advance the clock, nothing else does."""

    def __init__(self, attempt_s: float = 0.0) -> None:
        self.now_s, self.attempt_s, self.limits_s, self.pauses_s = 100.0, attempt_s, list[float](), list[float]()

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self.now_s += seconds

    def failing(self, times: int, retry_after_s: float | None = None):  # type: ignore[no-untyped-def]  # a closure
        def attempt(limit_s: float) -> str:
            self.limits_s.append(limit_s)
            self.now_s += min(self.attempt_s, limit_s)
            if len(self.limits_s) <= times:
                raise TransientError("HTTP 503", retry_after_s)
            return "bytes"

        return attempt


def test_asks_again_until_it_works() -> None:
    world = World()
    assert retry("x", world.failing(3), Deadline(60, world.clock), sleep=world.sleep, draw=lambda: 0.5) == "bytes"
    assert world.pauses_s == [0.1, 0.2, 0.4]


def test_what_is_final_is_raised_at_once() -> None:
    world = World()

    def attempt(_: float) -> None:
        raise BadInputError("final")

    with pytest.raises(BadInputError, match="final"):
        retry("x", attempt, Deadline(60, world.clock), sleep=world.sleep)
    assert world.pauses_s == []


def test_an_attempt_that_ran_out_of_time_gives_the_next_one_twice_as_much() -> None:
    world, limits_s, took_s = World(), list[float](), list[float]()
    reasons = iter([NO_ANSWER, "HTTP 503", NO_ANSWER])

    def attempt(limit_s: float) -> str:
        limits_s.append(limit_s)
        world.now_s += 3
        if reason := next(reasons, ""):
            raise TransientError(reason)
        return "bytes"

    deadline = Deadline(60, world.clock)
    retry(
        "x",
        attempt,
        deadline,
        attempt_limit_s=5,
        sleep=world.sleep,
        draw=lambda: 0,
        took=lambda s: took_s.append(round(s)),
    )
    assert (limits_s, took_s) == ([5, 10, 10, 20], [3])


@given(
    deadline_s=st.floats(0.2, 100),
    attempt_s=st.floats(0, 50),
    limit_s=st.floats(0.1, 50),
    draws=st.lists(st.floats(0, 0.999), min_size=1, max_size=20),
    retry_after_s=st.none() | st.floats(0, 200),
)
def test_ends_by_the_deadline_whatever_happens(
    deadline_s: float, attempt_s: float, limit_s: float, draws: list[float], retry_after_s: float | None
) -> None:
    world, drawn = World(attempt_s), iter(draws * 10_000)
    with pytest.raises(StoreUnreachableError, match=r"thing: HTTP 503.*attempt"):
        retry(
            "thing",
            world.failing(10**9, retry_after_s),
            Deadline(deadline_s, world.clock),
            attempt_limit_s=limit_s,
            sleep=world.sleep,
            draw=lambda: next(drawn),
        )
    assert world.now_s - 100 <= deadline_s + 1e-6
    assert all(0 < each <= limit_s for each in world.limits_s)
    assert all(pause_s >= min(retry_after_s or 0, deadline_s) for pause_s in world.pauses_s)


def test_a_pause_asked_for_beyond_the_deadline_ends_it_at_once() -> None:
    world = World()
    with pytest.raises(StoreUnreachableError, match=r"asks to wait 120 s.*1 attempt in"):
        retry("x", world.failing(9, 120.0), Deadline(60, world.clock), sleep=world.sleep)
    assert world.pauses_s == []


@given(st.integers(1, 10_000), st.floats(0, 0.999))
def test_pauses_are_bounded(failures: int, draw: float) -> None:
    assert 0 < Backoff().pause_s(failures, draw) <= Backoff().most_s


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after("7") == 7
    assert parse_retry_after(formatdate(1_700_000_030, usegmt=True), now_s=1_700_000_000) == 30
    assert parse_retry_after(formatdate(1_600_000_000, usegmt=True), now_s=1_700_000_000) == 0
    for nothing in (None, "", "soon", "-3", "²"):
        assert parse_retry_after(nothing) is None


def test_running_out_of_time_at_the_end_does_not_hide_why_it_failed_before() -> None:
    world, reasons = World(), iter(["HTTP 503", NO_ANSWER])

    def attempt(_: float) -> None:
        world.now_s += 0.98
        raise TransientError(next(reasons))

    with pytest.raises(StoreUnreachableError, match=r"HTTP 503 \(2 attempts"):
        retry("x", attempt, Deadline(2, world.clock), sleep=world.sleep, draw=lambda: 0.0)
