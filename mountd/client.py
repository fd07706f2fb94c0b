"""For callers of a mount: may one be made, make it, ask it, end it, clean up after it.

`start` executes a supervisor and returns when the mount answers; see `contract.starting` for how the two speak. Everything
else works on the records of this user's mounts, whoever made them. Nothing here touches a mount point that may hang.

Works everywhere as an import; where there is no FUSE, `why_no_fuse` says so and `start` raises what it says.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from mountd import clearing, config, errors, records
from mountd.clearing import detach, sweep
from mountd.contract import starting
from mountd.contract.starting import Order
from mountd.errors import BadInputError, DefectError, FuseUnavailableError, MountdError, MountPointError, NotFoundError
from mountd.fuse import mounting
from mountd.processes import ProcessId
from mountd.records import LostError, MountRecord
from mountd.stores.credentials import Credential
from mountd.stores.credentials.origins import handed_on, secret_variables

if TYPE_CHECKING:
    from array import array

__all__ = [
    "Mount",
    "MountRecord",
    "become",
    "credentials",
    "detach",
    "mounts",
    "plan",
    "start",
    "status",
    "stop",
    "sweep",
    "upgrade",
    "warm",
    "why_no_fuse",
]

_WARM_TIMEOUT_S = 120.0  # between two steps: longer than one read's deadline
_STATUS_TIMEOUT_S = 10.0
_FORCE_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 15.0
_UPGRADE_TIMEOUT_S = 90.0


def why_no_fuse(driver: str = "native") -> str | None:
    """Why no mount can be made here by this driver, in one line with the remedy; None if one can."""
    return mounting.why_not(driver)


class Mount:
    """A mount that this process made; leaving the context ends it.

    `fileno` is readable when the supervisor has ended: select on it to notice. Workers come and go; it minds them.
    """

    def __init__(self, mountpoint: Path, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self.mountpoint, self._process, self._channel = mountpoint, process, channel

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """The supervisor's lifeline: at its end when the supervisor is."""
        return self._channel.fileno()

    def wait(self) -> int:
        """Wait for the end of the supervisor; its exit code, negative for a signal."""
        return self._process.wait()

    def status(self) -> dict[str, Any]:
        """As the function `status`."""
        return status(self.mountpoint)

    def stop(self, timeout_s: float = 30) -> None:
        """End the mount: wait up to `timeout_s` for it to be idle, then detach it. A dead mount is detached."""
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
        clearing.detach(self.mountpoint)

    def release(self) -> None:
        """Let the mount go on alone; this object is of no more use."""
        self._channel.close()
        self._process.returncode = 0  # the supervisor is nobody's child from now on; Popen must not warn of it

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
    withheld: Collection[str] = (),
) -> Mount:
    """Mount `manifest` on `mountpoint` and return when it answers.

    `lifeline`: the mount ends with this process. `mark`: NAME=VALUE in the environment of the processes that use the mount
    on behalf of this one; if the two die, `sweep` ends those. `withheld`: variables of ours that the mount's must not
    have, beside those of its own credentials.

    Raises:
        FuseUnavailableError: no mount can be made here.
        MountPointError: this mount point cannot be used.
        MountdError: as the manifest, stores and settings raise it.
    """
    order = Order(
        manifest=Path(manifest).absolute(),
        mountpoint=mounting.resolve(mountpoint),
        source=source,
        settings=config.texts(config.load(settings or {}).settings),  # in full: every process of the mount goes by them
        credentials=credentials or {},
        lifeline=lifeline,
        mark=mark,
        owner=ProcessId.of(os.getpid()),
        owns_manifest=owns_manifest,
        log_level=log_level,
    )
    return start_order(order, timeout_s, withheld)


def start_order(order: Order, timeout_s: float = 30, withheld: Collection[str] = ()) -> Mount:
    """As `start`, of an order."""
    refuse_without_fuse(order)
    channel, process = _execute(order, withheld)
    try:
        channel.settimeout(timeout_s)
        _hand_over(channel, order, timeout_s)
        channel.settimeout(None)
    except BaseException as error:  # Ctrl-C, too, must leave nothing behind
        process.kill()
        process.wait()
        channel.close()
        if not isinstance(error, MountdError) or isinstance(error, DefectError):
            clearing.detach(order.mountpoint)  # what the supervisor told of, it has undone; what killed it, it has not
        raise
    return Mount(order.mountpoint, process, channel)


def become(order: Order) -> NoReturn:
    """Let this very process become the supervisor of a mount in the foreground; it leaves with its exit code.

    Raises:
        FuseUnavailableError: no mount can be made here.
        BadInputError: the order is too long.
        OSError: it cannot be executed.
    """
    refuse_without_fuse(order)
    ours, theirs = socket.socketpair()
    ours.settimeout(1)
    try:
        starting.send_order(ours, order)  # it waits in the socket, where nobody reads yet
    except TimeoutError:
        raise BadInputError(
            f"{order.mountpoint}: too many credentials for a mount in the foreground; leave out --foreground"
        ) from None
    theirs.set_inheritable(True)
    for name in secret_variables(order.credentials.values()):
        os.environ.pop(name, None)
    command = _command(theirs.fileno(), "--foreground")
    os.execv(command[0], command)  # noqa: S606  # becoming it is the point


def refuse_without_fuse(order: Order) -> None:
    """See that this mount can be made.

    Raises:
        FuseUnavailableError: no mount can be made here, by its driver.
        MountPointError: its processes may have too few files open.
    """
    reason = why_no_fuse(order.driver)
    if reason is not None:
        raise FuseUnavailableError(f"{order.mountpoint}: cannot mount: {reason}; or download, which needs no FUSE")
    from mountd.hardening import why_too_few_descriptors  # `resource` is not there on every system

    if (why := why_too_few_descriptors()) is not None:
        raise MountPointError(f"{order.mountpoint}: cannot mount: {why}")


def _hand_over(channel: socket.socket, order: Order, timeout_s: float) -> None:
    """Give the supervisor its order and wait until the mount answers."""
    try:
        starting.send_order(channel, order)
        starting.receive_answer(channel)
    except EOFError:
        raise DefectError(
            f"{order.mountpoint}: the supervisor died before it was ready; --foreground shows why"
        ) from None
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
        answer = records.ask(path, request, _FORCE_TIMEOUT_S if force else timeout_s + _STATUS_TIMEOUT_S)
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


def _execute(order: Order, withheld: Collection[str] = ()) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    with theirs:
        secret = secret_variables(order.credentials.values()) | set(withheld)
        environment = {name: value for name, value in os.environ.items() if name not in secret}
        process = subprocess.Popen(
            _command(theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if order.lifeline else subprocess.DEVNULL,
            env=environment,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C on the terminal is for whoever owns the mount, not for the mount
        )
    return ours, process


def _command(channel: int, *flags: str) -> list[str]:
    return [sys.executable, "-P", "-m", "mountd.supervisor", *flags, str(channel)]
