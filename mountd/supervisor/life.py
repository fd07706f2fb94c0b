"""What may end a mount, and how it is ended: the supervisor's loop.

A mount ends by an `unmount` from outside, by `stop` on the control socket, by SIGTERM, SIGINT or SIGHUP, or, if the order
says so, by the end of whoever started it. *Idle* is the good end: the mount goes when nobody uses it, which is waited for, a
bounded time. *Busy* after that: it is detached, and those who still have files open are served until they close them.
*Forced*: detached, and the worker ends; whoever had a file open gets an error.

One thread waits for everything; what may block (taking the mount off) has a thread of its own and rings a bell, a pipe, when
it is done. The same pipe tells of signals.
"""

import contextlib
import json
import logging
import math
import os
import selectors
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from mountd import notify, records
from mountd.contract import starting
from mountd.contract.starting import Order
from mountd.errors import MountdError, MountPointError
from mountd.fuse import mounting
from mountd.fuse.table import InFlightTable
from mountd.processes import ProcessId
from mountd.records import Claim, MountRecord
from mountd.supervisor import handing
from mountd.supervisor.conversations import Conversation, Conversations
from mountd.supervisor.ending import Ending
from mountd.supervisor.handing import ENDING, Handed
from mountd.supervisor.logfile import LogFile
from mountd.supervisor.service import Service
from mountd.supervisor.sockets import Sockets
from mountd.supervisor.workers import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger("mountd.supervisor")
_TICK_S = 1.0
_IDLE_WAIT_S = 10.0
_CLOSE_S = 10.0
_CLOSE_OUTPUT_S = 60.0  # it is committed then
_DEFECT_PAUSE_S = 0.1
_STATUS_S = 10.0


class Supervisor:
    """The life of one mount. A failure before it answers is raised by `run`; afterwards nothing is."""

    def __init__(
        self, order: Order, claim: Claim, channel: socket.socket | None, sockets: Sockets, log_file: LogFile | None
    ) -> None:
        """`channel` leads to the starter; None: there is none."""
        self._order, self._claim, self._channel, self._sockets = order, claim, channel, sockets
        self._log_file = log_file
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._bell, selectors.EVENT_READ, self._on_bell)
        self._is_over = False  # the kernel has ended the mount, or it must end now
        self._failure: MountdError | None = None
        self._ending: Ending | None = None
        self._is_forced = False
        self._stops: list[Conversation] = []
        self._is_told = False
        self._signal: signal.Signals | None = None  # what it was ended by
        self._next_look_s = 0.0
        self._new_code: str | None = None  # the Python that finds it
        self._under_manager = order.foreground and bool(os.environ.get("NOTIFY_SOCKET"))
        self._conversations = Conversations(
            sockets.control, self._selector, self._take, self._hand, self._why_no_worker, lambda: self._service.gave_up
        )

    def run(self, handed: Handed | None) -> int:
        """Mount, or go on with what was `handed` over, and return when the mount has ended: the exit code.

        Raises:
            MountdError: it could not be mounted; nothing is left.
        """
        self._service = Service(
            self._order,
            InFlightTable(handed.table) if handed else InFlightTable.create(),
            self._sockets.plan.fileno(),
            sys.executable,
            keep=self._under_manager,
            watch=self._watch,
            forget=self._forget,
            serving=self._on_serving,
            ended=self._over,
            failed=self._on_failed,
        )
        signal.set_wakeup_fd(self._ring_end, warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, lambda *_: None)  # the number comes through the pipe
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # blocked while this process became new code
        if self._channel is not None:
            self._selector.register(self._channel, selectors.EVENT_READ, self._on_starter)
        try:
            self._begin(handed)
            while not self._is_over:
                self._wait()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure
        return 0 if self._is_told or self._signal is None else 128 + self._signal

    def _begin(self, handed: Handed | None) -> None:
        service = self._service
        if handed is None:
            service.begin()
            return
        self._is_told = handed.is_told
        service.device, service.plan, service.restarts = handed.device, handed.plan, handed.restarts
        service.began_s = handed.began_s
        worker = None
        if handed.worker is not None:
            worker = WorkerProcess(handed.worker[0], socket.socket(fileno=handed.worker[1]))
        service.resume(worker)
        if worker is not None:
            self._guarded(self._on_serving)

    def _wait(self) -> None:
        waits = [self._service.next_s(), self._conversations.next_s(), self._next_look_s - time.monotonic()]
        for key, _ in self._selector.select(max(0.0, min(each for each in waits if each is not None))):
            if self._selector.get_map().get(key.fd) is key:  # else what was heard before has let go of it
                self._guarded(key.data)
        self._guarded(self._look)

    def _guarded(self, step: "Callable[[], None]") -> None:
        """Once the mount is told of, no defect of one step ends it: it would be lost to all its readers."""
        try:
            step()
        except Exception:
            if not self._is_told:
                raise
            _LOG.exception("%s: defect in the supervisor; it goes on", self._order.mountpoint)
            time.sleep(_DEFECT_PAUSE_S)  # it may last, and must not cost a whole core

    def _look(self) -> None:
        self._conversations.tick()
        if time.monotonic() >= self._next_look_s or self._service.next_s() == 0:
            self._next_look_s = time.monotonic() + _TICK_S
            self._service.tick()
            notify.watchdog()
            if self._log_file is not None:
                self._log_file.bound()
        is_free = self._service.upgrading is None and self._ending is None
        if self._new_code is not None and self._service.is_served and is_free:
            self._become_new()

    def _watch(self, worker: WorkerProcess) -> None:
        self._selector.register(worker, selectors.EVENT_READ, lambda: self._service.hear(worker))

    def _forget(self, worker: WorkerProcess) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(worker)

    def _over(self) -> None:
        """The mount has ended; any thread may say so."""
        self._is_over = True
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings already
            os.write(self._ring_end, b"\0")

    def _on_bell(self) -> None:
        rung = b""
        with contextlib.suppress(BlockingIOError):
            rung = os.read(self._bell, 512)
        for number in filter(None, rung):
            self._on_signal(signal.Signals(number))
        if self._ending is not None and self._ending.is_done:
            self._on_end(self._ending)

    def _on_signal(self, number: signal.Signals) -> None:
        if number in ENDING:
            _LOG.info("%s: ends by %s", self._order.mountpoint, number.name)
            notify.stopping()
            self._signal = self._signal or number
            self._end(_IDLE_WAIT_S, forced=True)

    def _on_starter(self) -> None:
        channel = self._channel
        if channel is None:
            return
        with contextlib.suppress(ConnectionResetError):  # it died before it read that all is well
            if channel.recv(1):
                return
        self._selector.unregister(channel)
        self._channel = None
        if self._order.lifeline:
            self._end(0, forced=True)

    def _on_failed(self, error: MountdError) -> None:
        if self._is_told:
            _LOG.error("%s", error)  # nobody waits for it any more
        self._failure = error
        self._over()

    def _on_serving(self) -> None:
        """A worker serves: at the first time, tell everybody."""
        worker = self._service.worker
        if worker is None:
            return
        if self._ending is None and not self._is_recorded(worker):
            return
        if self._is_told:
            return
        self._is_told = True
        if self._channel is not None:
            with contextlib.suppress(OSError):  # a starter that died meanwhile: `_on_starter` sees it, too
                starting.send_ready(self._channel, os.getpid())
        notify.ready(f"mounted on {self._order.mountpoint}")
        if self._order.print_status:
            self._print_status()
        if self._under_manager:
            handing.to_manager(self._order, self._service)

    def _is_recorded(self, worker: WorkerProcess) -> bool:
        """Record who serves; a mount that is in use is not ended because that cannot be kept, a new one is."""
        try:
            self._write_record(worker)
        except (OSError, MountdError) as error:
            if not self._is_told:
                why = f"{self._order.mountpoint}: its record cannot be kept: {error}"
                self._on_failed(MountPointError(why))
                return False
            _LOG.warning("%s: the new worker's record cannot be kept: %s", self._order.mountpoint, error)
        return True

    def _write_record(self, worker: WorkerProcess) -> None:
        order = self._order
        owner = order.owner if order.lifeline else None
        manifest = order.manifest if order.owns_manifest else None
        processes = ProcessId.of(os.getpid()), ProcessId.of(worker.pid)
        is_output = order.output is not None
        records.write(
            MountRecord(order.mountpoint, order.source, *processes, order.mark, owner, manifest, is_output=is_output)
        )

    def _print_status(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(_STATUS_S)
            ours.sendall(b'{"do": "status"}\n')
            if self._hand(theirs):
                theirs.close()
                with contextlib.suppress(OSError, ValueError):
                    print(json.dumps(json.loads(ours.makefile().readline()), indent=2), flush=True)  # noqa: T201

    def _hand(self, connection: socket.socket) -> bool:
        worker = self._service.worker
        return worker is not None and self._service.is_served and worker.hand(connection)

    def _why_no_worker(self) -> str:
        mountpoint = self._order.mountpoint
        if self._service.gave_up:
            return f"{mountpoint}: no worker could serve, every read fails; `mountd upgrade {mountpoint}` tries again"
        return f"{mountpoint}: its worker has died, and the next one does not serve yet; try again"

    def _take(self, request: dict[str, Any], conversation: Conversation) -> None:
        """One of the requests that are answered here."""
        try:
            if request["do"] == "upgrade":
                self._service.upgrade(str(request["executable"]), lambda told: self._on_upgrade(told, conversation))
                return
            wait_s, forced = float(request["timeout_s"]), bool(request["force"])
            if not math.isfinite(wait_s):
                raise ValueError(wait_s)  # noqa: TRY301  # as what is no number at all
        except (KeyError, TypeError, ValueError, OverflowError):
            conversation.answer({"error": "BadInputError", "message": "stop wants timeout_s and force"})
            return
        self._stops.append(conversation)
        self._end(wait_s, forced=forced)

    def _on_upgrade(self, told: dict[str, Any], conversation: Conversation) -> None:
        if "error" not in told:
            self._new_code = self._service.executable
        conversation.answer(told)

    def _become_new(self) -> None:
        """Go on as the same process in new code."""
        executable, self._new_code = str(self._new_code), None
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # what comes from here on waits for the new code
        try:
            self._on_bell()  # what came before would be lost with the pipe
            if self._ending is not None or self._is_over:
                return
            handing.to_new_code(
                executable, self._service.order, self._service, self._sockets, self._claim, self._channel
            )
        except OSError as error:
            _LOG.warning("%s: the supervisor stays as it is: %s", self._order.mountpoint, error)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def _end(self, wait_s: float, *, forced: bool) -> None:
        """Begin to end the mount, or hurry what has begun."""
        self._is_forced = self._is_forced or forced
        if self._service.device is None:
            self._over()
        elif self._ending is None or self._ending.is_done:
            self._ending = Ending(self._order.mountpoint, self._service.device.number, wait_s, self._ring)
        else:
            self._ending.hurry(wait_s)

    def _on_end(self, ending: Ending) -> None:
        """The mount is off, or cannot be taken off."""
        stops, self._stops = self._stops, []
        if ending.failure is not None:
            _LOG.error("%s", ending.failure)
            for each in stops:
                each.answer({"error": "MountPointError", "message": str(ending.failure)})
            self._ending = None
            if self._is_forced:
                self._over()
            return
        if ending.is_busy:
            level = logging.INFO if self._is_forced else logging.WARNING
            _LOG.log(level, "%s: still in use; detached it", self._order.mountpoint)
        if self._under_manager:
            handing.forget()
        self._claim.release()
        for each in stops:
            each.answer({"busy": ending.is_busy})
        if self._is_forced or not ending.is_busy:
            self._over()

    def _close(self) -> None:
        """End the worker, and leave nothing."""
        notify.stopping()
        device = self._service.device
        if device is not None:
            try:
                mounting.end(self._order.mountpoint, device.number, lazy=True)
            except (MountdError, OSError) as error:
                _LOG.error("ending without unmounting: %s", error)
        if self._under_manager:
            handing.forget()  # the kernel may have ended the mount before anybody here was told
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        self._service.end(_CLOSE_OUTPUT_S if self._order.output is not None else _CLOSE_S)
        for each in self._stops:
            each.answer({"busy": False})
        self._conversations.close()
