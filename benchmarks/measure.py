"""What a run costs: CPU and memory of a tree of processes, the page cache, and statistics.

CPU is utime + stime of a process and its descendants from /proc, with the share of children that have ended. Peak memory is
the sum of their VmHWM, which the kernel keeps: an upper bound, as they need not have had it at the same moment.
"""

import os
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_REST_S = 0.25  # longer than any answer of the server takes
_FUSE = os.makedev(10, 229)
_DROP = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU so far and peak memory of a tree of processes."""

    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Spread:
    """Some runs of one row in one number and its bounds."""

    median: float
    least: float
    most: float
    runs: int

    @staticmethod
    def of(values: Iterable[float]) -> "Spread":
        """Of at least one value."""
        known = sorted(values)
        return Spread(statistics.median(known), known[0], known[-1], len(known))


def usage(root_pid: int) -> Usage:
    """What the process and its descendants have used; those that end meanwhile are left out."""
    cpu_s, peak_bytes = 0.0, 0
    for pid in family(root_pid):
        try:
            cpu_s += cpu_of(Path(f"/proc/{pid}/stat").read_text())
            peak_bytes += peak_of(Path(f"/proc/{pid}/status").read_text())
        except OSError:
            continue
    return Usage(cpu_s, peak_bytes)


def family(root_pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int(_fields((entry / "stat").read_text())[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [root_pid]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_of(stat: str) -> float:
    """Seconds of CPU in a text of /proc/PID/stat: its own, and that of children it has waited for."""
    return sum(int(value) for value in _fields(stat)[11:15]) * _TICK_S


def peak_of(status: str) -> int:
    """VmHWM of a text of /proc/PID/status, in bytes; 0 for one that has ended."""
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def serves_fuse(root_pid: int) -> bool:
    """True if one of the family holds a FUSE device open, and so serves the mount; or may, as it shows it to root only."""
    return any(_holds_fuse(pid) for pid in family(root_pid))


def rest(root_pid: int, limit_s: float = 10.0) -> None:
    """Return when the family does nothing any more, or after `limit_s`: what it does behind its readers counts, too."""
    last, used_s = time.monotonic() + limit_s, -1.0
    while (now_s := usage(root_pid).cpu_s) > used_s + _TICK_S and time.monotonic() < last:
        used_s = now_s
        time.sleep(_REST_S)  # the rest is the lapse of time itself


def may_drop_caches() -> bool:
    """True if the page cache can be dropped here: that needs root, and a kernel that lets it."""
    return os.access(_DROP, os.W_OK)


def drop_caches() -> None:
    """Write out what is dirty, and drop the page cache, names and inodes."""
    os.sync()
    _DROP.write_text("3\n")


def _holds_fuse(pid: int) -> bool:
    try:
        return any(_is_fuse(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        return True  # whoever keeps secrets is undumpable
    except OSError:
        return False  # it has ended


def _is_fuse(link: Path) -> bool:
    try:
        return link.stat().st_rdev == _FUSE
    except FileNotFoundError:
        return False  # closed meanwhile


def _fields(stat: str) -> list[str]:
    """The fields behind the command's name, which may hold anything: state is 0, parent 1."""
    return stat.rpartition(")")[2].split()
