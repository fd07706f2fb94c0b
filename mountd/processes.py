"""Processes by identity, not by number alone.

A process id is given again after its process has ended; together with the start time that /proc tells it names one process
for as long as the machine runs. Where there is no /proc nothing can be asked, and nothing is claimed.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_BOOT = Path("sys/kernel/random/boot_id")
_STATE, _START_TIME = 0, 19  # positions in /proc/PID/stat after the command's closing parenthesis


def own_umask() -> int:
    """The umask of this process, which can be asked only by setting another."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process: its number and when it started, in clock ticks since boot (0: unknown)."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """The process that has this number now."""
        fields = _stat(pid)
        return cls(pid, int(fields[_START_TIME]) if fields else 0)

    def is_alive(self) -> bool:
        """True if this very process runs; one that has ended and only waits to be reaped does not."""
        fields = _stat(self.pid)
        return bool(fields) and fields[_STATE] != "Z" and int(fields[_START_TIME]) == self.start_ticks

    def kill(self) -> bool:
        """End it at once, if it is still this process; True if a signal was sent."""
        if not self.is_alive():
            return False
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def boot_id() -> str:
    """What names this run of the machine; empty where there is no /proc."""
    try:
        return (_PROC / _BOOT).read_text().strip()
    except OSError:
        return ""


def with_mark(mark: str) -> Iterator[ProcessId]:
    """Yield every other process of this user that was started with `mark` (NAME=VALUE) in its environment."""
    wanted = os.fsencode(mark)
    for folder in _PROC.glob("[0-9]*"):
        pid = int(folder.name)
        try:
            if pid == os.getpid() or folder.stat().st_uid != os.geteuid():
                continue
            process = ProcessId.of(pid)  # first: if the number is given again meanwhile, this names nobody that lives
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or it hides its memory: then it is one of ours that minds its own end
        if wanted in environment:
            yield process


def _stat(pid: int) -> list[str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
