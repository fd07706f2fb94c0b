"""What the launcher waits on: signals, its threads, and the descriptors of those it watches.

Signal handlers and threads only note something and ring; the main thread, which is alone in acting on it, waits in `wait`.
A signal that was ignored when the job was started (nohup, a background job's SIGINT) stays ignored.
"""

import contextlib
import os
import selectors
import signal
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

_STOPS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class HasFileno(Protocol):
    """What can be waited on."""

    def fileno(self) -> int:
        """The descriptor."""


class Bell:
    """Catches SIGTERM, SIGINT and SIGHUP while it is open (in the main thread); `stops` are those that came, in order."""

    def __init__(self) -> None:
        self.stops: list[int] = []
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def ring(self) -> None:
        """Wake the main thread; from any thread, and without waiting."""
        with contextlib.suppress(BlockingIOError, OSError):  # full: it rings already; closed: nobody waits any more
            os.write(self._write, b"!")

    def wait(self, watched: Iterable[HasFileno] = (), timeout_s: float | None = None) -> set[int]:
        """Wait for the bell, for one of `watched`, or for the time to be over; return the descriptors that are ready."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._read, selectors.EVENT_READ)
            for each in watched:
                selector.register(each.fileno(), selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(timeout_s)}
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass
        return ready

    def _note(self, number: int, _: FrameType | None) -> None:
        self.stops.append(number)
        self.ring()
