"""The pool of threads: order, limits, and that nothing handed to it is ever forgotten."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mountd.errors import FuseUnavailableError
from mountd.reading import pool as pools
from mountd.reading.pool import Job, Pool
from tests.support.waiting import until


class Told:
    """What became of jobs: each is 'run' or 'late', by name."""

    def __init__(self) -> None:
        self.order: list[tuple[str, str]] = []

    def job(self, name: str, during: Callable[[], object] = bool) -> Job:
        def run() -> None:
            during()
            self.order.append((name, "run"))

        return Job(run, lambda: self.order.append((name, "late")))


@pytest.fixture
def told() -> Told:
    return Told()


@contextmanager
def held(pool: Pool, threads: int = 1) -> Iterator[None]:
    """All threads of `pool` hang for the length of a `with` block."""
    gate = threading.Event()
    inside = threading.Semaphore(0)

    def hang() -> None:
        inside.release()
        gate.wait(30)

    for _ in range(threads):
        pool.submit(Job(hang, lambda: None))
    for _ in range(threads):
        assert inside.acquire(timeout=10)
    yield
    gate.set()


def test_what_a_reader_waits_for_comes_before_what_is_guessed(told: Told) -> None:
    with Pool(30, threads=1) as pool:
        with held(pool):
            assert pool.take_ahead()
            pool.submit_ahead(told.job("guess"))
            pool.submit(told.job("first"))
            pool.submit(told.job("second"))
        until(lambda: len(told.order) == 3, what="all jobs")
    assert told.order == [("first", "run"), ("second", "run"), ("guess", "run")]


def test_a_guess_that_a_reader_came_for_is_as_urgent_as_his_read(told: Told) -> None:
    with Pool(30, threads=1) as pool:
        with held(pool):
            early, queued = told.job("hurried early"), told.job("hurried")
            pool.hurry(early)
            pool.submit(told.job("first"))
            pool.submit_ahead(told.job("guess"))
            pool.submit_ahead(queued)
            pool.hurry(queued)
            pool.hurry(queued)
            pool.submit_ahead(early)
            pool.submit(told.job("last"))
        until(lambda: len(told.order) == 5, what="all jobs")
        pool.hurry(queued)
        pool.submit(told.job("after"))
        until(lambda: len(told.order) == 6, what="the one after")
    names = [name for name, _ in told.order]
    assert names == ["first", "hurried", "hurried early", "last", "guess", "after"]


def test_a_hurried_job_has_the_whole_deadline_from_then_on(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(pools, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(pools, "_WATCH_S", 0.01)
    with Pool(30, threads=1) as pool, held(pool):
        guess = told.job("hurried")
        pool.submit_ahead(guess)
        pool.submit_ahead(told.job("guess"))
        now_s[0] = 29
        pool.hurry(guess)
        now_s[0] = 40
        until(lambda: told.order, what="the first told")
        assert told.order == [("guess", "late")]
        now_s[0] = 59
        until(lambda: len(told.order) == 2, what="the second told")
    assert told.order == [("guess", "late"), ("hurried", "late")]


@pytest.mark.parametrize(("threads", "limit", "places"), [(8, 3, 3), (4, 64, 3), (1, 64, 1)])
def test_read_ahead_never_takes_all_threads(threads: int, limit: int, places: int) -> None:
    with Pool(30, threads, limit) as pool:
        assert [pool.take_ahead() for _ in range(9)] == [True] * places + [False] * (9 - places)
        pool.give_ahead()
        assert [pool.take_ahead() for _ in range(2)] == [True, False]


def test_a_reader_gets_a_thread_although_all_read_ahead_hangs(told: Told) -> None:
    gate = threading.Event()
    with Pool(30, threads=3) as pool:
        for _ in range(2):
            assert pool.take_ahead()
            pool.submit_ahead(told.job("guess", lambda: gate.wait(30)))
        pool.submit(told.job("read"))
        until(lambda: told.order, what="the read")
        assert told.order == [("read", "run")]
        gate.set()


def test_a_job_is_not_forgotten_when_a_thread_comes_while_the_watch_looks_at_it(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed, looking, looked = (threading.Event() for _ in range(3))

    def monotonic() -> float:
        if threading.current_thread().name == "fetch-watch" and armed.is_set():
            looking.set()
            looked.wait(30)
        return time.monotonic()

    monkeypatch.setattr(pools, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(pools, "_WATCH_S", 0.01)
    with Pool(30, threads=1) as pool:
        with held(pool):
            armed.set()
            pool.submit(told.job("read"))
            assert looking.wait(10)
        until(pool._tokens.empty, what="the thread")
        looked.set()
        until(lambda: told.order, deadline_s=5, what="the read")
    assert told.order == [("read", "run")]


def test_a_job_that_no_thread_came_for_in_time_is_told_so_while_all_threads_hang(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_WATCH_S", 0.02)
    with Pool(0.2, threads=2) as pool:
        with held(pool, 2):
            assert pool.take_ahead()
            begin = time.monotonic()
            pool.submit(told.job("read"))
            pool.submit_ahead(told.job("guess"))
            until(lambda: len(told.order) == 2, what="both told")
            assert 0.2 <= time.monotonic() - begin < 5
        pool.submit(told.job("next"))
        until(lambda: len(told.order) == 3, what="the next")
    assert told.order == [("read", "late"), ("guess", "late"), ("next", "run")]


def test_a_job_that_hangs_does_not_hold_up_the_end_and_those_behind_it_are_told(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_CLOSE_WAIT_S", 0.2)
    gate = threading.Event()
    pool = Pool(60, threads=1)
    pool.start()
    pool.submit(told.job("hangs", lambda: gate.wait(30)))
    until(lambda: not pool._urgent, what="its begin")
    assert pool.take_ahead()
    pool.submit(told.job("read"))
    pool.submit_ahead(told.job("guess"))
    begin = time.monotonic()
    pool.close()
    assert time.monotonic() - begin < 5
    assert told.order == [("read", "late"), ("guess", "late")]
    gate.set()
    until(lambda: len(told.order) == 3, what="the end of what hung")
    assert not pool.take_ahead()


def test_every_job_is_run_or_told_once_when_the_pool_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_WATCH_S", 0)
    for _ in range(20):
        told, pool = Told(), Pool(30, threads=2)
        pool.start()

        def submit(prefix: int, told: Told = told, pool: Pool = pool) -> None:
            for number in range(200):
                pool.submit(told.job(f"{prefix} {number}"))

        submitters = [threading.Thread(target=submit, args=(prefix,)) for prefix in range(3)]
        for each in submitters:
            each.start()
        until(lambda told=told: told.order, what="the first job")  # type: ignore[misc]
        pool.close()
        for each in submitters:
            each.join(10)
        assert Counter(name for name, _ in told.order) == {f"{a} {b}": 1 for a in range(3) for b in range(200)}


def test_without_a_thread_to_be_had_a_mount_is_refused_and_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse_the_fourth(thread: threading.Thread) -> None:
        if thread.name == "fetch-3":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_fourth)
    pool = Pool(30, threads=8)
    with pytest.raises(FuseUnavailableError, match=r"9 threads .can't start new thread.; raise the limit"):
        pool.start()
    assert not any(each.is_alive() for each in pool._threads)


@pytest.mark.warns
def test_a_defect_in_a_job_costs_no_thread(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    with Pool(30, threads=1) as pool:
        pool.submit(told.job("broken", lambda: 1 // 0))
        pool.submit(told.job("next"))
        until(lambda: told.order, what="the next job")
    assert told.order == [("next", "run")]
    assert [record.getMessage() for record in caplog.records] == ["defect in a fetch"]
