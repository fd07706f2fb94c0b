"""The owner's side of a helper: its address, its start, its end.

`OwnHelper` belongs to a tree of processes: whoever of them needs it starts it, one at a time, and its forks hold its channel
together, so it ends when the last of them has. `HelperSeat` belongs to a launcher: it listens from the start, the helper is
executed when somebody first connects, and again when it was killed; those who connected meanwhile wait in the socket.

Invariant: an address is removed by whoever made it, and one whose owner was killed by the next helper that starts.
"""

import contextlib
import fcntl
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mountd import config, records
from mountd.contract import helping, starting
from mountd.contract.helping import Grant, HelperOrder
from mountd.contract.serving import sealed
from mountd.errors import DefectError, MountdError
from mountd.processes import ProcessId
from mountd.stores.credentials.origins import secret_variables

_READY_S = 30.0
_END_S = 5.0
_TRIES = 3  # of a helper that dies before it is ready


def order_of(
    grants: Collection[Grant], settings: Mapping[str, str] | None = None, *, idle_s: float | None = None
) -> HelperOrder:
    """An order with this process's settings and umask."""
    umask = os.umask(0o077)
    os.umask(umask)
    return HelperOrder(config.texts(config.load(settings or {}).settings), tuple(grants), idle_s, umask)


def new_address() -> str:
    """A socket's address that nobody has; those of dead owners are removed."""
    with _folder_held() as folder:
        for path in folder.iterdir():
            if not _is_owned(path) and not _is_answered(path):
                path.unlink(missing_ok=True)
        ours = ProcessId.of(os.getpid())
        return str(folder / f"{ours.pid:x}-{ours.start_ticks:x}-{secrets.token_hex(3)}")


def _is_owned(address: Path) -> bool:
    """Whether the process lives that made the address; then nobody need be asked, and no helper started by that."""
    pid, ticks, *_ = [*address.name.split("-"), "0"]
    try:
        return ProcessId(int(pid, 16), int(ticks, 16)).is_alive()
    except ValueError:
        return False


class HelperProcess:
    """One helper and our end of its channel; `fileno` is readable when it says something or has ended."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process, self._channel = process, channel

    @classmethod
    def start(cls, listener: socket.socket, order: HelperOrder, withheld: Collection[str] = ()) -> "HelperProcess":
        """Execute a helper that serves on `listener`; it says `ready` later.

        Raises:
            OSError: it cannot be executed.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hidden = secret_variables(each.credential for each in order.grants if each.credential) | set(withheld)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mountd.helper", str(listener.fileno()), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name not in hidden},
                pass_fds=[listener.fileno(), theirs.fileno()],
                start_new_session=True,  # Ctrl-C on the terminal is for its owner
            )
        text = sealed("order", order.to_json())
        try:
            with contextlib.suppress(ConnectionError):  # it is dead already: `hear` tells
                helping.send(ours, {"say": "order", "version": helping.VERSION}, (), [text])
        finally:
            os.close(text)
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fileno(self) -> int:
        """The channel."""
        return self._channel.fileno()

    def hear(self, timeout_s: float | None = _READY_S) -> bool:
        """Take what it says; False if it has ended without a word.

        Raises:
            MountdError: why it cannot be.
            TimeoutError: it says nothing.
        """
        self._channel.settimeout(timeout_s)
        packet = helping.receive(self._channel)
        if packet is not None:
            starting.raise_told(packet.told)
        return packet is not None

    def grant(self, grants: Collection[Grant]) -> None:
        """Let it open these places, too; errors as `hear`."""
        text = sealed("grants", json.dumps([each.to_json() for each in grants]).encode())
        try:
            helping.send(self._channel, {"say": "grants"}, (), [text])
        finally:
            os.close(text)
        self.hear()

    def has_ended(self) -> bool:
        """Whether its side of the channel is closed; asks nobody."""
        poll = select.poll()
        poll.register(self._channel, select.POLLRDHUP)
        return bool(poll.poll(0))

    def was_killed(self) -> bool:
        """How it ended, once it has: True if by a signal."""
        return self._process.wait() < 0

    def stop(self) -> None:
        """Close our side, which ends it, and wait for that; one that does not end is killed."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)  # also for forks of this process, which hold it, too
        self._channel.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def leave(self) -> None:
        """Forget it, in a fork: it is the parent's to end and to wait for."""
        self._channel.close()
        self._process.returncode = 0  # Popen must not warn of it


class HelperSeat:
    """A place where a helper is started on demand; the owner watches `fileno` and calls `attend` when it is readable."""

    def __init__(self, order: HelperOrder, withheld: Collection[str] = ()) -> None:
        self._order, self._withheld = order, withheld
        self.address = new_address()
        self._listener = listen(self.address)
        self._process: HelperProcess | None = None
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """The helper's process id, while there is one."""
        return self._process.pid if self._process is not None else None

    def fileno(self) -> int:
        """What to watch: the helper while there is one, else whoever wants one."""
        return (self._process or self._listener).fileno()

    @property
    def is_closed(self) -> bool:
        """True when no helper will come any more."""
        return self._listener.fileno() < 0

    def attend(self) -> str | None:
        """Start a helper, or hear the one there is; a line about it if it will not be started again."""
        if self._process is None:
            try:
                self._process = HelperProcess.start(self._listener, self._order, self._withheld)
            except OSError as error:
                return self._failed(str(error))
            return None
        try:
            if self._process.hear():
                self._failures = 0
                return None
            why = "it died"
        except Exception as error:  # noqa: BLE001  # whatever it is, the owner goes on
            why = str(error)
        self._process.stop()
        self._process = None
        return self._failed(why)

    def _failed(self, why: str) -> str | None:
        self._failures += 1
        if self._failures < _TRIES:
            return None
        self.close()
        return f"no helper for the job's own reads of the workspace: {why}"

    def close(self) -> None:
        """End the helper and remove the address."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
        self._listener.close()
        Path(self.address).unlink(missing_ok=True)


class OwnHelper:
    """The helper of this process and its forks: `ensure` starts it where none answers."""

    def __init__(self, order: HelperOrder, withheld: Collection[str] = ()) -> None:
        self._order, self._withheld, self.address = order, withheld, new_address()
        self._process: HelperProcess | None = None
        self._started_by = self._made_by = os.getpid()

    @property
    def pid(self) -> int:
        """The process id of the one that this process knows; 0 if it knows none."""
        return self._process.pid if self._process is not None else 0

    def ensure(self) -> None:
        """Start it, unless somebody serves already.

        Raises:
            MountdError: it cannot be.
        """
        with _folder_held():
            if _is_answered(Path(self.address)):
                return
            self._leave()
            Path(self.address).unlink(missing_ok=True)
            with listen(self.address) as listener:
                process = HelperProcess.start(listener, self._order, self._withheld)
            self._process, self._started_by = process, os.getpid()
            try:
                if not process.hear():
                    raise DefectError("the helper died before it was ready; stderr has why")  # noqa: TRY301  # as below
            except BaseException as error:
                process.stop()
                Path(self.address).unlink(missing_ok=True)
                self._process = None
                if isinstance(error, TimeoutError):
                    raise DefectError(f"no helper within {_READY_S:g} s; is the machine overloaded?") from None
                raise
        threading.Thread(target=self._mind, args=(process,), name="helper", daemon=True).start()

    def grant(self, grants: Collection[Grant]) -> None:
        """Let it open these places, too, now and after a restart. Before a fork, for forks have orders of their own."""
        new = tuple(each for each in grants if each not in self._order.grants)
        if not new:
            return
        self._order = replace(self._order, grants=(*self._order.grants, *new))
        if self._process is not None and not self._process.has_ended():
            self._process.grant(new)

    def close(self) -> None:
        """End it, if this process started it, and remove the address, if this process made it."""
        self._leave()
        if os.getpid() == self._made_by:
            Path(self.address).unlink(missing_ok=True)

    def _leave(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            (process.stop if os.getpid() == self._started_by else process.leave)()

    def _mind(self, process: HelperProcess) -> None:
        """Start another when this one was killed: processes that were spawned know its address and cannot."""
        poll = select.poll()
        # Closed by `close`; or no other can be started, which whoever asks next is told.
        with contextlib.suppress(OSError, ValueError, MountdError):
            poll.register(process.fileno(), select.POLLRDHUP)
            poll.poll()
            if self._process is process and process.was_killed():
                self.ensure()


def listen(address: str) -> socket.socket:
    """A packet socket that listens there, for this user alone."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(address)
        Path(address).chmod(0o600)  # the folder is this user's alone, so nobody was quicker
        listener.listen(helping.MOST_CONNECTIONS)
    except BaseException:
        listener.close()
        raise
    return listener


@contextmanager
def _folder_held() -> Iterator[Path]:
    """The folder of addresses, held by one process at a time."""
    folder = records.runtime_folder() / "helpers"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)


def _is_answered(address: Path) -> bool:
    """Whether anybody listens there, were he ever so busy."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(address))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True
