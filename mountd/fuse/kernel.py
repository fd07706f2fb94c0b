"""The native driver: service threads on /dev/fuse.

A service thread blocks in `read` on the device and answers what needs no waiting by itself; a READ that must wait is
answered by the thread that brought its bytes. There is no event loop, no thread waits for a single request, and there is no
hop between threads that has no reason. What is in flight is bounded by the kernel (max_background) for its read-ahead, and
by the number of readers otherwise. All threads are made before the first request is taken: a limit on threads or memory
that is met later could only be met by hanging a reader.

A request is read into a slot of the in-flight table (see `table`), so that the next worker answers what this one no longer
can. It begins with what its predecessor left, before it takes anything new: what two workers died of is answered EIO.
Everything else is answered anew, which is right because a mount is read-only and an answer depends on nothing but the
manifest. Where the kernel can, it is also told to send again whatever is then still without an answer; the two belts get in
each other's way only in that one of two answers is refused.

What the device says: ENOENT from a read is a request that was interrupted meanwhile, ENODEV is the end of the mount; ENOENT
from a write is a reader who went away. Both are normal. Nothing else ends a thread either, and what cannot be answered as
it should be is answered EIO, because a request without an answer hangs its reader for ever.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial

from mountd.errors import FuseUnavailableError
from mountd.fuse import protocol
from mountd.fuse.operations import Operations, Parts
from mountd.fuse.protocol import MalformedRequestError, Request
from mountd.fuse.table import REQUEST_BYTES, InFlightTable, Left

_LOG = logging.getLogger(__name__)
SERVICE_THREADS = 2
_DEADLY = 2  # so many workers died of a request: it is not tried a third time
_PAUSE_S = 0.1  # after an error of the device that nobody foresaw: it may last, and must not cost a whole core
_GONE = frozenset({errno.ENOENT, errno.EINTR, errno.EAGAIN})
_ENDED = frozenset({errno.ENODEV, errno.EBADF})


class Driver:
    """Serves one mounted device until the mount ends; `closed` is called once, by the last service thread."""

    def __init__(
        self, device: int, table: InFlightTable, operations: Operations, closed: Callable[[], None], *, resend: bool
    ) -> None:
        """`resend`: the kernel sends unanswered requests again when it is told to."""
        self._device, self._table, self._operations, self._closed = device, table, operations, closed
        self._resend = resend
        self._lock = threading.Lock()  # protects the count of serving threads
        self._serving = SERVICE_THREADS
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"fuse-{number}", daemon=True)
            for number in range(SERVICE_THREADS)
        ]

    def start(self) -> None:
        """Begin to serve, with what a dead worker left.

        Raises:
            FuseUnavailableError: this user may have no more threads.
        """
        self._adopt()
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:
            raise FuseUnavailableError(
                f"a mount needs {len(self._threads)} threads ({error}); raise the limit (ulimit -u, pids.max)"
            ) from None

    def stop(self) -> None:
        """Take no further request; a thread that is inside the kernel ends with the process."""
        self._stopped = True

    def _adopt(self) -> None:
        left = self._table.adopt()
        for each in left:
            if self._resend:
                self._table.expect_again(each)
            self._answer_for_the_dead(each)
        if left:
            _LOG.info("answered %d requests of a worker that died", len(left))
        if self._resend and left:
            try:
                os.writev(self._device, [protocol.resend_notice()])
            except OSError as error:
                _LOG.info("the kernel does not send requests again: %s", error)

    def _answer_for_the_dead(self, left: Left) -> None:
        try:
            request = protocol.parse(left.request)
        except MalformedRequestError:  # longer than a slot: nothing that is answered is
            self._table.free(left.slot)
            return
        self._table.hold(left.slot, request.unique, deaths=left.deaths)
        if request.opcode in protocol.UNANSWERED:
            self._table.clear(request.unique)
        elif left.deaths >= _DEADLY:
            _LOG.error(
                "request %d of node %d: %d workers died of it; it is answered EIO",
                request.opcode,
                request.node,
                left.deaths,
            )
            self._refuse(request)
        else:
            self._handle(request)

    def _serve(self) -> None:
        scratch = bytearray(protocol.MAX_READ_BYTES + protocol.BODY_LIMIT_BYTES)  # the kernel insists on this much room
        try:
            while self._goes_on(scratch):
                pass
        finally:
            with self._lock:
                self._serving -= 1
                last = not self._serving
            if last:
                self._closed()

    def _goes_on(self, scratch: bytearray) -> bool:
        try:
            return self._serve_one(scratch)
        except Exception:  # noqa: BLE001  # no memory to take a request with: the next one may find some
            _LOG.exception("a request was not taken")
            time.sleep(_PAUSE_S)
            return True

    def _serve_one(self, scratch: bytearray) -> bool:
        """Take and answer one request; False when the mount has ended."""
        slot = self._table.take()
        room = self._table.room(slot)
        try:
            count = os.readv(self._device, [room, scratch])
        except OSError as error:
            self._table.free(slot)
            if error.errno not in _GONE and error.errno not in _ENDED:
                _LOG.error("reading the FUSE device: %s", error)
                time.sleep(_PAUSE_S)
            return error.errno not in _ENDED
        if self._stopped:
            return False
        request = self._parsed(room, scratch, count)
        if request is None or request.opcode in protocol.UNANSWERED:
            self._table.free(slot)
            return True
        self._table.hold(slot, request.unique)
        self._handle(request)
        return True

    @staticmethod
    def _parsed(room: memoryview, scratch: bytearray, count: int) -> Request | None:
        data = room[:count] if count <= REQUEST_BYTES else bytes(room) + scratch[: count - REQUEST_BYTES]
        try:
            return protocol.parse(data)
        except MalformedRequestError as error:
            _LOG.warning("the kernel sent bytes that are no request: %s", error)
            return None

    def _handle(self, request: Request) -> None:
        """Answer `request`, now or by whoever brings its bytes."""
        later = partial(self._answer, request)
        try:
            parts = self._operations.answer(request, later)
        except Exception:  # noqa: BLE001  # no memory left, not even for the answer that says so
            _LOG.exception("no answer to request %d of node %d", request.opcode, request.node)
            self._refuse(request)
        else:
            if parts is not None:
                later(parts)

    def _answer(self, request: Request, parts: Parts) -> None:
        """Send an answer; never raises."""
        try:
            self._send(parts)
        except Exception:  # noqa: BLE001  # no memory left, or the kernel refuses the answer: EIO is what it always takes
            _LOG.exception("no answer to request %d of node %d", request.opcode, request.node)
            self._refuse(request)
        else:
            self._table.clear(request.unique)

    def _send(self, parts: Parts) -> None:
        try:
            os.writev(self._device, parts)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                raise

    def _refuse(self, request: Request) -> None:
        try:
            self._send([protocol.failure(request.unique, errno.EIO)])
        except (OSError, MemoryError):
            _LOG.exception("not even EIO could be said: request %d hangs until the mount ends", request.unique)
        else:
            self._table.clear(request.unique)
