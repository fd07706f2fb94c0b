"""One worker process: how it is started, told, and ended."""

import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import time

from mountd.contract import serving
from mountd.contract.serving import Device, Message, Work

_LOG = logging.getLogger(__name__)
_SEND_LIMIT = struct.pack("ll", 0, 20_000)  # a timeval: what has no room by then is an error
_REAP_S = 5.0  # a process that is killed may hang in the kernel, waiting for a disk; it does nothing any more


class WorkerProcess:
    """A child process that serves, or will; `fileno` is readable when it says something or has ended."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid, self._channel = pid, channel
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_LIMIT)  # a worker may hang and read nothing
        self.looks = 0  # at it before it served
        self.serving_since_s: float | None = None

    @classmethod
    def start(cls, work: Work, executable: str) -> "WorkerProcess":
        """Execute a worker by this Python, and tell it its work.

        Raises:
            OSError: it cannot be executed.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [executable, "-P", "-m", "mountd.daemon", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C on the terminal is for the supervisor
            )
            process.returncode = 0  # it is waited for below; Popen must not warn of it
        worker = cls(process.pid, ours)
        try:
            serving.send_work(ours, work)
        except OSError:  # it has died already, or no descriptor is free here: without work it would wait for ever
            worker.kill()  # which is seen at the socket's end
        return worker

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._channel.fileno()

    def receive(self) -> Message | None:
        """What it says; None at its end."""
        return serving.receive(self._channel)

    def serve(self, device: Device) -> None:
        """Let it answer the kernel."""
        with contextlib.suppress(OSError):
            serving.send_device(self._channel, device)

    def hand(self, connection: socket.socket) -> bool:
        """Let it speak with somebody; False if it is dead."""
        try:
            serving.send(self._channel, "connection", [connection.fileno()])
        except OSError:
            return False
        return True

    def let_end(self) -> None:
        """Have it close down in order."""
        with contextlib.suppress(OSError):
            serving.send(self._channel, "end")

    def served_s(self) -> float | None:
        """How long it has been serving; None: not yet."""
        return None if self.serving_since_s is None else time.monotonic() - self.serving_since_s

    def kill(self) -> None:
        """End it at once; the end is heard at its socket."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def end(self, wait_s: float = 0) -> int:
        """Wait so long for it to end by itself, then kill it; what waitpid tells of its end."""
        status = self._reap(wait_s)
        if status is None:
            self.kill()
            status = self._reap(_REAP_S)
        if status is None:
            _LOG.error("worker %d does not end: the kernel holds it, perhaps for a disk", self.pid)
            status = signal.SIGKILL
        self._channel.close()
        return status

    def _reap(self, wait_s: float) -> int | None:
        end_s = time.monotonic() + wait_s
        while True:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return 0
            if pid:
                return status
            if time.monotonic() >= end_s:
                return None
            time.sleep(0.005)  # a child that was just killed is gone within a moment
