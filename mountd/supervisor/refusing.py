"""EIO for everybody: a thread that answers the kernel when no worker can be had.

An error that comes at once lets a job end and tell why; a mount without anybody would let it wait for ever.
"""

import contextlib
import errno
import logging
import os
import select
import threading
from collections.abc import Callable

from mountd.fuse import protocol
from mountd.fuse.protocol import MalformedRequestError
from mountd.fuse.table import InFlightTable

_LOG = logging.getLogger(__name__)
_LOOK_MS = 200
_PAUSE_S = 0.01  # after an error, which may last
_ENDED = frozenset({errno.ENODEV, errno.EBADF})


class Refuser:
    """Serves a device by refusing; `ended` is called when the kernel has ended the mount."""

    def __init__(self, device: int, table: InFlightTable, ended: Callable[[], None]) -> None:
        self._device, self._table, self._ended = device, table, ended
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="refuser", daemon=True)

    def start(self) -> None:
        """Refuse what dead workers left, and from now on everything."""
        os.set_blocking(self._device, False)  # a request may be taken back between `poll` and `read`
        for left in self._table.adopt():
            self._refuse(left.request)
            self._table.free(left.slot)
        self._thread.start()

    def stop(self) -> None:
        """Let somebody else answer; returns when no request is held here."""
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            os.set_blocking(self._device, True)

    def _serve(self) -> None:
        looking = select.poll()
        looking.register(self._device, select.POLLIN)
        size_bytes = protocol.MAX_READ_BYTES + protocol.BODY_LIMIT_BYTES
        while not self._stopped.is_set():
            if not looking.poll(_LOOK_MS):
                continue
            try:
                self._refuse(os.read(self._device, size_bytes))
            except OSError as error:
                if error.errno in _ENDED:
                    self._ended()
                    return
                self._stopped.wait(_PAUSE_S)
            except MemoryError:
                self._stopped.wait(_PAUSE_S)

    def _refuse(self, data: bytes) -> None:
        try:
            head = protocol.parse_head(data)
        except MalformedRequestError as error:
            _LOG.warning("the kernel sent bytes that are no request: %s", error)
            return
        if head.opcode in protocol.UNANSWERED:
            return
        try:
            os.write(self._device, protocol.failure(head.unique, errno.EIO))
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                _LOG.error("not even EIO could be said: %s", error)
