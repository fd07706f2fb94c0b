"""A helper as those see it that it reads for: connections, frozen files, lists, uploads, downloads.

Each thread of each process has a connection of its own, made when it first asks; a fork closes those that it inherited and
makes its own. A `Helper` can be pickled (to a spawned worker): what travels is the address, never a secret. A connection
that is lost is made again and the request repeated, unless it is one that writes; the owner's processes start another helper
for that, everybody else waits for it to come.

Invariant: no lock is held here that a fork could inherit.
"""

import contextlib
import io
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mountd.contract import helping, starting
from mountd.contract.helping import Grant, Packet
from mountd.contract.serving import sealed
from mountd.dataset.manifest import Entry, Manifest
from mountd.errors import BadInputError, CorruptDataError, MountPointError, NotFoundError, StoreUnreachableError
from mountd.stores.base import ObjectInfo

__all__ = ["Grant", "Helper", "HelperFile", "HelperFiles"]

if TYPE_CHECKING:
    from array import array

_ANSWER_S = 150.0  # longer than one read's deadline with its retries
_COME_BACK_S = 30.0
_AGAIN_S = 0.05

Read = tuple[int | Entry, int, int]
_SOCKETS: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()


def _close_inherited() -> None:
    """In a fork: these are the parent's, whose helper would wait for our end, too."""
    for each in list(_SOCKETS):
        each.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


class _Connection:
    """One conversation, and what it has open."""

    def __init__(self, address: str) -> None:
        self.process = os.getpid()
        self.datasets: dict[Path, int] = {}
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _SOCKETS.add(self._channel)
        try:
            self._channel.settimeout(_ANSWER_S)
            self._channel.connect(address)
            self.ask({"do": "hello", "version": helping.VERSION}).close()
        except BaseException:
            self._channel.close()
            raise

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = (), *, long: bool = False) -> Packet:
        """Send a request; its first answer. One that is cut short by a signal's handler ends the conversation."""
        self._channel.settimeout(None if long else _ANSWER_S)
        return self._answer(lambda: helping.send(self._channel, request, (), descriptors))

    def receive(self) -> Packet:
        """The next answer.

        Raises:
            ConnectionError: the helper has ended.
            MountdError: as it tells.
        """
        return self._answer(lambda: None)

    def _answer(self, ask: Callable[[], None]) -> Packet:
        try:
            ask()
            packet = helping.receive(self._channel)
        except BaseException:
            self._channel.close()  # else what comes for this request would be taken for the answer to the next one
            raise
        if packet is None:
            raise ConnectionResetError("the helper ended")
        starting.raise_told(packet.told)
        return packet

    @property
    def is_open(self) -> bool:
        """True in the process that made it, until the conversation has ended."""
        return self.process == os.getpid() and self._channel.fileno() >= 0

    def dataset(self, manifest: Path) -> int:
        """The number of a dataset in this conversation."""
        if manifest not in self.datasets:
            with contextlib.closing(self.ask({"do": "open", "manifest": str(manifest)})) as packet:
                self.datasets[manifest] = int(packet.told["dataset"])
        return self.datasets[manifest]

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def __del__(self) -> None:
        self.close()  # its thread has ended, which nothing else tells


class Helper:
    """A helper by its address; `ensure` starts one, where this process may.

    Every method raises MountdError, as the helper tells it, and MountPointError when none answers.
    """

    def __init__(self, address: str, ensure: Callable[[], None] | None = None) -> None:
        self.address, self._ensure = address, ensure
        self._local = threading.local()

    def __reduce__(self) -> tuple[type["Helper"], tuple[str]]:
        return Helper, (self.address,)

    def open(self, manifest: Path) -> "HelperFiles":
        """The frozen files of a manifest; a context manager."""
        return HelperFiles(self, Path(manifest).absolute())

    def list(self, datastore: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield what is in a datastore now, by a connection of its own."""
        connection = self._connect()
        try:
            packet = connection.ask({"do": "list", "datastore": datastore, "prefix": prefix})
            while True:
                packet.close()
                yield from (ObjectInfo(*each) for each in packet.told["objects"])
                if not packet.told["more"]:
                    return
                packet = connection.receive()
        except OSError as error:
            raise MountPointError(
                f"{datastore}: the helper ended in the middle of a list ({error}); ask again"
            ) from None
        finally:
            connection.close()

    def upload(
        self, files: Sequence[tuple[Path, str]], datastore: str, prefix: str = "", *, overwrite: bool = False
    ) -> None:
        """Store each (file, key) below `prefix` ('' or ending in '/') of a datastore; all of them or none."""
        told = [[str(Path(path).absolute()), key] for path, key in files]
        request = {"do": "upload", "datastore": datastore, "prefix": prefix, "files": told, "overwrite": overwrite}
        self._write(request, "upload")

    def download(self, manifest: Path, target: Path, *, overwrite: bool = False) -> int:
        """Bring the files of a manifest into a folder; how many there are."""
        where = {"manifest": str(Path(manifest).absolute()), "target": str(Path(target).absolute())}
        return int(self._write({"do": "download", **where, "overwrite": overwrite}, "download")["files"])

    def freeze(self, sources: Sequence[tuple[str, str, str]], target: Path) -> str:
        """List (url, pattern, under) into the manifest file `target`; its digest."""
        request = {"do": "freeze", "sources": [list(each) for each in sources], "target": str(Path(target).absolute())}
        return str(self._write(request, "freeze")["digest"])

    def status(self) -> dict[str, Any]:
        """What it does: pid, clients, datasets, memory, cache, reads, fetch."""
        return self.asking(lambda connection: connection.ask({"do": "status"})).told

    def close(self) -> None:
        """Hang up, in this thread."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and connection.process == os.getpid():
            connection.close()
        self._local.connection = None

    def asking(self, ask: Callable[[_Connection], Packet]) -> Packet:
        """What `ask` gets from this thread's connection; asked again when the helper was lost meanwhile."""
        end_s = time.monotonic() + _COME_BACK_S
        while True:
            connection = self._own()
            try:
                return ask(connection)
            except TimeoutError:
                self.close()
                raise StoreUnreachableError(
                    f"{self.address}: the helper has not answered for {_ANSWER_S:g} s"
                ) from None
            except OSError as error:
                self.close()
                if time.monotonic() > end_s:
                    raise MountPointError(f"{self.address}: the helper is lost again and again ({error})") from None

    def _own(self) -> _Connection:
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None or not connection.is_open:
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self) -> _Connection:
        end_s = time.monotonic() + _COME_BACK_S
        while True:
            try:
                return _Connection(self.address)
            except OSError as error:
                if time.monotonic() > end_s:
                    raise MountPointError(
                        f"{self.address}: no helper answers ({error}); the process or job that owned it may be over"
                    ) from None
            if self._ensure is not None:
                self._ensure()
            else:
                time.sleep(_AGAIN_S)  # there is nothing to wait on: its owner starts another

    def _write(self, request: Mapping[str, Any], what: str) -> dict[str, Any]:
        connection = self._own()
        try:
            return connection.ask(request, long=True).told
        except OSError as error:
            self.close()
            raise MountPointError(
                f"the helper was lost in the middle of a {what} ({error}); see what is there, and go on"
            ) from None


class HelperFiles:
    """The frozen files of one manifest, read through a helper; safe to fork, to pickle, and to share between threads."""

    def __init__(self, helper: Helper, manifest: Path) -> None:
        self.helper, self.path = helper, manifest
        self._manifest: tuple[int, Manifest] | None = None

    def __reduce__(self) -> tuple[type["HelperFiles"], tuple[Helper, Path]]:
        return HelperFiles, (self.helper, self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the manifest; the helper keeps the dataset while others have it."""
        opened, self._manifest = self._manifest, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()
        self.helper.close()

    @property
    def manifest(self) -> Manifest:
        """The manifest, open in this process."""
        if self._manifest is None or self._manifest[0] != os.getpid():
            self._manifest = (os.getpid(), Manifest.open(self.path))
        return self._manifest[1]

    def entry(self, path: str) -> Entry:
        """The file at `path`.

        Raises:
            NotFoundError: there is none, or it is a folder.
        """
        found = self.manifest.find(path.strip("/"))
        if found is None or found.is_directory:
            raise NotFoundError(f"{path}: {'a folder' if found else 'not in the dataset'}; name one of its files")
        return found

    def open(self, path: str) -> "HelperFile":
        """A file for reading: seekable, unbuffered (put it into an io.BufferedReader for small reads)."""
        return HelperFile(self, self.entry(path))

    def read(self, file: int | Entry, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size) as far as the file (an entry or its inode) has them."""
        return self.read_many([(file, offset, size)])[0]

    def read_many(self, reads: Sequence[Read]) -> list[bytes]:
        """As `read`, for many at once: one round trip for each 64 of them or 8 MiB.

        Raises:
            DataChangedError: a file is not the frozen one any more.
            MountdError: as the stores say, for the first that failed.
        """
        pieces: list[list[bytes]] = [[] for _ in reads]
        for batch in _batches(reads):
            for (number, *_), data in zip(batch, self._read(batch), strict=True):
                pieces[number].append(data)
        return [each[0] if len(each) == 1 else b"".join(each) for each in pieces]

    def follow(self, order: "array[int]") -> None:
        """Tell in which order files (their inodes, uint32) will be read: they are fetched ahead along it."""
        descriptor = sealed("plan", order.tobytes())

        def ask(connection: _Connection) -> Packet:
            told = {"do": "plan", "dataset": connection.dataset(self.path), "digest": self.manifest.digest}
            return connection.ask(told, [descriptor])

        try:
            self.helper.asking(ask).close()
        finally:
            os.close(descriptor)

    def _read(self, batch: "list[tuple[int, int, int, int]]") -> list[bytes]:
        reads = [each[1:] for each in batch]

        def ask(connection: _Connection) -> Packet:
            return connection.ask({"do": "read", "dataset": connection.dataset(self.path), "reads": reads})

        with contextlib.closing(self.helper.asking(ask)) as packet:
            return [_bytes_of(packet, *each) for each in packet.told["parts"]]


def _bytes_of(packet: Packet, where: int, position: int, length: int) -> bytes:
    if where < 0:
        data = bytes(packet.data[position : position + length])
    else:
        data = os.pread(packet.descriptors[where], length, position)
    if len(data) != length:
        raise CorruptDataError(f"the helper told of {length} bytes and gave {len(data)}; read again")
    return data


def _batches(reads: Sequence[Read]) -> "Iterator[list[tuple[int, int, int, int]]]":
    """Yield the reads as (number, inode, offset, size), large ones in pieces, in batches that one request may hold."""
    batch: list[tuple[int, int, int, int]] = []
    room = helping.READ_BYTES
    for number, (file, offset, size) in enumerate(reads):
        if offset < 0 or size < 0:
            raise BadInputError(f"a read of {size} bytes at {offset}; neither may be below 0")
        inode, end, at = file if isinstance(file, int) else file.inode, offset + size, offset
        if isinstance(file, Entry):
            end = max(at, min(end, file.size))
        while True:
            piece = min(end - at, room)
            batch.append((number, inode, at, piece))
            at, room = at + piece, room - piece
            if len(batch) == helping.MOST_READS or not room:
                yield batch
                batch, room = [], helping.READ_BYTES
            if at >= end:
                break
    if batch:
        yield batch


class HelperFile(io.RawIOBase):
    """One frozen file as Python reads files."""

    def __init__(self, files: HelperFiles, entry: Entry) -> None:
        super().__init__()
        self._files, self._entry, self._at = files, entry, 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; beyond the end there is nothing to read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._entry.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the file goes."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        view = memoryview(buffer).cast("B")
        data = self._files.read(self._entry, self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readall(self) -> bytes:
        """All that is left."""
        data = self._files.read(self._entry, self._at, max(0, self._entry.size - self._at))
        self._at += len(data)
        return data
