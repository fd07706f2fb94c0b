"""Canceling a job from outside: SIGTERM to its launcher, once that is there to hear it.

Between `submit` and the launcher's first steps the record still names the process that submitted, which must never get the
signal; and a launcher that has no handler yet would die of it and leave the job half made. So whoever cancels waits for
both, for a bounded time.
"""

import os
import signal
import time
from pathlib import Path

from runtime.errors import UserErrorException
from runtime.job import processes, runs
from runtime.workspace import WorkspaceFolder

_DEADLINE_S = 20.0
_POLL_S = 0.02


def cancel(workspace: WorkspaceFolder, run_id: str, launcher_pid: int | None) -> None:
    """End the job; `launcher_pid` is its launcher if this process started it.

    Raises:
        UserErrorException: its launcher did not come up in time.
    """
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end:
        record = runs.read(workspace, run_id)
        if record.status in runs.FINAL or record.is_left_behind():
            return
        pid = launcher_pid
        if pid is None and record.status != "NotStarted" and record.launcher is not None:
            pid = record.launcher.pid
        if pid == os.getpid():
            return
        if record.launcher is not None and record.launcher.state() == "elsewhere":
            break
        if pid is not None and processes.identity(pid) is None:
            return
        if pid is not None and _hears(pid):
            processes.send(pid, signal.SIGTERM)
            return
        time.sleep(_POLL_S)  # the other process says nothing about it
    raise UserErrorException(
        f"run '{run_id}' has no launcher that could be told to end; see whether its machine is this one"
    )


def _hears(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM; True where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "f" * 16)
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
