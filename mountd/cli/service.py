"""after-service: what is left to do when the service of a mount has ended, by whatever systemd says of it.

A unit calls it twice. As `ExecStopPost=` it is told how the service ended ($SERVICE_RESULT): after a success what the mount
left is taken off; after a failure nothing is, because this command also runs before an automatic restart, and the service
that is started then goes on with the mount, whose device systemd keeps. From the unit's `OnFailure=` it takes the mount off
if the kernel says that it is dead: systemd closes the device when it has given up. Some versions call that at each failure
(255 does, 252 does not), so the mount itself is asked, and one that lives, or waits for the next service, is left alone.
"""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import click

from mountd import client
from mountd.fuse import mounting

_RESULT: Final = "SERVICE_RESULT"
_FOR_GOOD: Final = frozenset({"success", "start-limit-hit", "exec-condition"})
_DEATH_WAIT_S: Final = 10.0  # systemd closes what it kept a moment after it has called
_ANSWER_WAIT_S: Final = 1.0
_PAUSE_S: Final = 0.1
# Only a request of its own shows that a mount is dead: its attributes may be the kernel's, who keeps them.
_ASK: Final = "import os, sys\ntry: os.statvfs(sys.argv[1])\nexcept OSError as error: sys.exit(error.errno)"


@click.command("after-service", hidden=True)
@click.argument("directory", metavar="DIR", type=Path)
def after_service(directory: Path) -> None:
    """Clean up on DIR after its service, if it has ended for good: for ExecStopPost= and OnFailure= of a unit."""
    result = os.environ.get(_RESULT, "")
    if result in _FOR_GOOD or (not result and _is_dead_soon(directory)):
        _take_off(directory)
    elif mounting.find(directory) is not None:
        why = f"its service failed ({result})" if result else "it is not dead"
        click.echo(f"mountd: {directory}: the mount is left for the next start: {why}", err=True)


def _take_off(directory: Path) -> None:
    was_there = mounting.find(directory) is not None
    client.detach(directory)
    if was_there and mounting.find(directory) is None:
        click.echo(f"mountd: {directory}: took off what the service left", err=True)


def _is_dead_soon(directory: Path) -> bool:
    """True once the kernel says that nobody can ever answer; False if there is no mount, or it lives."""
    end = time.monotonic() + _DEATH_WAIT_S
    while mounting.find(directory) is not None:
        code = _ask(directory)
        if code in {errno.ENOTCONN, errno.ECONNABORTED}:
            return True
        if code == 0 or time.monotonic() > end:
            return False
        time.sleep(_PAUSE_S)
    return False


def _ask(directory: Path) -> int | None:
    """The errno of a request to the mount, 0 if it was answered, None if it was not within a second."""
    # A child asks, and is not waited for without end: who has asked a mount that hangs may not even be killed.
    child = subprocess.Popen([sys.executable, "-I", "-c", _ASK, directory], stdin=subprocess.DEVNULL)
    code = _waited_for(child)
    if code is None:
        child.kill()
        _waited_for(child)
    return code


def _waited_for(child: "subprocess.Popen[bytes]") -> int | None:
    try:
        return child.wait(_ANSWER_WAIT_S)
    except subprocess.TimeoutExpired:
        return None
