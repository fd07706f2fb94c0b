"""Calls with a deadline: whatever a file system or network does, a command that asks about it ends.

A call runs in a thread that the process does not wait for when it ends. A call that may hang where no signal reaches it (a
request of a mount whose worker has taken it and sleeps) needs a process of its own: `answers` has one.
"""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

_Result = TypeVar("_Result")
_ASK: Final = """
import errno, os, sys
try:
    try:
        os.getxattr(sys.argv[1], "user.mountd.status")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        os.statvfs(sys.argv[1])  # an output has no attributes, but its worker tells how much room there is
except OSError as error:
    sys.exit(error.errno)
"""


def begin(call: Callable[[], _Result]) -> "Future[_Result]":
    """Run `call` in a thread of its own; its result has a time-out."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  # it is told to whoever asks for the result
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return future


def answers(mountpoint: Path, limit_s: float) -> str | None:
    """Ask the worker of the mount through the kernel, as a reader does; why there is no answer, or None if there is one."""
    command = [sys.executable, "-I", "-S", "-c", _ASK, os.fspath(mountpoint)]
    nowhere = subprocess.DEVNULL  # whoever reads our output must not wait for a child that cannot be killed
    child = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    try:
        code = child.wait(limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.returncode = -1  # not waited for: where it hangs a kill may have to wait, too
        return f"no answer to a reader within {limit_s:g} s"
    if code in {0, errno.EACCES}:  # a mount of another user's answers nobody else, and that is an answer
        return None
    return "dead" if code == errno.ENOTCONN else os.strerror(code)
