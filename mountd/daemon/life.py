"""What may end a mount, and how it is ended: the tasks that mind a worker's life.

A mount ends by an `unmount` from outside, by `stop` on the control socket, by SIGTERM or SIGINT, or, if the order says so,
by the end of whoever started it. *Idle* is the good end: the mount goes when nobody uses it, which is waited for, a bounded
time. *Busy* after that: it is detached, and the worker serves those who still have files open until they close them.
*Forced*: detached, and the worker ends; whoever had a file open gets an error.

Trio, because these are waits on many things at once and none of them is on the path of a read. Blocking calls go to threads.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Protocol

import trio

from mountd import contract, records
from mountd.errors import MountdError, MountPointError
from mountd.fuse import mounting
from mountd.records import Claim, MountRecord

_LOG = logging.getLogger(__name__)
_IDLE_WAIT_S = 10.0
_CONVERSATION_S = 120.0
_ANSWER_S = 5.0
_POLL_S = 0.1
_REQUEST_LIMIT_BYTES = 4096
_CONNECTIONS = 16
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Served(Protocol):
    """The mount whose life this is."""

    @property
    def mountpoint(self) -> Path:
        """Where it is."""

    @property
    def device_number(self) -> str:
        """MAJ:MIN of the mount."""

    @property
    def ended(self) -> threading.Event:
        """Set when the kernel has ended the mount, or when it must end now."""

    def status(self) -> dict[str, Any]:
        """What `mountd status --json` prints."""


class Life:
    """What may end a mount, as tasks of one nursery; and how it is ended."""

    def __init__(self, worker: Served, claim: Claim, channel: socket.socket, *, lifeline: bool) -> None:
        """`claim` is released with the mount; `channel` leads to the starter; with `lifeline` its end ends the mount."""
        self._worker, self._claim, self._channel, self._lifeline = worker, claim, channel, lifeline
        self._forced = False

    async def run(self, ready: MountRecord) -> None:
        """Keep the record `ready`, tell the starter, and return when the mount has ended."""
        listener = _listen(records.folder_of(ready.mountpoint) / "control")
        records.write(ready)  # after the socket: whoever finds the record is answered
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_ended, nursery.cancel_scope)
            await nursery.start(self._on_signals)
            nursery.start_soon(self._on_lifeline)
            nursery.start_soon(self._serve_control, listener, nursery)
            with contextlib.suppress(OSError):  # a starter that died meanwhile: `_on_lifeline` sees it, too
                contract.send_ready(self._channel, os.getpid())

    async def _until_ended(self, scope: trio.CancelScope) -> None:
        await trio.to_thread.run_sync(self._worker.ended.wait, abandon_on_cancel=True)
        scope.cancel()

    async def _on_signals(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                await self._end_now(_IDLE_WAIT_S)

    async def _on_lifeline(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._channel)
            try:
                if self._channel.recv(1):
                    continue
            except ConnectionResetError:
                pass  # the starter died before it read that all is well
            if self._lifeline:
                await self._end_now(0)
            return

    async def _serve_control(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        limit = trio.CapacityLimiter(_CONNECTIONS)

        async def serve(stream: trio.SocketStream) -> None:
            async with limit, stream:
                with trio.move_on_after(_CONVERSATION_S):
                    await self._answer(stream)

        await trio.serve_listeners(serve, [listener], handler_nursery=nursery)

    async def _answer(self, stream: trio.SocketStream) -> None:
        if _peer_uid(stream) not in {0, os.geteuid()}:
            return
        line = bytearray()
        while not line.endswith(b"\n") and len(line) < _REQUEST_LIMIT_BYTES:
            line += (part := await stream.receive_some(_REQUEST_LIMIT_BYTES)) or b"\n"
            if not part:
                break
        # The end of the mount cancels everything but an answer that is under way: it may be the answer to `stop`.
        with trio.CancelScope(shield=True):
            answer = await self._answer_to(bytes(line))
            with trio.move_on_after(_ANSWER_S), contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(json.dumps(answer).encode() + b"\n")
        if self._forced:
            self._worker.ended.set()

    async def _answer_to(self, line: bytes) -> dict[str, Any]:
        try:
            return await self._obey(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"error": "BadInputError", "message": "a request is one line of JSON with a known 'do'"}
        except MountdError as error:
            return {"error": type(error).__name__, "message": str(error)}

    async def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "status":
            return self._worker.status()
        if request["do"] == "stop":
            return {
                "busy": await self._end(float(request["timeout_s"]), force=bool(request["force"]), answer_first=True)
            }
        raise KeyError(request["do"])

    async def _end_now(self, wait_s: float) -> None:
        """End the mount and the worker, even if the mount cannot be taken off."""
        try:
            await self._end(wait_s, force=True)
        except MountPointError as error:
            _LOG.error("ending without unmounting: %s", error)
            self._worker.ended.set()

    async def _end(self, wait_s: float, *, force: bool, answer_first: bool = False) -> bool:
        """End the mount; True if it was still in use when it was detached."""
        mountpoint, device = self._worker.mountpoint, self._worker.device_number
        busy = not await _unmount_when_idle(mountpoint, device, wait_s)
        if busy:
            _LOG.log(logging.INFO if force else logging.WARNING, "%s: still in use; detached it", mountpoint)
            await trio.to_thread.run_sync(lambda: mounting.end(mountpoint, device, lazy=True))
            self._forced = force
            if force and not answer_first:
                self._worker.ended.set()
        self._claim.release()
        return busy


async def _unmount_when_idle(mountpoint: Path, device: str, wait_s: float) -> bool:
    end = trio.current_time() + wait_s
    while True:
        try:
            await trio.to_thread.run_sync(lambda: mounting.end(mountpoint, device, lazy=False))
        except MountPointError:
            if trio.current_time() >= end:
                return False
            await trio.sleep(_POLL_S)
        else:
            return True


def _listen(address: Path) -> trio.SocketListener:
    address.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(address))
    listener.listen(_CONNECTIONS)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


def _peer_uid(stream: trio.SocketStream) -> int:
    told = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(told)[1])
