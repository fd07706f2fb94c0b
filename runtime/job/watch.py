"""The launcher while the child runs: who must hear of what, until nothing of the job is left.

the keeper says something     note it                    the keeper died     end the orphans ourselves: they fell to us
a signal for the launcher     pass it on                 a worker died       detach its mount, then end the job
the job's time is over        end it as a signal does
somebody wants the helper     start it                   the helper died     wait until somebody wants it again
"""

import math
import time
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.job import processes
from runtime.job.bell import Bell
from runtime.job.child import KeptChild
from runtime.job.session import Session
from runtime.job.spec import JobSpec

_SIGTERM = 15


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: the child's code (negative for a signal) if it ended by itself, else what ended it.

    `failure` is the line about what ended the job; `stopped` the signal that the launcher was sent, or would have been when
    the job's time was over (`overtime`).
    """

    child_code: int | None
    failure: str | None = None
    stopped: int | None = None
    overtime: bool = False

    @property
    def ended_itself(self) -> bool:
        """True if the child ended by itself, well or not, with all of the job around it."""
        return self.child_code is not None and self.failure is None and self.stopped is None

    @property
    def succeeded(self) -> bool:
        """True if the child returned 0 and nothing and nobody ended the job."""
        return self.child_code == 0 and self.failure is None and self.stopped is None

    @property
    def canceled(self) -> bool:
        """True if the job was ended on demand, and not by a part of it that died."""
        return self.stopped is not None

    @property
    def exit_code(self) -> int:
        """What `moorage run` returns, if the outputs do not change it."""
        if self.overtime and self.stopped is not None:
            return 128 + self.stopped
        if self.failure is not None or self.child_code is None:
            return 125
        if self.stopped is not None and self.child_code == 0:
            return 128 + self.stopped  # the child ended well, but the job did not: its outputs are not stored
        return self.child_code if self.child_code >= 0 else 128 - self.child_code


class Seat(Protocol):
    """The helper's place: watched for whoever wants one, then for its end."""

    @property
    def pid(self) -> int | None:
        """The helper, while there is one."""

    @property
    def is_closed(self) -> bool:
        """True when none will come any more."""

    def fileno(self) -> int:
        """What to watch."""

    def attend(self) -> str | None:
        """What is to be done when it is ready; a line if there will be no helper."""


def watch(
    child: KeptChild,
    session: Session,
    bell: Bell,
    spec: JobSpec,
    started: Callable[[int], None],
    seat: Seat | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Wait until every process of the job has ended; `started` hears the child's process id."""
    failure: str | None = None
    passed_on = 0
    told = overtime = False
    deadline = math.inf if spec.max_duration_s is None else time.monotonic() + spec.max_duration_s
    while not child.closed:
        mounts = session.mounts()
        seats = [seat] if seat is not None and not seat.is_closed else []
        ready = bell.wait([child, *mounts.values(), *seats], _left_s(deadline))
        if time.monotonic() >= deadline:
            deadline = math.inf
            if failure is None and not passed_on:
                overtime = True
                failure = f"the job ran longer than max_run_duration_seconds ({spec.max_duration_s:g} s), and was ended"
                child.signal(_SIGTERM)
        _attend(seats, ready, say)
        if child.fileno() in ready:
            child.receive()
            if child.child_pid is not None and not told:
                told = True
                started(child.child_pid)
        if child.child_pid is not None:  # before that the keeper may have no handler yet, and would die of it
            passed_on += _pass_on(child, bell.stops[passed_on:])
        for name, mount in mounts.items():
            if mount.fileno() in ready:
                failure = (
                    failure
                    or f"{session.called(name)}: its supervisor (process {mount.pid}) died, so the job was ended"
                )
                session.lose(name)
                child.signal(_SIGTERM)
    child.end_keeper()
    if not child.done and child.failure is None:
        failure = failure or f"the keeper (process {child.pid}) died, so the job was ended"
        _end_orphans(session, bell, spec.grace_s, seat.pid if seat is not None else None)
    stopped = bell.stops[0] if bell.stops else _SIGTERM if overtime else None
    return Outcome(child.exit_code, failure, stopped, overtime)


def _attend(seats: Iterable[Seat], ready: Container[int], say: Callable[[str], None]) -> None:
    for each in seats:
        if each.fileno() in ready and (line := each.attend()):
            say(line)


def _left_s(deadline: float) -> float | None:
    """Seconds until `deadline`, at most a day (what `select` takes has a limit); None if there is none."""
    return None if deadline == math.inf else min(max(0.0, deadline - time.monotonic()), 86_400.0)


def _pass_on(child: KeptChild, stops: Sequence[int]) -> int:
    for number in stops:
        child.signal(number)
    return len(stops)


def _end_orphans(session: Session, bell: Bell, grace_s: float, helper: int | None) -> None:
    """End what the keeper left: all that is below us, except the supervisors of our own mounts and the helper."""
    heard = len(bell.stops)

    def pause(seconds: float) -> bool:
        bell.wait(timeout_s=seconds)
        return len(bell.stops) > heard

    spared = {mount.pid for mount in session.mounts().values()} | ({helper} if helper is not None else set())
    processes.end_descendants(grace_s, spare=spared, pause=pause)
