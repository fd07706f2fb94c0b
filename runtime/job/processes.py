"""Processes as the kernel tells of them: who is whose descendant, who still lives, and how to end them all.

A process that made itself a subreaper inherits every descendant whose parent died, so "I have no child left" means "no
descendant is left", whoever forked twice or called setsid. `end_descendants` signals all that it finds in
/proc/*/task/*/children, and goes on until that is true; processes that are born while it walks are found on the next round.

Standard library only: the keeper runs this. Where there is no /proc (not Linux), `ps` tells, and nobody is a subreaper: what
forked twice is not found there.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_ROUND_S = 0.1  # between two walks, when nothing wakes us: only newborn or stubborn processes need a second one
_PROC = Path("/proc")


def harden() -> int:
    """Keep this process's memory from core files and from other processes of the user.

    Returns the soft limit for core files that held before, in bytes, which a child should get back; -1 is unlimited.
    """
    _prctl(_PR_SET_DUMPABLE, 0)
    try:
        import resource
    except ImportError:  # Windows
        return -1
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    return soft


def become_subreaper() -> None:
    """From now on orphaned descendants become children of this process instead of init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good: a number that is used again has another start, another boot or another namespace."""

    pid: int
    host: str
    boot: str
    start: int

    def state(self) -> str:
        """Tell 'alive', 'dead', or 'elsewhere' for a process of another machine, of which nothing is known here."""
        if self.host != socket.gethostname():
            return "elsewhere"
        return "alive" if self == identity(self.pid) else "dead"


def identity(pid: int) -> Identity | None:
    """Who the process `pid` is now; None if there is none, or only what is left of one (a zombie)."""
    if not _PROC.joinpath("self").exists():
        return Identity(pid, socket.gethostname(), "", 0) if _exists(pid) else None
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Identity(pid, socket.gethostname(), _boot(), int(fields[19]))


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (the state) on; the name before them may hold spaces and brackets."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _boot() -> str:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 # a link that only stat can follow


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def children(pid: int) -> set[int]:
    """The children of every thread of `pid`, zombies included; empty if it is gone."""
    if not _PROC.joinpath("self").exists():
        return _children_by_ps(pid)
    found: set[int] = set()
    try:
        threads = list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return found
    for thread in threads:
        try:
            found.update(map(int, (thread / "children").read_text("ascii").split()))
        except OSError:  # a thread that ended meanwhile
            continue
    return found


def _children_by_ps(pid: int) -> set[int]:
    """The same where there is no /proc; without the `ps` that we start to learn it."""
    import subprocess

    with subprocess.Popen(["/bin/ps", "-axo", "pid=,ppid="], stdout=subprocess.PIPE, text=True) as ps:
        lines = [line.split() for line in ps.communicate()[0].splitlines()]
    return {int(child) for child, parent in lines if int(parent) == pid} - {ps.pid}


def descendants(pid: int, spare: Collection[int] = ()) -> set[int]:
    """All processes below `pid`, without those in `spare` and what is below them."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        fresh = children(waiting.pop()) - found - set(spare)
        found |= fresh
        waiting.extend(fresh)
    return found


def end_descendants(
    grace_s: float,
    *,
    spare: Collection[int] = (),
    first: int = signal.SIGTERM,
    pause: Callable[[float], bool] | None = None,
    reaped: Callable[[int, int], None] | None = None,
) -> None:
    """End every descendant of this process, a subreaper: `first` at once, SIGKILL after `grace_s`, until none is left.

    `pause(seconds)` waits, and may return early; True from it ends the grace. `reaped(pid, status)` hears of each child.
    """
    kill_at = time.monotonic() + grace_s
    told: set[int] = set()
    while True:
        _reap(spare, reaped)
        living = descendants(os.getpid(), spare)
        if not living:
            return
        late = time.monotonic() >= kill_at
        for pid in living if late else living - told:
            send(pid, signal.SIGKILL if late else first)
            if not late:
                send(pid, signal.SIGCONT)  # a stopped process hears nothing else
        told |= living
        if (pause or _sleep)(_ROUND_S if late else min(_ROUND_S, max(0.0, kill_at - time.monotonic()))):
            kill_at = 0.0


def _reap(spare: Collection[int], reaped: Callable[[int, int], None] | None) -> None:
    """Collect the children that have ended; never one in `spare`, whose owner waits for it."""
    for pid in children(os.getpid()) - set(spare):
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
        if done and reaped is not None:
            reaped(done, status)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def send(pid: int, number: int) -> None:
    """Send a signal; a process that is gone, or not ours any more, is no error."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def marked(mark: str) -> set[int]:
    """This user's living processes that were started with the environment entry `mark` (NAME=value)."""
    found: set[int] = set()
    wanted = os.fsencode(mark)
    for folder in _PROC.glob("[0-9]*") if _PROC.joinpath("self").exists() else ():
        try:
            if folder.stat().st_uid == os.getuid() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:  # gone, or another user's
            continue
    return found


def end_marked(mark: str, grace_s: float) -> set[int]:
    """End the processes that carry `mark`, this one and its forebears excepted; return those that were found."""
    mine = _forebears()
    kill_at = time.monotonic() + grace_s
    found: set[int] = set()
    while living := marked(mark) - mine:
        late = time.monotonic() >= kill_at
        for pid in living if late else living - found:
            send(pid, signal.SIGKILL if late else signal.SIGTERM)
            if not late:
                send(pid, signal.SIGCONT)
        found |= living
        time.sleep(0.05)  # they are not our children: nothing wakes us when they end
    return found


def _forebears() -> set[int]:
    found = {os.getpid()}
    pid = os.getpid()
    while (fields := _stat(pid)) is not None and (pid := int(fields[1])) > 0:
        found.add(pid)
    return found
