"""Process 1 of a container: a process that only forwards signals and reaps, before the one that does the work.

The kernel gives process 1 every orphan of the container, also those that `docker exec` or a health check leaves, and
delivers no signal to it that it has no handler for. `stand` forks: the child goes on with the command as in any other place;
process 1 forwards what comes from outside, waits for whoever ends, and ends with the command's exit code, and with it the
container.

It forks before there is a thread, and before anything is imported that must not be forked.
"""

import contextlib
import os
import signal
from typing import Final

_FORWARDED: Final = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)  # Windows lacks most
)
_FROM_TERMINAL: Final = 0x80  # SI_KERNEL: the terminal has told the child as well


def stand() -> None:
    """If this is process 1, become its child: process 1 itself never returns from here. Elsewhere nothing is done."""
    if os.getpid() != 1 or os.name != "posix":
        return
    watched = {*_FORWARDED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        came = signal.sigwaitinfo(watched)
        if came.si_signo == signal.SIGCHLD:
            _reap(child)
        elif came.si_code != _FROM_TERMINAL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, came.si_signo)


def _reap(child: int) -> None:
    """Wait for all who have ended; with `child` this process ends, too."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
