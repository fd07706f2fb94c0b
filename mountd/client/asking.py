"""Questions and wishes to a mount that is there, whoever made it, by its control socket or its plan socket."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mountd import clearing, errors, records
from mountd.errors import DefectError, MountPointError, NotFoundError
from mountd.fuse import mounting
from mountd.records import LostError, MountRecord
from mountd.stores.credentials import Credential
from mountd.stores.credentials.origins import handed_on

if TYPE_CHECKING:
    from array import array

_WARM_TIMEOUT_S = 120.0  # between two steps: longer than one read's deadline
_STATUS_TIMEOUT_S = 10.0
_UPGRADE_TIMEOUT_S = 90.0


def mounts() -> list[MountRecord]:
    """The mounts of this user, dead ones included."""
    return records.every()


def status(mountpoint: Path) -> dict[str, Any]:
    """What the mount at `mountpoint` does: the keys of `mountd status --json`.

    Raises:
        NotFoundError: no mount of Moorage is there.
        MountPointError: the mount is dead, or its supervisor does not answer.
    """
    path = mounting.resolve(mountpoint)
    try:
        return records.ask(path, {"do": "status"}, _STATUS_TIMEOUT_S)
    except NotFoundError:
        _refuse_dead(path)
        raise


def _refuse_dead(path: Path) -> None:
    """Say what is at `path`, where nobody answers; return if nothing is."""
    if records.find(path) is not None:
        raise MountPointError(f"{path}: a dead mount, its supervisor is gone; clean it up: mountd unmount {path}")
    if clearing.is_ours(path):
        raise MountPointError(
            f"{path}: a mount without a record here: another user's, or dead, and then: mountd unmount {path}"
        )


def plan(mountpoint: Path, order: "array[int]", digest: str) -> None:
    """Tell the mount in which order its files will be read: `order` holds inodes (uint32), `digest` is its manifest's.

    Raises:
        NotFoundError: no mount of Moorage is there.
        BadInputError: the plan is for another dataset, or too long.
    """
    from mountd.contract.serving import sealed  # late: this module is imported where there are no memfds, too

    descriptor = sealed("plan", order.tobytes())
    try:
        request = {"do": "plan", "digest": digest}
        path = mounting.resolve(mountpoint)
        records.ask(path, request, _STATUS_TIMEOUT_S, name="plan", descriptors=[descriptor])
    finally:
        os.close(descriptor)


def credentials(mountpoint: Path, credential: Credential, source: str = "") -> list[str]:
    """Have the mount use another credential from now on, for `source` ('': every one); the URLs that it is used for.

    Raises:
        NotFoundError: no mount of Moorage is there.
        BadInputError: it has no such source.
        AccessDeniedError: the credential is for another account.
    """
    from mountd.contract.serving import sealed  # late: as above

    descriptor = sealed("credential", json.dumps(handed_on(credential).to_json()).encode())
    try:
        request = {"do": "credentials", "source": source}
        told = records.ask(mounting.resolve(mountpoint), request, _STATUS_TIMEOUT_S, descriptors=[descriptor])
    finally:
        os.close(descriptor)
    return list(told["sources"])


def commit(mountpoint: Path, timeout_s: float) -> dict[str, Any]:
    """Take the output at `mountpoint` off and bring all of it to the store: files, bytes, and etags by path.

    `timeout_s` bounds the wait for those who use it, and then the uploads.

    Raises:
        NotFoundError: no mount of Moorage is there.
        MountPointError: it is in use, and stays mounted.
        MountdError: not all is in the store; the rest stays in the spool, and the next mount of its URL goes on.
    """
    path = mounting.resolve(mountpoint)
    request = {"do": "commit", "timeout_s": timeout_s}
    record = records.find(path)
    told = records.ask(path, request, 2 * timeout_s + _STATUS_TIMEOUT_S)
    if record is not None:
        clearing.wait_for_end(record.supervisor)
    return told


def warm(mountpoint: Path, paths: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Bring the files at or below `paths` (none: all) to the disk cache; yield how far it is until it is done.

    Each step tells files, bytes, fetched_bytes, total_bytes; leaving the iterator ends the run.

    Raises:
        NotFoundError: no mount of Moorage is there, or a path is not in the dataset.
        BadInputError: there is no disk cache, or it is too small.
        MountPointError: the mount ended meanwhile.
        MountdError: the first failure, after everything else was brought.
    """
    request, path = {"do": "warm", "paths": list(paths)}, mounting.resolve(mountpoint)
    while True:
        with contextlib.suppress(LostError):
            for step in records.converse(path, request, _WARM_TIMEOUT_S):
                yield step
                if step.get("done"):
                    if failure := step["failure"]:
                        raise getattr(errors, failure["error"], DefectError)(failure["message"])
                    return
        record = records.find(path)
        if record is None or not record.alive:
            break
        # The worker died. The next one begins anew, and what is on the disk is not brought again.
    raise MountPointError(f"{mountpoint}: the mount ended before all was in the cache; mount and warm again")


def upgrade(mountpoint: Path, executable: str = sys.executable) -> int:
    """Have the code that the Python `executable` finds take over the mount, without a failed read; the new worker's pid.

    Raises:
        NotFoundError: no mount of Moorage is there.
        MountdError: the new code cannot serve it; the old goes on.
    """
    path = mounting.resolve(mountpoint)
    try:
        answer = records.ask(path, {"do": "upgrade", "executable": executable}, _UPGRADE_TIMEOUT_S)
    except NotFoundError:
        _refuse_dead(path)
        raise
    return int(answer["worker_pid"])
