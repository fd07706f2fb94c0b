"""A bounded pool of threads with two kinds of work: what a reader waits for comes before what is guessed.

A thread takes a token, and then the first job of the better queue; so nobody looks into two queues at once. Read-ahead that
is queued or running is limited below the number of threads: however much is guessed, some threads are left for readers.
A guess that a reader came for is hurried: it goes to the better queue, behind whoever was there before him.

A job that has waited longer than the deadline is not begun but told so, by a thread of its own that only watches: with all
threads held by a store that hangs, a reader still gets his error in time. A job that the end of the pool finds waiting is
told the same: whoever waits for a job hears of it, whatever happens. The same watch calls whoever asked to look at his
jobs now and then (hedging), and a job may be done a second time by a thread that is lent: of the two the one whose
call returns False ends, so that the number of threads that take jobs does not change.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Self

from mountd.errors import FuseUnavailableError

_LOG = logging.getLogger(__name__)
THREADS = 96
AHEAD_LIMIT = 64
_CLOSE_WAIT_S = 2.0  # a store that hangs is not waited for: a mount that ends must end
_WATCH_S = 1.0


class Job:
    """Something to run once; `late` is called instead if no thread came in time, or before the end.

    If `run` returns False, its thread ends: a lent one has taken its place.
    `given_up` is what a guess is told that is to make room; it may submit itself anew.
    """

    __slots__ = ("born_s", "given_up", "hurried", "late", "run")

    def __init__(
        self, run: Callable[[], object], late: Callable[[], None], given_up: Callable[[], None] | None = None
    ) -> None:
        self.run, self.late, self.given_up = run, late, given_up or late
        self.born_s, self.hurried = time.monotonic(), False


class Pool:
    """Threads for jobs; a context manager that ends them. The lock protects the count of read-ahead, the list of threads."""

    def __init__(self, deadline_s: float, threads: int = THREADS, ahead_limit: int = AHEAD_LIMIT) -> None:
        self._deadline_s, self._ahead_limit = deadline_s, min(ahead_limit, max(1, threads - 1))
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # False: end
        self._urgent: deque[Job] = deque()
        self._ahead: deque[Job] = deque()
        self._lock = threading.Lock()
        self._ahead_count = 0
        self._closed, self._roused = threading.Event(), threading.Event()
        self._look: Callable[[], float] = lambda: _WATCH_S
        self._threads = [
            threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True) for number in range(threads)
        ]
        self._threads.append(threading.Thread(target=self._watch, name="fetch-watch", daemon=True))

    def start(self) -> None:
        """Make all threads now: a limit that is met later could only be met by hanging a reader.

        Raises:
            FuseUnavailableError: this user may have no more threads.
        """
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:
            self.close()
            raise FuseUnavailableError(
                f"reading needs {len(self._threads)} threads ({error}); raise the limit (ulimit -u, pids.max)"
            ) from None

    def submit(self, job: Job) -> None:
        """Run `job` as soon as a thread is free; it may wait for as long as one that is new."""
        job.born_s = time.monotonic()
        self._queue(self._urgent, job)

    def take_ahead(self) -> bool:
        """Take a place for one job of read-ahead; False if there is too much of it already."""
        with self._lock:
            if self._ahead_count >= self._ahead_limit or self._closed.is_set():
                return False
            self._ahead_count += 1
        return True

    def give_ahead(self) -> None:
        """Give a place back: its job is done, or will not be."""
        with self._lock:
            self._ahead_count -= 1

    def submit_ahead(self, job: Job) -> None:
        """Run `job`, for which a place was taken, when nothing urgent waits; the job gives its place back."""
        self._queue(self._ahead, job)
        if job.hurried:  # before it was queued
            self.hurry(job)

    def hurry(self, job: Job) -> None:
        """Make a job of read-ahead urgent from now on, unless it has begun: a reader waits for it."""
        job.hurried = True
        if self._remove(self._ahead, job):
            self.submit(job)

    def give_up_ahead(self) -> None:
        """Take all read-ahead that has not begun out of the queue, and tell it to make room."""
        while (job := self._pop(self._ahead)) is not None:
            self._guarded(job.given_up)

    def watch(self, look: Callable[[], float]) -> None:
        """Call `look` from time to time: it says in how many seconds again."""
        self._look = look

    def rouse(self) -> None:
        """Let the watch look now."""
        self._roused.set()

    def lend(self, run: Callable[[], object]) -> bool:
        """Do `run` in a thread of its own, which takes jobs afterwards unless `run` returns False; False: no thread.

        For the watch only: threads are lent one after the other.
        """
        thread = threading.Thread(target=self._lent, args=(run,), name="fetch-again", daemon=True)
        with self._lock:
            if self._closed.is_set():
                return False
            self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # this user may have no more threads
            return False
        return True

    def close(self) -> None:
        """Tell what has not begun that it is late; wait for what has, but not for long."""
        with self._lock:
            self._closed.set()
            threads = [*self._threads]
        self._roused.set()
        for _ in threads:
            self._tokens.put(False)  # the end
        self._give_up()
        deadline_s = time.monotonic() + _CLOSE_WAIT_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline_s - time.monotonic()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _queue(self, queue: deque[Job], job: Job) -> None:
        queue.append(job)
        self._tokens.put(True)
        if self._closed.is_set():  # perhaps after `close` has looked
            self._give_up()

    def _give_up(self) -> None:
        for queue in (self._urgent, self._ahead):
            while (job := self._pop(queue)) is not None:
                self._guarded(job.late)

    def _work(self) -> None:
        while self._tokens.get() and not self._closed.is_set():
            job = self._pop(self._urgent) or self._pop(self._ahead)
            if job is not None and self._guarded(job.run) is False:  # None: it was late, or hurried
                return
            del job  # the next wait may be long, and a job may hold bytes

    def _lent(self, run: Callable[[], object]) -> None:
        if self._guarded(run) is not False:
            del run
            self._work()

    def _watch(self) -> None:
        next_s: object = _WATCH_S
        while True:
            self._roused.wait(min(_WATCH_S, next_s if isinstance(next_s, float) else _WATCH_S))
            self._roused.clear()
            if self._closed.is_set():
                return
            next_s = self._guarded(self._look)
            for queue in (self._urgent, self._ahead):
                while (job := self._late_in(queue)) is not None:
                    if self._remove(queue, job):  # else a thread came after all
                        self._guarded(job.late)

    def _late_in(self, queue: deque[Job]) -> Job | None:
        """The oldest job of a queue, if it has waited too long; it stays there, where a thread may come for it."""
        try:
            job = queue[0]
        except IndexError:
            return None
        return job if time.monotonic() - job.born_s >= self._deadline_s else None

    @staticmethod
    def _remove(queue: deque[Job], job: Job) -> bool:
        try:
            queue.remove(job)  # atomic, as `popleft` is: one of those who want a job gets it
        except ValueError:
            return False
        return True

    @staticmethod
    def _pop(queue: deque[Job]) -> Job | None:
        try:
            return queue.popleft()
        except IndexError:
            return None

    @staticmethod
    def _guarded(call: Callable[[], object]) -> object:
        try:
            return call()
        except Exception:  # noqa: BLE001  # a job tells its own failures; what is left is a defect, and the thread must live
            _LOG.exception("defect in a fetch")
            return None
