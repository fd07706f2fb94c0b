"""The native driver: service threads on /dev/fuse.

A service thread blocks in `read` on the device and answers what needs no waiting by itself; a READ that must wait is
answered by the thread that brought its bytes. There is no event loop, no thread waits for a single request, and there is no
hop between threads that has no reason. What is in flight is bounded by the kernel (max_background) for its read-ahead, and
by the number of readers otherwise. All threads are made before the first request is taken: a limit on threads or memory
that is met later could only be met by hanging a reader.

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
from mountd.fuse.protocol import Limits, MalformedRequestError, Opcode, Request

_LOG = logging.getLogger(__name__)
SERVICE_THREADS = 2
_PAUSE_S = 0.1  # after an error of the device that nobody foresaw: it may last, and must not cost a whole core
_GONE = frozenset({errno.ENOENT, errno.EINTR, errno.EAGAIN})
_ENDED = frozenset({errno.ENODEV, errno.EBADF})


def negotiate(device: int, limits: Limits) -> int:
    """Answer the kernel's INIT, the first request on a new mount; return the flags agreed on."""
    request = protocol.parse(os.read(device, protocol.MAX_READ_BYTES + protocol.BODY_LIMIT_BYTES))
    if request.opcode != Opcode.INIT:
        raise FuseUnavailableError(f"the kernel's first request is {request.opcode}, not INIT; is the device in use?")
    try:
        body, agreed = protocol.negotiate(request, limits)
    except MalformedRequestError as error:
        raise FuseUnavailableError(f"{error}; a kernel from 5.4 on is needed") from None
    os.writev(device, [protocol.header(request.unique, len(body)), body])
    return agreed


class Driver:
    """Serves one mounted device until the mount ends; `closed` is called once, by the last service thread."""

    def __init__(self, device: int, operations: Operations, closed: Callable[[], None]) -> None:
        self._device, self._operations, self._closed = device, operations, closed
        self._lock = threading.Lock()  # protects the count of serving threads
        self._serving = SERVICE_THREADS
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"fuse-{number}", daemon=True)
            for number in range(SERVICE_THREADS)
        ]

    def start(self) -> None:
        """Begin to serve.

        Raises:
            FuseUnavailableError: this user may have no more threads.
        """
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

    def _serve(self) -> None:
        buffer = bytearray(protocol.MAX_READ_BYTES + protocol.BODY_LIMIT_BYTES)  # the kernel insists on this much room
        view = memoryview(buffer)
        try:
            while self._goes_on(buffer, view):
                pass
        finally:
            with self._lock:
                self._serving -= 1
                last = not self._serving
            if last:
                self._closed()

    def _goes_on(self, buffer: bytearray, view: memoryview) -> bool:
        try:
            return self._serve_one(buffer, view)
        except Exception:  # noqa: BLE001  # no memory to take a request with: the next one may find some
            _LOG.exception("a request was not taken")
            time.sleep(_PAUSE_S)
            return True

    def _serve_one(self, buffer: bytearray, view: memoryview) -> bool:
        """Take and answer one request; False when the mount has ended."""
        try:
            count = os.readv(self._device, [buffer])
        except OSError as error:
            if error.errno not in _GONE and error.errno not in _ENDED:
                _LOG.error("reading the FUSE device: %s", error)
                time.sleep(_PAUSE_S)
            return error.errno not in _ENDED
        if self._stopped:
            return False
        try:
            request = protocol.parse(view[:count])
        except MalformedRequestError as error:
            _LOG.warning("the kernel sent bytes that are no request: %s", error)
            return True
        if request.opcode not in protocol.UNANSWERED:
            self._handle(request)
        return True

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
