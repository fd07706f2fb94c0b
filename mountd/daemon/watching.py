"""What a status says for whoever watches a mount: the slowest reads, and whether the stores were in reach.

These keys are for the control socket alone: the paths in them may be long, and `user.mountd.status` has one length.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from mountd.errors import MountdError
from mountd.log import redact
from mountd.metrics import Reach
from mountd.reading.slowest import SlowRead

LONG: Final = frozenset({"reach", "slowest"})  # keys of a status that are not in the extended attribute


def told(reach: Reach, slowest: Sequence[SlowRead], path_of: Callable[[int], str]) -> dict[str, Any]:
    """The keys `reach` and `slowest` of a status; `path_of` names an inode."""
    return {"reach": _reach(reach), "slowest": [_slow(each, path_of) for each in slowest]}


def _reach(reach: Reach) -> dict[str, Any]:
    return {
        "ok": not reach.is_out,
        "answered_ago_s": _rounded(reach.answered_ago_s),
        "failed_ago_s": _rounded(reach.failed_ago_s),
        "failure": {"error": reach.error, "message": redact(reach.message)} if reach.error else None,
    }


def _slow(read: SlowRead, path_of: Callable[[int], str]) -> dict[str, Any]:
    return {
        "path": _path(read, path_of),
        "offset": read.offset,
        "size": read.size,
        "took_s": round(read.took_s, 4),
        "waited_for": read.waited_for,
        "failure": read.failure or None,
        "ended_ago_s": round(time.monotonic() - read.ended_s, 3),
    }


def _path(read: SlowRead, path_of: Callable[[int], str]) -> str:
    try:
        return path_of(read.file.inode)
    except MountdError:  # the manifest's disk fails at this moment: a status is told all the same
        return read.file.key


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
