"""What can be asked of a worker: one request a connection, one line of JSON each way (`warm` answers with several).

Connections to the mount's `control` socket come from the supervisor, which answers some requests itself; they are the
owner's and root's, who may ask everything. The `plan` socket is for whoever may read the mount, and is the one to bind into
a container: it takes a plan and tells the status. A plan comes as a descriptor beside its line: a memfd of inodes, uint32 in
the machine's order, sealed against writing, which is copied before the answer. It must be sealed because only a memfd can
be: a read of any other descriptor may wait for ever for whoever sent it. A credential comes in the same way, never in the
line.

Invariants: no more than 16 connections of the plan socket are taken, the others wait in the kernel; of a conversation's
descriptors one is kept; so whoever may ask for a plan cannot use up the worker's descriptors, which reads need.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
from array import array
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import trio

from mountd.errors import BadInputError, MountdError
from mountd.reading.warming import Warmed
from mountd.stores.credentials import Credential

if TYPE_CHECKING:
    import threading

    from mountd.reading.warming import Files, Warming

_LOG = logging.getLogger(__name__)
_REQUEST_S = 10.0
_ANSWER_S = 5.0
_TELL_S = 0.25
_REQUEST_LIMIT_BYTES = 1 << 20
_PART_BYTES = 65536
_CONNECTIONS = 16
_ACCEPT_PAUSE_S = 0.1  # after an error of accept: no descriptor is free, perhaps
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK
_LONGEST_PLAN_BYTES = 4 << 24
_LONGEST_CREDENTIAL_BYTES = 1 << 17
ALL, PLAN_ONLY = frozenset({"status", "plan", "warm", "credentials", "commit"}), frozenset({"status", "plan"})


class Served(Protocol):
    """What can be asked of a mount."""

    @property
    def ended(self) -> "threading.Event":
        """Set when the kernel has ended the mount, or when it must end now."""

    def status(self) -> dict[str, Any]:
        """What `mountd status --json` prints."""

    def follow(self, order: "array[int]", digest: str) -> None:
        """Fetch along a plan."""

    def renew(self, source: str, credential: Credential) -> list[str]:
        """Use another credential for a source ('': all); the URLs of those that now use it."""

    def warming(self, paths: list[str]) -> "tuple[Warming, Files, int]":
        """A run that brings files to the disk, the files, and their bytes."""

    def commit(self, wait_s: float) -> dict[str, Any]:
        """Take the mount of an output off once nobody uses it, and bring all of it to the store: what is there then."""

    def leave(self) -> None:
        """The outcome of `commit` has been told."""


KeepPlan = Callable[[str, list[int]], None]
KeepCredential = Callable[[list[str], list[int]], None]


@dataclass(slots=True)
class _Asked:
    """One connection's request, and the descriptors that came with it."""

    stream: trio.SocketStream
    request: dict[str, Any] = field(default_factory=dict)
    descriptors: list[int] = field(default_factory=list)
    commits: bool = False  # the worker waits to hear that its answer was sent


class Control:
    """Answers what is asked.

    For the next worker `keep_plan(digest, descriptors)` keeps a plan that was taken, `keep_credential(sources, descriptors)`
    a credential.
    """

    def __init__(self, worker: Served, keep_plan: KeepPlan, keep_credential: KeepCredential) -> None:
        self._worker, self._keep_plan, self._keep_credential = worker, keep_plan, keep_credential

    async def serve(self, listener: trio.SocketListener, allowed: frozenset[str], nursery: trio.Nursery) -> None:
        """Serve a listening socket until cancelled; `allowed`: what may be asked there."""
        limit = trio.Semaphore(_CONNECTIONS)

        async def serve(stream: trio.SocketStream) -> None:
            async with _released(limit):
                await self.converse(stream, allowed)

        while True:
            await limit.acquire()  # before `accept`: what is accepted has a descriptor
            nursery.start_soon(serve, await _accepted(listener))

    async def converse(self, stream: trio.SocketStream, allowed: frozenset[str]) -> None:
        """Answer the request of one connection, and close it."""
        async with stream:
            asked = _Asked(stream)
            try:
                await self._converse(asked, allowed)
            except Exception:  # noqa: BLE001  # whatever one asks, the mount goes on for the others
                _LOG.exception("defect in a conversation")
            finally:
                for descriptor in asked.descriptors:
                    os.close(descriptor)

    async def _converse(self, asked: _Asked, allowed: frozenset[str]) -> None:
        with trio.move_on_after(_REQUEST_S):
            asked.request = _parsed(await _receive_line(asked))
        if str(asked.request.get("do")) not in allowed:
            await _send(asked.stream, {"error": "BadInputError", "message": _NO_REQUEST})
            return
        if asked.request["do"] == "warm":
            await self._warm(asked)
            return
        await _send(asked.stream, await self._answer_to(asked))
        if asked.commits:
            self._worker.leave()

    async def _answer_to(self, asked: _Asked) -> dict[str, Any]:
        try:
            if asked.request["do"] == "status":
                return self._worker.status()
            act = {"credentials": self._renew, "plan": self._plan, "commit": self._commit}[asked.request["do"]]
            return await trio.to_thread.run_sync(act, asked)  # a long plan takes seconds
        except (ValueError, KeyError, TypeError):
            return {"error": "BadInputError", "message": _NO_REQUEST}
        except MountdError as error:
            return {"error": type(error).__name__, "message": str(error)}

    def _plan(self, asked: _Asked) -> dict[str, Any]:
        order = array("I")
        for descriptor in asked.descriptors:
            if not _is_sealed(descriptor):
                raise BadInputError("a plan comes in a memfd that is sealed (F_SEAL_WRITE and F_SEAL_SHRINK)")
            size = os.fstat(descriptor).st_size
            if size > _LONGEST_PLAN_BYTES or size % order.itemsize:
                raise BadInputError(f"a plan of {size} bytes: it is uint32 inodes, at most {_LONGEST_PLAN_BYTES} bytes")
            order.frombytes(os.pread(descriptor, size, 0))
        digest = str(asked.request["digest"])
        self._worker.follow(order, digest)
        self._keep_plan(digest, asked.descriptors)
        return {"length": len(order)}

    def _commit(self, asked: _Asked) -> dict[str, Any]:
        wait_s = float(asked.request["timeout_s"])
        asked.commits = True
        return self._worker.commit(wait_s)

    def _renew(self, asked: _Asked) -> dict[str, Any]:
        if not asked.descriptors or not _is_sealed(asked.descriptors[0]):
            raise BadInputError("a credential comes in a memfd that is sealed (F_SEAL_WRITE and F_SEAL_SHRINK)")
        told = json.loads(os.pread(asked.descriptors[0], _LONGEST_CREDENTIAL_BYTES, 0))
        sources = self._worker.renew(str(asked.request.get("source", "")), Credential.from_json(told))
        self._keep_credential(sources, asked.descriptors)
        return {"sources": sources}

    async def _warm(self, asked: _Asked) -> None:
        """Warm, and tell how far it is every quarter of a second; the end of the connection ends the run."""
        paths = asked.request.get("paths", [])
        try:
            if not isinstance(paths, list):
                raise BadInputError(_NO_REQUEST)
            warming, files, total_bytes = await trio.to_thread.run_sync(self._worker.warming, list(map(str, paths)))
        except MountdError as error:
            await _send(asked.stream, {"error": type(error).__name__, "message": str(error)})
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell_progress, asked.stream, warming, total_bytes)
                done = await trio.to_thread.run_sync(warming.run, files, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()
        finally:
            warming.stop()
        await _send(asked.stream, {**_told(done, total_bytes), "done": True})


_NO_REQUEST = "a request is one line of JSON with a 'do' that this socket knows"


async def _tell_progress(stream: trio.SocketStream, warming: "Warming", total_bytes: int) -> None:
    while True:
        try:
            await stream.send_all(json.dumps(_told(warming.progress, total_bytes)).encode() + b"\n")
        except trio.BrokenResourceError:
            warming.stop()
            return
        await trio.sleep(_TELL_S)


def _told(progress: Warmed, total_bytes: int) -> dict[str, Any]:
    failure = progress.failure
    return {
        "files": progress.files,
        "bytes": progress.bytes,
        "fetched_bytes": progress.fetched_bytes,
        "total_bytes": total_bytes,
        "failure": {"error": type(failure).__name__, "message": str(failure)} if failure else None,
    }


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return {}


@contextlib.asynccontextmanager
async def _released(limit: trio.Semaphore) -> AsyncIterator[None]:
    try:
        yield
    finally:
        limit.release()


async def _accepted(listener: trio.SocketListener) -> trio.SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                raise
            await trio.sleep(_ACCEPT_PAUSE_S)


def _is_sealed(descriptor: int) -> bool:
    """Whether it is a memfd that nobody can change any more; asks no file system, which may hang."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError:
        return False


async def _receive_line(asked: _Asked) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < _REQUEST_LIMIT_BYTES:
        part, ancillary, _, _ = await asked.stream.socket.recvmsg(_PART_BYTES, socket.CMSG_SPACE(array("i").itemsize))
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                came = array("i")
                came.frombytes(data[: len(data) - len(data) % came.itemsize])
                asked.descriptors += came
        for descriptor in asked.descriptors[1:]:
            os.close(descriptor)
        del asked.descriptors[1:]
        if not part:
            break
        line += part
    return bytes(line)


async def _send(stream: trio.SocketStream, answer: dict[str, Any]) -> None:
    with trio.move_on_after(_ANSWER_S), contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(json.dumps(answer).encode() + b"\n")
