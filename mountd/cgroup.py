"""What the container allows: limits of this process's control groups, in both versions of their file systems."""

import os
import re
from collections.abc import Iterator
from pathlib import Path


def cgroup_limit(proc: Path = Path("/proc/self")) -> int | None:
    """The smallest memory limit, in bytes, of this process's cgroups and their ancestors; None where there is none."""
    try:
        groups, mounts = (
            os.fsdecode((proc / name).read_bytes()).rstrip("\n").split("\n") for name in ("cgroup", "mountinfo")
        )
    except OSError:
        return None
    limits: list[int] = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += _limits(mounts, "cgroup2", "", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(mounts, "cgroup", "memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits(mounts: list[str], kind: str, controller: str, path: str, file: str) -> Iterator[int]:
    """Yield the limits from the group `path` up to where its hierarchy is mounted."""
    for line in mounts:
        left, _, right = line.partition(" - ")
        root, mountpoint = (_unescape(each) for each in left.split(" ")[3:5])
        file_system, _, options = right.split(" ", 2)
        if file_system != kind or (controller and controller not in options.split(" ")[-1].split(",")):
            continue
        # In a container the path may be the host's, of which only the part below the mount's root can be seen.
        below = path.removeprefix(root.rstrip("/")) if path.startswith(root) else ""
        folder = Path(mountpoint, *(name for name in below.split("/") if name not in {"", ".."}))
        for each in (folder, *folder.parents[: len(folder.parts) - len(Path(mountpoint).parts)]):
            text = (each / file).read_text().strip() if (each / file).is_file() else "max"
            if text.isdigit():
                yield int(text)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
