"""The start of a mount: a supervisor is executed, gets its order over a socket, and answers when the mount does."""

import os
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

from mountd import clearing, config
from mountd.client.asking import status
from mountd.client.ending import stop
from mountd.contract import starting
from mountd.contract.starting import Order, Output
from mountd.errors import BadInputError, DefectError, FuseUnavailableError, MountdError, MountPointError
from mountd.fuse import mounting
from mountd.processes import ProcessId, own_umask
from mountd.stores.credentials import Credential
from mountd.stores.credentials.origins import secret_variables

_END_TIMEOUT_S = 15.0


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


def start_output(
    output: Output,
    mountpoint: Path,
    *,
    credential: Credential | None = None,
    settings: Mapping[str, str] | None = None,
    lifeline: bool = False,
    mark: str = "",
    log_level: str = "WARNING",
    timeout_s: float = 30,
    withheld: Collection[str] = (),
) -> Mount:
    """Mount an output read-write, and return when it answers; else as `start`.

    With `lifeline` nothing is committed but by `commit`: whoever holds the lifeline knows whether the output is wanted.
    """
    order = Order(
        manifest=Path(),
        mountpoint=mounting.resolve(mountpoint),
        source=output.url + output.prefix,
        settings=config.texts(config.load(settings or {}).settings),
        credentials={output.url: credential} if credential is not None else {},
        lifeline=lifeline,
        mark=mark,
        owner=ProcessId.of(os.getpid()),
        log_level=log_level,
        output=output,
        umask=own_umask(),
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
