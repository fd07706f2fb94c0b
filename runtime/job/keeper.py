"""The keeper: it starts the child, and sees to it that nothing the child made outlives the job.

    launcher ──lifeline (a socket)── keeper (its own session, a subreaper) ── child ── whatever the child starts

It is exec'd by path, with the child's own environment and folder, so it never holds a storage secret and never imports more
than the standard library. Over the lifeline it writes one JSON object a line: {"started": pid}, or {"failed": errno,
"text": ...} when the command could not be started; {"ended": code}, negative for a signal; and {"done": true} when no
descendant is left. EOF on the lifeline means that the launcher is dead.

EOF, SIGTERM, SIGINT and SIGHUP end every descendant: the signal first (SIGTERM for EOF), SIGKILL after the grace, or at
once on a second signal. So does the child's own end, since a job is over when its child is.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run by path with -I -S: find our own package, after the standard library
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from runtime.job import processes

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_NOT_RUNNABLE = 126


class Keeper:
    """What the process knows: the lifeline, the signals that came, the child and how it ended."""

    def __init__(self, lifeline: int, grace_s: float) -> None:
        os.set_inheritable(lifeline, False)  # the child must not hold it: EOF would never come
        os.set_blocking(lifeline, True)
        self._lifeline = lifeline
        self._grace_s = grace_s
        self._launcher_lives = True
        self._stops: list[int] = []
        self._heard = 0  # of them, before the grace began
        self._child = 0
        self._ended: int | None = None
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOPS:
            signal.signal(number, lambda number, _: self._stops.append(number))

    def run(self, command: Sequence[str], core_limit: int) -> int:
        """Start `command`, wait until it ends or must, and leave nothing behind; return the keeper's own exit code."""
        if not self._start(command, core_limit):
            return _NOT_RUNNABLE
        while self._ended is None and self._launcher_lives and not self._stops:
            self._wait(None)
            self._reap_child()
        first = self._stops[0] if self._stops else signal.SIGTERM
        self._heard = len(self._stops)
        processes.end_descendants(self._grace_s, first=first, pause=self._pause, reaped=self._reaped)
        self._report({"done": True})
        return 0

    def _start(self, command: Sequence[str], core_limit: int) -> bool:
        try:
            self._child = _spawn(command, core_limit)
        except OSError as error:
            self._report({"failed": error.errno, "text": error.strerror})
            return False
        self._report({"started": self._child})
        return True

    def _pause(self, seconds: float) -> bool:
        """Wait within the grace; True when one more signal says that there is to be no more of it."""
        self._wait(seconds)
        return len(self._stops) > self._heard

    def _wait(self, seconds: float | None) -> None:
        """Wait for a signal, the end of a child, or of the launcher."""
        watched = [self._wake, self._lifeline] if self._launcher_lives else [self._wake]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._wake in ready:
            os.read(self._wake, 4096)
        if self._lifeline in ready:
            self._launcher_lives = bool(_read(self._lifeline))

    def _reap_child(self) -> None:
        """Collect children without waiting: the child, and orphans that fell to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._reaped(pid, status)

    def _reaped(self, pid: int, status: int) -> None:
        if pid == self._child:
            self._ended = os.waitstatus_to_exitcode(status)
            self._report({"ended": self._ended})

    def _report(self, message: dict[str, object]) -> None:
        try:
            os.write(self._lifeline, json.dumps(message).encode() + b"\n")
        except OSError:
            self._launcher_lives = False


def _spawn(command: Sequence[str], core_limit: int) -> int:
    """Start the child with the signal dispositions and the limit for core files that the user had."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (core_limit, hard))
    try:
        return os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores both, and a child would inherit that
        )
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


def main(arguments: Sequence[str]) -> int:
    """`keeper.py LIFELINE GRACE_S CORE_LIMIT COMMAND...`: the launcher's own command line, not a user's."""
    processes.harden()
    processes.become_subreaper()
    lifeline, grace_s, core_limit = arguments[:3]
    return Keeper(int(lifeline), float(grace_s)).run(arguments[3:], int(core_limit))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
