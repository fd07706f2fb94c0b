"""The life of one worker: it beats, hands conversations on, and leaves with the mount or with its supervisor.

A worker ends when the kernel says that the mount has ended, when its supervisor says so, and when its supervisor is gone. In
the last case it takes the mount off, so that nobody finds a dead one; under a service manager that keeps the device it
leaves the mount to the next supervisor, which finds in the table what was in flight.

Trio, because these are waits on many things at once and none of them is on the path of a read. Blocking calls go to threads.
"""

import contextlib
import logging
import os
import socket
import time
from pathlib import Path
from typing import Protocol

import trio

from mountd.contract import serving
from mountd.contract.serving import Message, Work
from mountd.daemon.control import ALL, PLAN_ONLY, Control, Served
from mountd.errors import MountPointError
from mountd.fuse import mounting
from mountd.fuse.table import InFlightTable
from mountd.records import Claim

_LOG = logging.getLogger(__name__)
_BEAT_S = 0.25
_CLAIM_S = 1.0


class Mounted(Served, Protocol):
    """The worker whose life this is."""

    @property
    def mountpoint(self) -> Path:
        """Where the mount is."""

    @property
    def table(self) -> InFlightTable:
        """Where it beats."""

    @property
    def plan_position(self) -> int:
        """How far it is along its plan."""


class Life:
    """What may end a worker, as tasks of one nursery."""

    def __init__(self, worker: Mounted, work: Work, channel: socket.socket, device_number: str) -> None:
        """`channel` leads to the supervisor; `device_number` is MAJ:MIN of the mount."""
        self._worker, self._work, self._channel, self._device_number = worker, work, channel, device_number
        self._control = Control(worker, self._keep_plan, self._keep_credential)

    async def run(self) -> None:
        """Return when the worker is to close down."""
        plans = socket.socket(fileno=os.dup(self._work.plan_socket))
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(plans))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_ended, nursery.cancel_scope)
            nursery.start_soon(self._beat)
            nursery.start_soon(self._hear, nursery)
            nursery.start_soon(self._control.serve, listener, PLAN_ONLY, nursery)

    async def _until_ended(self, scope: trio.CancelScope) -> None:
        await trio.to_thread.run_sync(self._worker.ended.wait, abandon_on_cancel=True)
        with contextlib.suppress(OSError):
            serving.send(self._channel, "ended")
        scope.cancel()

    async def _beat(self) -> None:
        while True:
            self._worker.table.beat(self._worker.plan_position)
            await trio.sleep(_BEAT_S)

    async def _hear(self, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._channel)
            message = serving.receive(self._channel)
            if message is None:
                await self._orphaned()
                nursery.cancel_scope.cancel()
                return
            if message.say == "end":
                nursery.cancel_scope.cancel()
                return
            self._start_conversation(message, nursery)

    def _start_conversation(self, message: Message, nursery: trio.Nursery) -> None:
        if not message.descriptors:
            _LOG.warning("%s: no descriptor is free to hear a caller with: raise ulimit -n", self._worker.mountpoint)
        for descriptor in message.descriptors:
            connection = socket.socket(fileno=descriptor)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
            nursery.start_soon(self._control.converse, stream, ALL)

    def _keep_plan(self, digest: str, descriptors: list[int]) -> None:
        with contextlib.suppress(OSError):  # there is no supervisor, so there will be no next worker
            serving.send(self._channel, "plan", descriptors, digest=digest)

    def _keep_credential(self, sources: list[str], descriptors: list[int]) -> None:
        with contextlib.suppress(OSError):  # as above
            serving.send(self._channel, "credential", descriptors, sources=sources)

    async def _orphaned(self) -> None:
        if self._work.keep:
            _LOG.warning("%s: the supervisor is gone; the mount is left to the next one", self._worker.mountpoint)
            os._exit(0)  # at once: the next one is here as soon as the service manager will
        _LOG.error("%s: the supervisor is gone; the mount ends", self._worker.mountpoint)
        await trio.to_thread.run_sync(self._take_off)

    def _take_off(self) -> None:
        end_s = time.monotonic() + _CLAIM_S
        while True:
            try:
                with Claim(self._worker.mountpoint):
                    mounting.end(self._worker.mountpoint, self._device_number, lazy=True)
            except MountPointError as error:  # somebody mounts there at this moment, or something lies over it
                if time.monotonic() < end_s:
                    time.sleep(0.02)  # a dying supervisor may let go of its socket before its claim
                    continue
                _LOG.error("ending without unmounting: %s", error)
            return
