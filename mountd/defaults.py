"""What a setting is where nobody set it: folders by the customs of the system, sizes by what its disk and memory have.

Each is a function of the environment and of the settings before it; nothing is made.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mountd.cgroup import cgroup_limit
from mountd.errors import BadInputError

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_CACHE_LIMIT: Final = 200 * _GIB
_MEMORY: Final = 256 * _MIB
LEAST_MEMORY: Final = 4 * _MIB


def home(environ: Mapping[str, str], variable: str, below: str) -> Path | None:
    """One of the XDG base folders; None where there is neither the variable nor a home."""
    chosen = Path(environ.get(variable, ""))
    if chosen.is_absolute():  # the XDG rule: a relative one is to be ignored
        return chosen
    try:
        return Path(environ.get("HOME") or Path.home()) / below
    except RuntimeError:
        return None


def cache_dir(environ: Mapping[str, str], _: Mapping[str, Any]) -> Path:
    """Where what may be thrown away lies.

    Raises:
        BadInputError: this user has no home.
    """
    if getattr(os, "geteuid", lambda: 1)() == 0:
        return Path("/var/cache/moorage")
    folder = home(environ, "XDG_CACHE_HOME", ".cache")
    if folder is None:
        raise BadInputError("no home folder to keep a cache in; set --cache-dir or MOORAGE_CACHE_DIR")
    return folder / "moorage"


def spool_dir(environ: Mapping[str, str], values: Mapping[str, Any]) -> Path:
    """Where state lies, not what may be thrown away: the only copy of a file may be here."""
    if getattr(os, "geteuid", lambda: 1)() == 0:
        return Path("/var/lib/moorage/spool")
    folder = home(environ, "XDG_STATE_HOME", ".local/state")
    return folder / "moorage" / "spool" if folder is not None else Path(values["cache_dir"]).with_name("spool")


def half_of_the_disk(attribute: str) -> Callable[[Mapping[str, str], Mapping[str, Any]], int]:
    """The default size of the folder that `attribute` names."""
    return lambda _, values: _half_of_its_disk(values[attribute])


def _half_of_its_disk(folder: Path) -> int:
    """Half of what is free, at most 200 GiB, leaving 5 % of the disk or 1 GiB, whichever is more.

    What the folder holds already counts as free: otherwise each restart would halve a cache and drop its data.
    """
    existing = next((each for each in (folder, *folder.parents) if each.is_dir()), None)
    if existing is None:
        return _GIB
    disk = shutil.disk_usage(existing)
    free = disk.free + _held_bytes(folder)
    return max(0, min(free // 2, _CACHE_LIMIT, free - max(disk.total // 20, _GIB)))


def room(folder: Path, kept_free_bytes: int) -> int:
    """What the cache in `folder` may hold if so much of its disk stays free."""
    existing = next((each for each in (folder, *folder.parents) if each.is_dir()), Path("/"))
    return max(0, shutil.disk_usage(existing).free + _held_bytes(folder) - kept_free_bytes)


def _held_bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(root, name).lstat().st_size
            except OSError:  # trimmed by its owner meanwhile
                continue
    return total


def memory(_: Mapping[str, str], __: Mapping[str, Any]) -> int:
    """256 MiB, or a quarter of what the container may have."""
    limit = cgroup_limit()
    return _MEMORY if limit is None else max(LEAST_MEMORY, min(_MEMORY, limit // 4))
