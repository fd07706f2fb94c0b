"""Programs that the benchmark starts: each ends with it, and none is waited for without a limit.

Every one has a session of its own, so Ctrl-C is for the benchmark alone, which then ends them in order. The kernel ends them
when the benchmark is killed (`WITH_US`).
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Put before a command: it is told to end when this process ends, however that happens.
WITH_US = ("setpriv", "--pdeathsig", "TERM")


class BenchmarkError(Exception):
    """The benchmark cannot go on; one line says why and what to do."""


def ask(command: Sequence[str], order: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    """Run a program that takes one JSON object on its standard input, and return the one it prints.

    Raises:
        BenchmarkError: it failed, or was not done within `limit_s`; then it is killed with all that it started.
    """
    with subprocess.Popen(
        [*WITH_US, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    ) as process:
        try:
            said, wrong = process.communicate(json.dumps(order), limit_s)
        except BaseException as error:  # Ctrl-C, too
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BenchmarkError(f"{command[-1]}: not done within {limit_s:g} s") from None
            raise
    if process.returncode:
        lines = wrong.strip().splitlines() or [f"ended with {process.returncode}, without a word"]
        raise BenchmarkError(f"{command[-1]}: {lines[-1]}")
    return dict(json.loads(said))


def end(process: "subprocess.Popen[bytes]", grace_s: float = 30) -> None:
    """Ask a process of ours to end, and end it if it does not."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Return when `condition()` is true.

    Raises:
        BenchmarkError: it was not within `limit_s`.
    """
    last = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > last:
            raise BenchmarkError(f"waited {limit_s:g} s for {what}")
        time.sleep(0.01)  # a poll of another program's state, which offers nothing to wait on
