"""The end of a mount: wait a bounded time until nobody uses it, then detach it, on a thread of its own.

Taking a mount off may need an answer of the mount (`fusermount3` asks for its attributes), so the supervisor's loop, which
replaces dead workers, must not wait for it.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from mountd.errors import DefectError, MountdError
from mountd.fuse import mounting

_POLL_S = 0.1


class Ending:
    """One try to end the mount with this MAJ:MIN; `done` is called by its thread when it has an outcome."""

    def __init__(self, mountpoint: Path, number: str, wait_s: float, done: Callable[[], None]) -> None:
        self._mountpoint, self._number, self._done = mountpoint, number, done
        self._until_s = time.monotonic() + wait_s
        self.is_busy = False  # it was in use, and so it was only detached
        self.failure: MountdError | None = None
        self.is_done = False
        self._thread = threading.Thread(target=self._run, name="ending", daemon=True)
        self._thread.start()

    def hurry(self, wait_s: float) -> None:
        """Wait no longer than this for those who use it."""
        self._until_s = min(self._until_s, time.monotonic() + wait_s)

    def _run(self) -> None:
        try:
            while not self._is_off():
                if time.monotonic() >= self._until_s:
                    self.is_busy = True
                    mounting.end(self._mountpoint, self._number, lazy=True)
                    break
                time.sleep(_POLL_S)
        except MountdError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001  # somebody waits for the outcome
            self.failure = DefectError(f"{self._mountpoint}: {type(error).__name__}: {error}")
        self.is_done = True
        self._done()

    def _is_off(self) -> bool:
        try:
            mounting.end(self._mountpoint, self._number, lazy=False)
        except MountdError:
            return False
        return True
