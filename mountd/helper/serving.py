"""The conversations of a helper: one thread a connection, one request at a time, as `contract.helping` has it.

A connection is refused to other users, and when there are too many. Whatever a client sends, its connection alone can be
lost by it: each error of a request becomes its answer, a packet that is none ends the connection, and a client that takes
no answer is let go.

The lock protects the set of connections; nothing is sent or received under it.
"""

import contextlib
import fcntl
import logging
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

from mountd.composing import Common
from mountd.contract import helping
from mountd.contract.helping import Packet
from mountd.contract.serving import sealed
from mountd.errors import AccessDeniedError, BadInputError, DefectError, MountdError, MountPointError
from mountd.helper import datasets
from mountd.helper.datasets import Datasets, Found, Gate, Opened
from mountd.helper.places import Places

_LOG = logging.getLogger("mountd.helper")
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_TIMEOUT = struct.Struct("ll")  # a timeval
_INT = struct.Struct("i")
_SEND_S = 5
_GATE_SHARE = 4  # of the memory budget may be in answers on their way
_LARGEST = 1 << 62
_Value = TypeVar("_Value")


class Server:
    """Answers whoever connects to `listener`."""

    def __init__(self, listener: socket.socket, common: Common, places: Places) -> None:
        self._listener, self._common, self._places = listener, common, places
        self._datasets = Datasets(common, places.credentials_for)
        self._gate = Gate(max(helping.READ_BYTES, common.settings.memory_bytes // _GATE_SHARE))
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._empty_since_s = time.monotonic()

    def start(self) -> None:
        """Answer from now on, on threads of its own, until the process ends."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def close(self) -> None:
        """Let go of everybody and everything."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def idle_s(self) -> float:
        """For how long nobody has been connected."""
        with self._lock:
            return 0.0 if self._connections else time.monotonic() - self._empty_since_s

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:  # no descriptors: those that are connected go on, and the next may wait
                _LOG.info("a connection is not taken (%s)", error.strerror)
                time.sleep(0.05)  # accept would fail at once again
                continue
            with self._lock:
                full = len(self._connections) >= helping.MOST_CONNECTIONS
                if not full:
                    self._connections.add(connection)
            if full:
                _refuse(connection, MountPointError(f"the helper has {helping.MOST_CONNECTIONS} connections, its most"))
                connection.close()
                continue
            threading.Thread(target=self._converse, args=(connection,), name="client", daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEOUT.pack(_SEND_S, 0))
            with connection, Conversation(connection, self._datasets, self._places, self._common, self._gate) as one:
                one.status = self.status
                one.run()
        except OSError as error:
            _LOG.info("a client is let go (%s)", error)
        finally:
            with self._lock:
                self._connections.discard(connection)
                self._empty_since_s = time.monotonic()

    def status(self) -> dict[str, Any]:
        """What `status` answers."""
        counters = self._common.metrics.snapshot()
        memory = self._common.memory.status()
        with self._lock:
            clients = len(self._connections)
        return {
            "pid": os.getpid(),
            "clients": clients,
            "datasets": len(self._datasets),
            "memory": {"used_bytes": memory.used_bytes, "limit_bytes": memory.limit_bytes},
            **{group: counters[group] for group in ("reads", "fetch", "cache")},
        }


class Conversation:
    """One client, and the datasets that it has open; leaving the context closes those."""

    status: Callable[[], dict[str, Any]]

    def __init__(self, channel: socket.socket, table: Datasets, places: Places, common: Common, gate: Gate) -> None:
        self._channel, self._datasets, self._places, self._common, self._gate = channel, table, places, common, gate
        self._opened: dict[int, Opened] = {}
        self._next = 0
        self._answers: Mapping[str, Callable[[Packet], None]] = {
            "open": self._open,
            "close": self._close,
            "read": self._read,
            "plan": self._plan,
            "list": self._list,
            "upload": self._upload,
            "download": self._download,
            "freeze": self._freeze,
            "status": lambda _: self._send(self.status()),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._opened.values():
            self._datasets.release(opened)

    def run(self) -> None:
        """Answer until the client ends, or is none."""
        _, uid, _ = _PEER.unpack(self._channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if uid != os.geteuid():
            _refuse(self._channel, AccessDeniedError("this helper reads for another user"))
            return
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT.pack(int(helping.HELLO_S), 0))
        try:
            if not self._greet():
                return
            while (packet := self._next_request()) is not None:
                try:
                    self._answer(packet)
                finally:
                    packet.close()
        except BadInputError as error:  # no packet: what comes after it is none either
            _refuse(self._channel, error)

    def _next_request(self) -> Packet | None:
        """Wait for one; a client that has not taken the last answer by then, or asks before it has, is none."""
        while True:
            with contextlib.suppress(BlockingIOError):  # nothing for some seconds
                packet = helping.receive(self._channel)
                if packet is None or not self._untaken():
                    return packet
                packet.close()
            if self._untaken():
                raise BadInputError("the answer before was not taken; take each, then ask again")

    def _untaken(self) -> int:
        """How many bytes of answers, with what they hold, still wait for the client to take them."""
        (size,) = _INT.unpack(fcntl.ioctl(self._channel, termios.TIOCOUTQ, bytes(_INT.size)))
        return int(size)

    def _greet(self) -> bool:
        packet = helping.receive(self._channel)
        if packet is None:
            return False
        packet.close()
        if packet.told.get("do") != "hello" or packet.told.get("version") != helping.VERSION:
            raise BadInputError(f"this helper speaks version {helping.VERSION}; are two versions of Moorage installed?")
        self._send({"version": helping.VERSION, "pid": os.getpid()})
        return True

    def _answer(self, packet: Packet) -> None:
        try:
            self._find_answer(packet)(packet)
        except MountdError as error:
            _refuse(self._channel, error)
        except OSError:
            raise  # the client's end
        except MemoryError:
            _refuse(self._channel, DefectError("no memory to answer with"))
        except Exception as error:  # noqa: BLE001  # the client must hear of it, whatever it is
            _LOG.exception("defect in the helper")
            _refuse(self._channel, DefectError(f"{type(error).__name__}: {error}; please report it"))

    def _find_answer(self, packet: Packet) -> Callable[[Packet], None]:
        wanted = str(packet.told.get("do"))[:40]
        if wanted not in self._answers:
            raise BadInputError(f"a helper does {', '.join(self._answers)}; not {wanted!r}")
        return self._answers[wanted]

    def _send(self, told: Mapping[str, Any]) -> None:
        helping.send(self._channel, told)

    def _open(self, packet: Packet) -> None:
        if len(self._opened) >= helping.MOST_DATASETS:
            raise BadInputError(f"{helping.MOST_DATASETS} datasets open in one connection, the most; close one")
        opened = self._datasets.open(Path(_text(packet, "manifest")))
        self._next += 1
        self._opened[self._next] = opened
        self._send({"dataset": self._next, "digest": opened.reading.manifest.digest})

    def _close(self, packet: Packet) -> None:
        opened = self._dataset(packet)
        del self._opened[packet.told["dataset"]]
        self._datasets.release(opened)
        self._send({})

    def _dataset(self, packet: Packet) -> Opened:
        opened = self._opened.get(_of(int, packet.told.get("dataset"), "dataset"))
        if opened is None:
            raise BadInputError(f"no dataset {packet.told['dataset']} is open in this connection")
        return opened

    def _read(self, packet: Packet) -> None:
        reading, told = self._dataset(packet).reading, _of(list, packet.told.get("reads"), "reads")
        if len(told) > helping.MOST_READS:
            raise BadInputError(f"{len(told)} reads in one request; the most is {helping.MOST_READS}")
        reads = [_read_of(each) for each in told]
        wanted = datasets.sizes(reading, reads)
        if sum(wanted) > helping.READ_BYTES:
            raise BadInputError(f"{sum(wanted)} bytes in one request; the most is {helping.READ_BYTES}")
        with self._gate.holding(sum(wanted)):
            self._send_found(datasets.read_all(reading, self._common, reads, wanted))

    def _send_found(self, found: list[Found]) -> None:
        """Bytes in the packet if they have room, else in a memfd; what lies in segments as those."""
        segments = list({each.segment.number: each.segment for each in found if each.segment is not None})
        loose = sum(each.size for each in found if each.segment is None)
        where = -1 if loose <= helping.INLINE_BYTES else len(segments)
        parts, at = [], 0
        for each in found:
            if each.segment is not None:
                parts.append([segments.index(each.segment.number), each.position, each.size])
            else:
                parts.append([where, at, each.size])
                at += each.size
        buffers = [part for each in found if each.segment is None for part in each.parts]
        if where < 0:
            # As one: a packet of many small reads would have more pieces than sendmsg takes.
            helping.send(self._channel, {"parts": parts}, [b"".join(buffers)], segments)
            return
        descriptor = sealed("read", b"".join(buffers))
        try:
            helping.send(self._channel, {"parts": parts}, (), [*segments, descriptor])
        finally:
            os.close(descriptor)

    def _plan(self, packet: Packet) -> None:
        if len(packet.descriptors) != 1:
            raise BadInputError("a plan comes with one descriptor")
        datasets.follow(self._dataset(packet).reading, _text(packet, "digest"), packet.descriptors[0])
        self._send({})

    def _list(self, packet: Packet) -> None:
        found = self._places.list(_text(packet, "datastore"), _text(packet, "prefix"))
        more = True
        while more:
            page = list(islice(found, helping.OBJECTS))
            more = len(page) == helping.OBJECTS
            objects = [[each.key, each.size, each.etag, each.mtime_ns, each.is_directory] for each in page]
            self._send({"objects": objects, "more": more})

    def _upload(self, packet: Packet) -> None:
        files = [(Path(path), key) for path, key in _texts(packet, "files", 2)]
        done = self._places.upload(
            _text(packet, "datastore"), _text(packet, "prefix"), files, overwrite=packet.told.get("overwrite") is True
        )
        self._send({"files": done.files, "size_bytes": done.size_bytes})

    def _download(self, packet: Packet) -> None:
        manifest = Path(_text(packet, "manifest"))
        opened = self._datasets.open(manifest)
        try:
            sources, target = opened.reading.manifest.sources, Path(_text(packet, "target"))
            done = self._places.download(manifest, sources, target, overwrite=packet.told.get("overwrite") is True)
        finally:
            self._datasets.release(opened)
        self._send({"files": done.files, "size_bytes": done.size_bytes, "fetched_bytes": done.fetched_bytes})

    def _freeze(self, packet: Packet) -> None:
        sources = [(url, pattern, under) for url, pattern, under in _texts(packet, "sources", 3)]
        done = self._places.freeze(sources, Path(_text(packet, "target")))
        self._send({"digest": done.digest, "files": done.files, "size_bytes": done.size_bytes})


def _refuse(channel: socket.socket, error: MountdError) -> None:
    with contextlib.suppress(OSError):  # whoever asked has gone
        helping.send(channel, {"error": type(error).__name__, "message": str(error)[: helping.INLINE_BYTES // 4]})


def _of(kind: type[_Value], value: object, name: str) -> _Value:
    if type(value) is not kind:
        raise BadInputError(f"{name}: {kind.__name__} expected")
    return value


def _text(packet: Packet, name: str) -> str:
    text = _of(str, packet.told.get(name), name)
    if "\0" in text:
        raise BadInputError(f"{name}: holds a NUL")
    return text


def _texts(packet: Packet, name: str, count: int) -> list[list[str]]:
    rows = _of(list, packet.told.get(name), name)
    for row in rows:
        if type(row) is not list or len(row) != count or any(type(each) is not str or "\0" in each for each in row):
            raise BadInputError(f"{name}: rows of {count} texts expected")
    return rows


def _read_of(told: object) -> datasets.Read:
    if type(told) is not list or len(told) != 3 or any(type(each) is not int for each in told):
        raise BadInputError("reads: [inode, offset, size] expected")
    inode, offset, size = told
    if not (0 < inode < _LARGEST and 0 <= offset < _LARGEST and 0 <= size <= helping.READ_BYTES):
        raise BadInputError(f"reads: an inode, an offset, and a size up to {helping.READ_BYTES} expected")
    return inode, offset, size
