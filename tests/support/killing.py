"""The sudden death, and the sleep, of everything that serves a mount."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from mountd import client


def kill(mount: client.Mount) -> None:
    """Kill all its processes so that none sees another one's end."""
    serving = _serving(mount)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in serving:
            os.kill(pid, number)
    mount.wait()


@contextmanager
def stopped(mount: client.Mount) -> Iterator[None]:
    """All its processes hang for the length of a `with` block."""
    serving = _serving(mount)
    for pid in serving:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in serving:
            os.kill(pid, signal.SIGCONT)


def _serving(mount: client.Mount) -> list[int]:
    """The one that was started first, because it may replace the other."""
    return [mount.pid, *({mount.status()["worker_pid"]} - {mount.pid})]
