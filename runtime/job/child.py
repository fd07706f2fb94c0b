"""The launcher's end of the keeper: start it, hear from it, pass signals on.

The keeper gets the child's environment and folder, and one end of a socket; the other is the lifeline that the launcher
holds and nobody inherits. What the keeper says is collected by `receive`; its end without `done` means that it died.
"""

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.job.layout import Layout
from runtime.job.processes import send

_KEEPER = Path(__file__).with_name("keeper.py")


class KeptChild:
    """A child under its keeper; a context manager, at whose end the keeper is told to end all, if it has not yet.

    `exit_code` is the child's own, negative for a signal, None until it ended. `failure` is (errno, text) when the command
    could not be started. `done` says that nothing is left of the job's processes, `closed` that the keeper is gone.
    """

    def __init__(self, process: subprocess.Popen[bytes], lifeline: socket.socket) -> None:
        self._process = process
        self._lifeline = lifeline
        self._unread = b""
        self.child_pid: int | None = None
        self.exit_code: int | None = None
        self.failure: tuple[int, str] | None = None
        self.done = False
        self.closed = False

    @classmethod
    def start(cls, layout: Layout, grace_s: float, core_limit: int, out: int, err: int) -> Self:
        """Start the keeper, which starts the child; `out` and `err` are what the child prints to."""
        ours, theirs = socket.socketpair()
        keeper = [sys.executable, "-I", "-S", str(_KEEPER)]
        with theirs:
            process = subprocess.Popen(
                [*keeper, str(theirs.fileno()), str(grace_s), str(core_limit), *layout.started],
                env=dict(layout.environment),
                cwd=layout.cwd,
                stdout=out,
                stderr=err,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the launcher, which passes it on once
            )
        ours.setblocking(False)
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """The keeper's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """The lifeline: readable when the keeper says something or has ended."""
        return self._lifeline.fileno()

    def receive(self) -> None:
        """Take what the keeper has said."""
        try:
            block = self._lifeline.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            block = b""
        if not block:
            self.closed = True
            return
        *lines, self._unread = (self._unread + block).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, message: dict[str, object]) -> None:
        match message:
            case {"started": int(pid)}:
                self.child_pid = pid
            case {"ended": int(code)}:
                self.exit_code = code
            case {"failed": int(number), "text": str(text)}:
                self.failure = (number, text)
            case {"done": True}:
                self.done = True

    def signal(self, number: int) -> None:
        """Have the keeper end the job by this signal; a second one ends the grace."""
        if self._process.poll() is None:
            send(self._process.pid, number)

    def end_keeper(self) -> None:
        """Collect a keeper that closed its end; one that still runs then is killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.closed:
            with contextlib.suppress(OSError):
                self._lifeline.shutdown(socket.SHUT_WR)  # EOF for the keeper, which ends all and then itself
        self._process.wait()
        self._lifeline.close()
