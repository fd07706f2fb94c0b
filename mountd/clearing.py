"""Cleaning up after the dead: mounts without a supervisor, and mounts whose owner is gone.

Everything here works on the records of this user's mounts; only the holder of a mount point's claim takes a mount off it.
"""

import time
from pathlib import Path

from mountd import processes, records
from mountd.errors import MountPointError
from mountd.fuse import mounting
from mountd.processes import ProcessId, boot_id

_END_TIMEOUT_S = 15.0


def detach(mountpoint: Path) -> None:
    """Take a dead mount off `mountpoint` and forget its record; a living one, and no mount at all, are left alone."""
    path = mounting.resolve(mountpoint)
    claim = _claim_of_the_dead(path)
    if claim is not None:
        with claim:
            record = records.find(path)
            if record is not None and record.boot == boot_id():
                record.worker.kill()  # one that was stopped, or hangs, would hold the device and its readers for ever
            if is_ours(path):
                mounting.unmount(path, lazy=True)
            if record is not None and record.manifest is not None:
                record.manifest.unlink(missing_ok=True)


def _claim_of_the_dead(path: Path) -> records.Claim | None:
    """The claim of a mount point whose supervisor is dead; None if somebody lives there, or mounts there at this moment."""
    end = time.monotonic() + _END_TIMEOUT_S
    while (record := records.find(path)) is None or not record.alive:
        try:
            return records.Claim(path)
        except MountPointError:
            if record is None or time.monotonic() > end:
                return None
            time.sleep(0.01)  # a killed process counts as dead a moment before all of its threads have let go
    return None


def sweep() -> list[str]:
    """Clean up after owners and supervisors that died: return what was done, a line each.

    A mount whose owner is dead is ended, and so is every process of this user that carries its mark; a mount whose
    supervisor is dead is detached, unless its device is kept for another.
    """
    done: list[str] = []
    for record in records.every():
        orphaned = record.owner is not None and not record.owner.is_alive()
        if orphaned and record.mark:
            done += [
                f"ended process {each.pid} of {record.mark}" for each in processes.with_mark(record.mark) if each.kill()
            ]
        if orphaned and record.kill():
            wait_for_end(record.supervisor)
        if not record.alive and not _is_kept(record):
            detach(record.mountpoint)
            done.append(f"detached the dead mount {record.mountpoint}")
    return done


def _is_kept(record: records.MountRecord) -> bool:
    """Whether somebody has the device of a mount whose processes are dead: a service manager does, until the next start."""
    if not is_ours(record.mountpoint):
        return False
    return wait_for_end(record.worker) and is_ours(record.mountpoint) and not mounting.is_dead(record.mountpoint)


def is_ours(path: Path) -> bool:
    """Whether a mount of Moorage is on top at the absolute `path`."""
    entry = mounting.find(path)
    return entry is not None and entry.fs_type == mounting.FS_TYPE


def wait_for_end(process: ProcessId) -> bool:
    """Wait a bounded time for the end of a process that is not our child; True if it has ended."""
    end = time.monotonic() + _END_TIMEOUT_S
    while process.is_alive():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)  # not our child, so there is nothing to wait on
    return True
