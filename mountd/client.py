"""For callers of a mount: may one be made, make it, ask it, end it, clean up after it.

`start` executes a worker and returns when the mount answers; see `contract` for how the two speak. Everything else works on
the records of this user's mounts, whoever made them. Nothing here touches a mount point that may hang.

Works everywhere as an import; where there is no FUSE, `why_no_fuse` says so and `start` raises what it says.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from mountd import contract, errors, processes, records
from mountd.contract import Order
from mountd.errors import DefectError, FuseUnavailableError, MountdError, MountPointError, NotFoundError
from mountd.fuse import mounting
from mountd.processes import ProcessId
from mountd.records import MountRecord
from mountd.stores.credentials import SECRET_VARIABLES, Credential

try:
    import fcntl
except ImportError:  # not on this platform, which has no mounts either
    fcntl = None  # type: ignore[assignment]  # mypy checks for Linux

if TYPE_CHECKING:
    from array import array

__all__ = [
    "Mount",
    "MountRecord",
    "detach",
    "mounts",
    "plan",
    "start",
    "status",
    "stop",
    "sweep",
    "warm",
    "why_no_fuse",
]

_WARM_TIMEOUT_S = 120.0  # between two steps: longer than one read's deadline
_STATUS_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 10.0


def why_no_fuse(driver: str = "native") -> str | None:
    """Why no mount can be made here by this driver, in one line with the remedy; None if one can."""
    return mounting.why_not(driver)


class Mount:
    """A mount that this process made; leaving the context ends it.

    `fileno` is readable when the worker has ended: select on it to notice.
    """

    def __init__(self, mountpoint: Path, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self.mountpoint, self._process, self._channel = mountpoint, process, channel

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """The worker's lifeline: at its end when the worker is."""
        return self._channel.fileno()

    def wait(self) -> int:
        """Wait for the end of the worker; its exit code, negative for a signal."""
        return self._process.wait()

    def status(self) -> dict[str, Any]:
        """As the function `status`."""
        return status(self.mountpoint)

    def stop(self, timeout_s: float = 30) -> None:
        """End the mount: wait up to `timeout_s` for it to be idle, then detach it. A dead worker's mount is detached."""
        try:
            stop(self.mountpoint, timeout_s=timeout_s)
        except MountdError:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
        self._channel.close()  # the lifeline: whoever still has files open is not waited for
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        detach(self.mountpoint)

    def release(self) -> None:
        """Let the worker go on alone; this object is of no more use."""
        self._channel.close()
        self._process.returncode = 0  # the worker is nobody's child from now on; Popen must not warn of it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    manifest: Path,
    mountpoint: Path,
    *,
    source: str = "",
    credentials: Mapping[str, Credential] | None = None,
    settings: Mapping[str, str] | None = None,
    lifeline: bool = False,
    mark: str = "",
    owns_manifest: bool = False,
    log_level: str = "WARNING",
    timeout_s: float = 30,
) -> Mount:
    """Mount `manifest` on `mountpoint` and return when it answers.

    `lifeline`: the mount ends with this process. `mark`: NAME=VALUE in the environment of the processes that use the mount
    on behalf of this one; if the two die, `sweep` ends those.

    Raises:
        FuseUnavailableError: no mount can be made here.
        MountPointError: this mount point cannot be used.
        MountdError: as the manifest, stores and settings raise it.
    """
    reason = why_no_fuse((settings or {}).get("driver", "native"))
    if reason is not None:
        raise FuseUnavailableError(f"{mountpoint}: cannot mount: {reason}; or download, which needs no FUSE")
    order = Order(
        manifest=Path(manifest).absolute(),
        mountpoint=mounting.resolve(mountpoint),
        source=source,
        settings=settings or {},
        credentials=credentials or {},
        lifeline=lifeline,
        mark=mark,
        owner=ProcessId.of(os.getpid()),
        owns_manifest=owns_manifest,
        log_level=log_level,
    )
    channel, process = _execute(inherit_errors=lifeline)
    try:
        channel.settimeout(timeout_s)
        _hand_over(channel, order, timeout_s)
        channel.settimeout(None)
    except BaseException as error:  # Ctrl-C, too, must leave nothing behind
        process.kill()
        process.wait()
        channel.close()
        if not isinstance(error, MountdError) or isinstance(error, DefectError):
            detach(order.mountpoint)  # what the worker told of, it has undone; what killed it, it has not
        raise
    return Mount(order.mountpoint, process, channel)


def _hand_over(channel: socket.socket, order: Order, timeout_s: float) -> None:
    """Give the worker its order and wait until the mount answers."""
    try:
        contract.send_order(channel, order)
        contract.receive_answer(channel)
    except EOFError:
        raise DefectError(f"{order.mountpoint}: the worker died before it was ready; --foreground shows why") from None
    except OSError as error:
        what = f"{order.mountpoint}: no mount within {timeout_s:g} s"
        raise DefectError(f"{what} ({error}); is the machine overloaded?") from error


def mounts() -> list[MountRecord]:
    """The mounts of this user, dead ones included."""
    return records.every()


def status(mountpoint: Path) -> dict[str, Any]:
    """What the mount at `mountpoint` does: the keys of `mountd status --json`.

    Raises:
        NotFoundError: no mount of Moorage is there.
        MountPointError: the mount is dead, or its worker does not answer.
    """
    path = mounting.resolve(mountpoint)
    try:
        return records.ask(path, {"do": "status"}, _STATUS_TIMEOUT_S)
    except NotFoundError:
        if _is_ours(path):
            raise MountPointError(
                f"{path}: a dead mount, its worker is gone; clean it up: mountd unmount {path}"
            ) from None
        raise


def plan(mountpoint: Path, order: "array[int]", digest: str) -> None:
    """Tell the mount in which order its files will be read: `order` holds inodes (uint32), `digest` is its manifest's.

    Raises:
        NotFoundError: no mount of Moorage is there.
        BadInputError: the plan is for another dataset, or too long.
    """
    with contextlib.closing(_sealed(order)) as sealed:
        request = {"do": "plan", "digest": digest}
        records.ask(
            mounting.resolve(mountpoint), request, _STATUS_TIMEOUT_S, name="plan", descriptors=[sealed.fileno()]
        )


def warm(mountpoint: Path, paths: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Bring the files at or below `paths` (none: all) to the disk cache; yield how far it is until it is done.

    Each step tells files, bytes, fetched_bytes, total_bytes; leaving the iterator ends the run.

    Raises:
        NotFoundError: no mount of Moorage is there, or a path is not in the dataset.
        BadInputError: there is no disk cache, or it is too small.
        MountPointError: the mount ended meanwhile.
        MountdError: the first failure, after everything else was brought.
    """
    request = {"do": "warm", "paths": list(paths)}
    for step in records.converse(mounting.resolve(mountpoint), request, _WARM_TIMEOUT_S):
        yield step
        if step.get("done"):
            if failure := step["failure"]:
                raise getattr(errors, failure["error"], DefectError)(failure["message"])
            return
    raise MountPointError(f"{mountpoint}: the mount ended before all was in the cache; mount and warm again")


def _sealed(order: "array[int]") -> BinaryIO:
    descriptor = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stream = os.fdopen(descriptor, "r+b")
    stream.write(order.tobytes())
    stream.flush()
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return stream


def stop(mountpoint: Path, *, force: bool = False, timeout_s: float = 30) -> bool:
    """End the mount at `mountpoint`; True if it was in use and had to be detached.

    Waits up to `timeout_s` for the mount to be idle. Then it is detached: readers keep what they have open and the worker
    serves them to the end, unless `force`, which ends the worker too. A dead mount is detached.

    Raises:
        NotFoundError: no mount of Moorage is there.
        MountPointError: the worker lives and does not answer (not with `force`).
    """
    path = mounting.resolve(mountpoint)
    record = records.find(path)
    try:
        request = {"do": "stop", "timeout_s": 0 if force else timeout_s, "force": force}
        answer = records.ask(path, request, timeout_s + _STATUS_TIMEOUT_S)
    except NotFoundError:
        if record is None and not _is_ours(path):
            raise
        _clear(path, record, force=force)
        return False
    except MountPointError:
        if not force:
            raise
        _clear(path, record, force=True)
        return True
    if record is not None and (force or not answer.get("busy")):
        _wait_for_end(record.worker)
    return bool(answer.get("busy"))


def _clear(path: Path, record: MountRecord | None, *, force: bool) -> None:
    """Detach the mount of a worker that is dead, is dying, or (with `force`) is to be killed."""
    if record is not None:
        if force:
            record.worker.kill()
        if not _wait_for_end(record.worker):
            raise MountPointError(f"{path}: its worker (process {record.pid}) lives and does not answer; use --force")
    detach(path)


def detach(mountpoint: Path) -> None:
    """Take a dead mount off `mountpoint` and forget its record; a living one, and no mount at all, are left alone."""
    path = mounting.resolve(mountpoint)
    claim = _claim_of_the_dead(path)
    if claim is not None:
        with claim:
            if _is_ours(path):
                mounting.unmount(path, lazy=True)


def _claim_of_the_dead(path: Path) -> records.Claim | None:
    """The claim of a mount point whose worker is dead; None if somebody lives there, or mounts there at this moment."""
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
    """Clean up after owners and workers that died: return what was done, a line each.

    A mount whose owner is dead is ended, and so is every process of this user that carries its mark; a mount whose worker
    is dead is detached.
    """
    done: list[str] = []
    for record in records.every():
        orphaned = record.owner is not None and not record.owner.is_alive()
        if orphaned and record.mark:
            done += [
                f"ended process {each.pid} of {record.mark}" for each in processes.with_mark(record.mark) if each.kill()
            ]
        if orphaned and record.worker.kill():
            _wait_for_end(record.worker)
        if not record.alive:
            detach(record.mountpoint)
            done.append(f"detached the dead mount {record.mountpoint}")
    return done


def _execute(*, inherit_errors: bool) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    with theirs:
        environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mountd.daemon", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if inherit_errors else subprocess.DEVNULL,
            env=environment,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C on the terminal is for whoever owns the mount, not for the mount
        )
    return ours, process


def _is_ours(path: Path) -> bool:
    entry = mounting.find(path)
    return entry is not None and entry.fs_type == mounting.FS_TYPE


def _wait_for_end(worker: ProcessId) -> bool:
    end = time.monotonic() + _END_TIMEOUT_S
    while worker.is_alive():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)  # not our child, so there is nothing to wait on
    return True
