"""When a worker is replaced, and when that is given up."""

import signal

import pytest

from mountd.supervisor import restarting
from mountd.supervisor.restarting import MOST_FAILURES, HangWatch, RestartPolicy


def test_a_worker_that_served_is_replaced_at_once_however_often() -> None:
    policy = RestartPolicy()
    assert [policy.pause_s(2.0) for _ in range(100)] == [0.0] * 100


def test_failures_at_the_start_cost_longer_and_longer_pauses_and_then_it_is_given_up() -> None:
    policy = RestartPolicy()
    pauses = [policy.pause_s(None) for _ in range(MOST_FAILURES)]
    assert pauses == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, None]


def test_one_that_served_makes_the_count_begin_anew() -> None:
    policy = RestartPolicy()
    for _ in range(MOST_FAILURES - 1):
        policy.pause_s(0.5)
    assert policy.pause_s(1.5) == 0.0
    assert policy.pause_s(0.5) == 0.0
    assert policy.pause_s(0.5) == 0.1


def test_a_heartbeat_that_stands_still_for_five_looks_is_a_hang() -> None:
    watch = HangWatch(oldest_s=10)
    assert [watch.stands_still(3) for _ in range(7)] == [False] * 5 + [True] * 2
    assert not watch.stands_still(4)
    watch.reset()
    assert not watch.stands_still(4)


@pytest.mark.parametrize(
    ("taken", "overdue"), [([], False), ([0], False), ([95 * 10**9], False), ([95 * 10**9, 89 * 10**9], True)]
)
def test_a_request_that_is_older_than_any_may_be_was_lost(taken: list[int], *, overdue: bool) -> None:
    assert HangWatch(oldest_s=10).is_overdue(taken, 100 * 10**9) is overdue


@pytest.mark.parametrize(
    ("status", "told", "itself"),
    [
        (signal.SIGKILL, "by signal 9", False),
        (signal.SIGTERM, "by signal 15", False),
        (signal.SIGSEGV | 0x80, "by signal 11", True),
        (70 << 8, "with code 70", True),
        (0, "with code 0", True),
    ],
)
def test_how_it_died_is_told_and_weighed(status: int, told: str, *, itself: bool) -> None:
    assert restarting.told(status) == told
    assert restarting.died_of_itself(status) is itself
