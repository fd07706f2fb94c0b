"""The verdict on a mount, for probes: healthy, or why not and the exit code of that, within five seconds.

A mount is healthy if its worker answers over its socket and through the kernel, as readers reach it, and if not all fetches
of the last minute have failed for want of the store. A minute without fetches is no failure: what is cached is served.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mountd import client, errors
from mountd.cli import deadline
from mountd.errors import DefectError, MountdError, MountPointError, NotFoundError

if TYPE_CHECKING:
    from concurrent.futures import Future

_LIMIT_S = 5.0
_ASK_S = 4.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of one mount; the code is an exit code, 0 for a healthy one."""

    mountpoint: str
    code: int
    why: str


def check(directory: Path | None, *, as_json: bool) -> int:
    """Say whether the mount on `directory`, or every mount of this user, is healthy; return the exit code.

    Raises:
        NotFoundError: there is no mount.
    """
    places = [directory] if directory is not None else [record.mountpoint for record in client.mounts()]
    if not places:
        raise NotFoundError("no mount of Moorage; `mountd mount SOURCE DIR` makes one")
    verdicts = _judged(places)
    if as_json:
        rows = [asdict(each) for each in verdicts]
        click.echo(json.dumps(rows if directory is None else rows[0], indent=2))
    else:
        for each in verdicts:
            click.echo(f"{'mountd: ' if each.code else ''}{each.why}", err=bool(each.code))
    return max(each.code for each in verdicts)


def _judged(places: Sequence[Path]) -> list[Verdict]:
    end_s = time.monotonic() + _LIMIT_S
    begun = [(place, deadline.begin(partial(_why_ill, place))) for place in places]
    return [_verdict(place, future, end_s) for place, future in begun]


def _verdict(place: Path, future: "Future[None]", end_s: float) -> Verdict:
    try:
        future.result(max(0.0, end_s - time.monotonic()))
    except MountdError as error:
        return Verdict(str(place), error.exit_code, str(error))
    except TimeoutError:
        why = f"{place}: no answer within {_LIMIT_S:g} s; mountd unmount --force {place}, and mount again"
        return Verdict(str(place), MountPointError.exit_code, why)
    return Verdict(str(place), 0, f"{place}: healthy")


def _why_ill(place: Path) -> None:
    """Return if the mount is healthy.

    Raises:
        MountdError: what it suffers from.
    """
    status = client.status(place)
    if why := deadline.answers(place, _ASK_S):
        raise MountPointError(f"{place}: {why}; mountd unmount --force {place}, and mount again")
    reach: dict[str, Any] = status.get("reach") or {}
    if not reach.get("ok", True):
        failure = reach["failure"]
        kind = getattr(errors, failure["error"], DefectError)
        raise kind(f"{place}: no fetch of the last minute was answered; the last: {failure['message']}")
