"""The end of a mount, whoever made it: waited for, forced, or only cleaned up after."""

from pathlib import Path

from mountd import clearing, records
from mountd.errors import MountPointError, NotFoundError
from mountd.fuse import mounting
from mountd.records import MountRecord

_ANSWER_TIMEOUT_S = 10.0
_FORCE_TIMEOUT_S = 5.0


def stop(mountpoint: Path, *, force: bool = False, timeout_s: float = 30) -> bool:
    """End the mount at `mountpoint`; True if it was in use and had to be detached.

    Waits up to `timeout_s` for the mount to be idle. Then it is detached: readers keep what they have open and are
    served to the end, unless `force`. A dead mount is detached.

    Raises:
        NotFoundError: no mount of Moorage is there.
        MountPointError: the supervisor lives and does not answer (not with `force`).
    """
    path = mounting.resolve(mountpoint)
    record = records.find(path)
    try:
        request = {"do": "stop", "timeout_s": 0 if force else timeout_s, "force": force}
        answer = records.ask(path, request, _FORCE_TIMEOUT_S if force else timeout_s + _ANSWER_TIMEOUT_S)
    except NotFoundError:
        if record is None and not clearing.is_ours(path):
            raise
        _clear(path, record, force=force)
        return False
    except MountPointError:
        if not force:
            raise
        _clear(path, record, force=True)
        return True
    if record is not None and (force or not answer.get("busy")):
        clearing.wait_for_end(record.supervisor)
    return bool(answer.get("busy"))


def _clear(path: Path, record: MountRecord | None, *, force: bool) -> None:
    """Detach the mount of a supervisor that is dead, is dying, or (with `force`) is to be killed."""
    if record is not None:
        if force:
            record.kill()
        if not clearing.wait_for_end(record.supervisor):
            raise MountPointError(
                f"{path}: its supervisor (process {record.pid}) lives and does not answer; use --force"
            )
    clearing.detach(path)
