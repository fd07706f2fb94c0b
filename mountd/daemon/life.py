"""What may end a mount, and how it is ended: the tasks that mind a worker's life.

A mount ends by an `unmount` from outside, by `stop` on the control socket, by SIGTERM or SIGINT, or, if the order says so,
by the end of whoever started it. *Idle* is the good end: the mount goes when nobody uses it, which is waited for, a bounded
time. *Busy* after that: it is detached, and the worker serves those who still have files open until they close them.
*Forced*: detached, and the worker ends; whoever had a file open gets an error.

Trio, because these are waits on many things at once and none of them is on the path of a read. Blocking calls go to threads.
"""

import contextlib
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Protocol

import trio

from mountd import contract, records
from mountd.daemon import control
from mountd.daemon.control import Control, Served
from mountd.errors import MountPointError
from mountd.fuse import mounting
from mountd.records import Claim, MountRecord

_LOG = logging.getLogger(__name__)
_IDLE_WAIT_S = 10.0
_POLL_S = 0.1


class Mounted(Served, Protocol):
    """The mount whose life this is."""

    @property
    def mountpoint(self) -> Path:
        """Where it is."""

    @property
    def device_number(self) -> str:
        """MAJ:MIN of the mount."""

    @property
    def plan_mode(self) -> int:
        """Who may give it a plan: the mode of its socket."""


class Life:
    """What may end a mount, as tasks of one nursery; and how it is ended."""

    def __init__(self, worker: Mounted, claim: Claim, channel: socket.socket, *, lifeline: bool) -> None:
        """`claim` is released with the mount; `channel` leads to the starter; with `lifeline` its end ends the mount."""
        self._worker, self._claim, self._channel, self._lifeline = worker, claim, channel, lifeline

    async def run(self, ready: MountRecord) -> None:
        """Keep the record `ready`, tell the starter, and return when the mount has ended."""
        folder = records.folder_of(ready.mountpoint)
        sockets = [
            (control.listen(folder / "control", 0o600), control.ALL),
            (control.listen(folder / "plan", self._worker.plan_mode), control.PLAN_ONLY),
        ]
        records.write(ready)  # after the sockets: whoever finds the record is answered
        asked = Control(self._worker, self._end)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_ended, nursery.cancel_scope)
            await nursery.start(self._on_signals)
            nursery.start_soon(self._on_lifeline)
            for listener, allowed in sockets:
                nursery.start_soon(asked.serve, listener, allowed, nursery)
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

    async def _end_now(self, wait_s: float) -> None:
        """End the mount and the worker, even if the mount cannot be taken off."""
        busy = True
        try:
            busy = await self._end(wait_s, True)
        except MountPointError as error:
            _LOG.error("ending without unmounting: %s", error)
        if busy:
            self._worker.ended.set()

    async def _end(self, wait_s: float, force: bool) -> bool:  # noqa: FBT001  # the form of `control.End`
        """End the mount; True if it was still in use when it was detached, and whoever has files open is served on."""
        mountpoint, device = self._worker.mountpoint, self._worker.device_number
        busy = not await _unmount_when_idle(mountpoint, device, wait_s)
        if busy:
            _LOG.log(logging.INFO if force else logging.WARNING, "%s: still in use; detached it", mountpoint)
            await trio.to_thread.run_sync(lambda: mounting.end(mountpoint, device, lazy=True))
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
