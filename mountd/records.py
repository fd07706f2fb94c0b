"""What is mounted on this machine by this user: a folder for each mount, with a record and a control socket.

    <runtime folder>/mounts/<id>/record.json    who serves which mount point
                                 control        the owner's socket: JSON lines, one request and one answer a connection
                                 plan           the socket of those who may read the mount
                                 log            what is said of a mount without an owner (bounded)
                   mounts/<id>.lock             held by whoever serves the mount point or takes a dead mount off it

The runtime folder is /run/mountd for root, $XDG_RUNTIME_DIR/mountd for others. The id is a hash of the mount point, so that
there is one record for each, found without a search. A record whose supervisor is dead, or that was written before the
machine started, is a dead mount, found by the next who looks. Records hold no secret; the folder is the user's alone.

Invariant: only the holder of a mount point's `Claim` mounts there, detaches what is there, or touches its record.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from mountd import errors
from mountd.errors import BadInputError, DefectError, MountPointError, NotFoundError
from mountd.processes import ProcessId, boot_id

try:
    import fcntl
except ImportError:  # not on this platform, which has no mounts either
    fcntl = None  # type: ignore[assignment]  # mypy checks for Linux

_ANSWER_LIMIT_BYTES = 1 << 20
_TRIES = 5
_LONGEST_FOLDER = 107 - len("/mounts/0123456789abcdef/control")  # a socket's address has room for 107 bytes


class LostError(MountPointError):
    """Whoever was asked has died before he answered, or as he did."""


@dataclass(frozen=True, slots=True)
class MountRecord:
    """One mount: its processes, whose it is. `mark` is NAME=VALUE in the environment of its owner's processes.

    `manifest` is a file that goes with the mount; `boot` names the run of the machine that the process ids are of;
    `is_output`: it is written to, and committed at its end.
    """

    mountpoint: Path
    source: str
    supervisor: ProcessId
    worker: ProcessId
    mark: str = ""
    owner: ProcessId | None = None
    manifest: Path | None = None
    boot: str = field(default_factory=boot_id)
    is_output: bool = False

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self.supervisor.pid

    @property
    def alive(self) -> bool:
        """True if the supervisor runs."""
        return self.boot == boot_id() and self.supervisor.is_alive()

    def kill(self) -> bool:
        """End supervisor and worker at once; True if the supervisor was alive."""
        if not self.alive:
            return False
        killed = self.supervisor.kill()  # the first, or it would replace the other
        self.worker.kill()
        return killed


def runtime_folder() -> Path:
    """The folder of this user's records, made if it is missing.

    Raises:
        BadInputError: it belongs to somebody else.
    """
    uid = os.geteuid() if hasattr(os, "geteuid") else 0
    folder = next(path for path in _candidates(uid) if len(os.fsencode(path)) <= _LONGEST_FOLDER)
    folder.mkdir(mode=0o700, exist_ok=True)
    told = folder.lstat()
    if hasattr(os, "geteuid") and (told.st_uid != uid or told.st_mode & 0o077):
        raise BadInputError(f"{folder}: must be yours alone (0700); remove it or set XDG_RUNTIME_DIR")
    return folder


def _candidates(uid: int) -> Iterator[Path]:
    """Where records may lie, the best first; not below TMPDIR, which differs between processes of one user."""
    if uid == 0 and Path("/run").is_dir():
        yield Path("/run/mountd")
    elif (given := os.environ.get("XDG_RUNTIME_DIR")) and Path(given).is_dir():
        yield Path(given) / "mountd"
    yield Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()) / f"mountd-{uid}"  # noqa: S108  # checked


def folder_of(mountpoint: Path) -> Path:
    """Where the record of `mountpoint` (absolute) lies; short enough for a socket's address."""
    name = hashlib.blake2b(os.fsencode(mountpoint), digest_size=8).hexdigest()
    return runtime_folder() / "mounts" / name


class Claim:
    """The sole right to one mount point; falls to others when it is released, and when its process ends.

    A worker that serves on after its mount was detached has released its claim: what the next one keeps is not its own.
    """

    def __init__(self, mountpoint: Path, held: int | None = None) -> None:
        """Take the claim; `held`: the descriptor of one that this process had before it executed itself anew.

        Raises:
            MountPointError: another process has it.
        """
        self._mountpoint = mountpoint
        self._lock = folder_of(mountpoint).with_suffix(".lock")
        self._lock.parent.mkdir(mode=0o700, exist_ok=True)
        self._descriptor = held
        while self._descriptor is None:
            self._descriptor = self._try()

    def fileno(self) -> int:
        """The descriptor that holds it; -1 when it has been released."""
        return -1 if self._descriptor is None else self._descriptor

    def release(self) -> None:
        """Forget the record and let others have the mount point; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                # If the lock was removed, what is there now is another's.
                if os.path.samestat(os.fstat(descriptor), self._lock.stat()):
                    remove(self._mountpoint)
                    self._lock.unlink(missing_ok=True)
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _try(self) -> int | None:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), self._lock.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # its last holder removed the file between our open and our lock: what we hold is not the lock any more
        except BlockingIOError:
            os.close(descriptor)
            raise MountPointError(
                f"{self._mountpoint}: mounted already, or about to be; end that first: mountd unmount {self._mountpoint}"
            ) from None
        os.close(descriptor)
        return None


def write(record: MountRecord) -> Path:
    """Keep `record`, whole or not at all; return its folder."""
    folder = folder_of(record.mountpoint)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = folder / "record.half"
    half.write_text(json.dumps(asdict(record), default=os.fsdecode))
    half.replace(folder / "record.json")
    return folder


def remove(mountpoint: Path) -> None:
    """Forget the record of `mountpoint`; none is no error."""
    shutil.rmtree(folder_of(mountpoint), ignore_errors=True)


def find(mountpoint: Path) -> MountRecord | None:
    """The record of `mountpoint` (absolute)."""
    return _read(folder_of(mountpoint))


def every() -> list[MountRecord]:
    """All records of this user, dead mounts included."""
    found = (_read(path.parent) for path in sorted(runtime_folder().glob("mounts/*/record.json")))
    return [record for record in found if record is not None]


def ask(
    mountpoint: Path,
    request: dict[str, Any],
    timeout_s: float,
    *,
    name: str = "control",
    descriptors: Sequence[int] = (),
) -> dict[str, Any]:
    """Send `request` to the worker of `mountpoint`, over its socket `name`, and return its answer.

    Raises:
        NotFoundError: nobody serves this mount point.
        MountPointError: the mount does not answer in time.
        MountdError: what it says of the request.
    """
    for _ in range(_TRIES):  # the worker may die with the request; the next one answers it as well
        with contextlib.suppress(LostError):
            return next(converse(mountpoint, request, timeout_s, name=name, descriptors=descriptors))
    return next(converse(mountpoint, request, timeout_s, name=name, descriptors=descriptors))


def converse(
    mountpoint: Path,
    request: dict[str, Any],
    timeout_s: float,
    *,
    name: str = "control",
    descriptors: Sequence[int] = (),
) -> Iterator[dict[str, Any]]:
    """As `ask`, but yield every answer until the worker has no more; `timeout_s` bounds the wait for each."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(folder_of(mountpoint) / name))
            socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], descriptors)
            with connection.makefile("rb") as stream:
                line = stream.readline(_ANSWER_LIMIT_BYTES)
                if not line:
                    raise LostError(f"{mountpoint}: hung up before it answered; try again")
                while line:
                    yield _checked(dict(json.loads(line)))
                    line = stream.readline(_ANSWER_LIMIT_BYTES)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotFoundError(f"{mountpoint}: no mount of Moorage; `mountd status` lists those there are") from None
        except (ConnectionResetError, BrokenPipeError):
            raise LostError(f"{mountpoint}: hung up before it answered; try again") from None
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "no answer"
            raise MountPointError(f"{mountpoint}: it does not answer ({said}); mountd unmount --force") from error


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        kind = getattr(errors, str(answer["error"]), DefectError)
        raise kind(str(answer.get("message")))
    return answer


def _read(folder: Path) -> MountRecord | None:
    try:
        told = json.loads((folder / "record.json").read_text())
        return MountRecord(
            Path(told["mountpoint"]),
            told["source"],
            ProcessId(**told["supervisor"]),
            ProcessId(**told["worker"]),
            told["mark"],
            ProcessId(**told["owner"]) if told["owner"] else None,
            Path(told["manifest"]) if told["manifest"] else None,
            told["boot"],
            told.get("is_output", False),  # an older version says nothing of it
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # being written, being removed, or no record
