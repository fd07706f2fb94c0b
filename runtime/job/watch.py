"""The launcher while the child runs: who must hear of what, until nothing of the job is left.

the keeper says something     note it                    the keeper died     end the orphans ourselves: they fell to us
a signal for the launcher     pass it on                 a worker died       detach its mount, then end the job
"""

from collections.abc import Callable
from dataclasses import dataclass

from runtime.job import processes
from runtime.job.bell import Bell
from runtime.job.child import KeptChild
from runtime.job.session import Session

_SIGTERM = 15


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: the child's code (negative for a signal) if it ended by itself, else what ended it.

    `failure` is the line about a part of the job that died; `stopped` the signal that the launcher was sent.
    """

    child_code: int | None
    failure: str | None = None
    stopped: int | None = None

    @property
    def succeeded(self) -> bool:
        """True if the child returned 0 and nothing and nobody ended the job."""
        return self.child_code == 0 and self.failure is None and self.stopped is None

    @property
    def exit_code(self) -> int:
        """What `moorage run` returns, if the outputs do not change it."""
        if self.failure is not None or self.child_code is None:
            return 125
        if self.stopped is not None and self.child_code == 0:
            return 128 + self.stopped  # the child ended well, but the job did not: its outputs are not stored
        return self.child_code if self.child_code >= 0 else 128 - self.child_code


def watch(child: KeptChild, session: Session, bell: Bell, grace_s: float, started: Callable[[int], None]) -> Outcome:
    """Wait until every process of the job has ended; `started` hears the child's process id."""
    failure: str | None = None
    passed_on = 0
    told = False
    while not child.closed:
        mounts = session.mounts()
        ready = bell.wait([child, *mounts.values()])
        for number in bell.stops[passed_on:]:
            child.signal(number)
        passed_on = len(bell.stops)
        if child.fileno() in ready:
            child.receive()
            if child.child_pid is not None and not told:
                told = True
                started(child.child_pid)
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
        _end_orphans(session, bell, grace_s)
    return Outcome(child.exit_code, failure, bell.stops[0] if bell.stops else None)


def _end_orphans(session: Session, bell: Bell, grace_s: float) -> None:
    """End what the keeper left: all that is below us, except the supervisors of our own mounts."""
    heard = len(bell.stops)

    def pause(seconds: float) -> bool:
        bell.wait(timeout_s=seconds)
        return len(bell.stops) > heard

    processes.end_descendants(grace_s, spare={mount.pid for mount in session.mounts().values()}, pause=pause)
