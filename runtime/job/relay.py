"""What the child prints, carried on: to the launcher's own stdout and stderr, and to the run's log.

One thread reads two pipes and writes on what it read before it reads more, so nothing is held back but one block, and a
reader that is slow slows the child down as it would without us. The launcher's own lines go into the log in between.

`close` is called when the child and all its descendants have ended: what is in the pipes then is carried on, and a process
outside of the job that still holds one of them (a server it handed its stdout to) is not waited for.
"""

import contextlib
import os
import selectors
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_BLOCK_BYTES = 1 << 16
_LAST_WORDS_S = 60.0  # how long whoever reads our stdout may stand still once the job is over


class Relay:
    """Two pipes for the child, `out` and `err`, and the log file; a context manager."""

    def __init__(self, log: Path, *, passthrough: bool) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._wake, self._waker = os.pipe()
        out_read, self.out = os.pipe()
        err_read, self.err = os.pipe()
        self._targets: dict[int, int | None] = {out_read: None, err_read: None}
        if passthrough:
            sys.stdout.flush()
            self._targets = {out_read: sys.stdout.fileno(), err_read: sys.stderr.fileno()}
        for descriptor in self._targets:
            os.set_blocking(descriptor, False)
        self._passthrough = passthrough
        self._thread = threading.Thread(target=self._carry, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def say(self, line: str) -> None:
        """One line of the launcher's own, on stderr and in the log."""
        text = f"moorage: {' '.join(line.split())}\n".encode("utf-8", "replace")
        with contextlib.suppress(OSError):  # as in `_pass_on`
            _write_all(self._log, text)
        if self._passthrough:
            with contextlib.suppress(OSError):
                _write_all(sys.stderr.fileno(), text)

    def release_child_ends(self) -> None:
        """Close our copies of the child's ends, once it has its own."""
        for descriptor in (self.out, self.err):
            if descriptor >= 0:
                os.close(descriptor)
        self.out = self.err = -1

    def drain(self) -> None:
        """Carry on what is in the pipes now, and stop reading them."""
        self.release_child_ends()
        if self._waker >= 0:
            os.close(self._waker)
            self._waker = -1
            self._thread.join(_LAST_WORDS_S)

    def close(self) -> None:
        """As `drain`, and the log is closed."""
        self.drain()
        if not self._thread.is_alive() and self._log >= 0:
            for descriptor in (*self._targets, self._wake, self._log):
                os.close(descriptor)
            self._log = -1

    def _carry(self) -> None:
        with selectors.DefaultSelector() as selector:
            for descriptor in (*self._targets, self._wake):
                selector.register(descriptor, selectors.EVENT_READ)
            while len(selector.get_map()) > 1:
                ready = {key.fd for key, _ in selector.select()}
                for descriptor in self._targets:  # stdout first: who writes to both mostly starts there
                    if descriptor in ready and self._pass_on(descriptor) is False:
                        selector.unregister(descriptor)
                if self._wake in ready:
                    self._empty()
                    return

    def _empty(self) -> None:
        """Pass on what the pipes hold; what comes later comes from outside of the job."""
        for descriptor in self._targets:
            while self._pass_on(descriptor):
                pass

    def _pass_on(self, descriptor: int) -> bool | None:
        """Carry one block: True if there was one, None if there is none now, False at the end."""
        try:
            block = os.read(descriptor, _BLOCK_BYTES)
        except BlockingIOError:
            return None
        if not block:
            return False
        with contextlib.suppress(OSError):  # a full disk costs the log, not the job
            _write_all(self._log, block)
        target = self._targets[descriptor]
        if target is not None:
            try:
                _write_all(target, block)
            except OSError:  # whoever read us is gone; the log goes on
                self._targets[descriptor] = None
        return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # our stdout may be somebody's non-blocking socket
            with selectors.DefaultSelector() as selector:
                selector.register(descriptor, selectors.EVENT_WRITE)
                selector.select()
