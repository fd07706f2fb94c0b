"""`python -m mountd.supervisor N`: take an order over the inherited socket N, make the mount, and mind it to its end.

    --handed N         go on with a mount that is there (see `handing`)
    --foreground N     the order waits in the socket N already, and nobody listens: errors are one line on stderr
    --understands V    leave with 0 if what is handed on in version V can be taken up

It leaves with the exit code of what went wrong, and then has left nothing.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from contextlib import ExitStack
from typing import cast

from mountd import log, records
from mountd.contract import starting
from mountd.contract.starting import Order
from mountd.errors import DefectError, MountdError, MountPointError
from mountd.fuse import mounting
from mountd.hardening import harden, take_descriptors
from mountd.records import Claim
from mountd.supervisor import handing
from mountd.supervisor.handing import Handed
from mountd.supervisor.life import Supervisor
from mountd.supervisor.logfile import LogFile
from mountd.supervisor.sockets import Sockets

_LOG = logging.getLogger("mountd.supervisor")
_ORPHAN_S = 5.0


def _supervise(order: Order, channel: socket.socket | None, handed: Handed | None) -> int:
    with ExitStack() as parts:
        if order.owns_manifest:
            parts.callback(order.manifest.unlink, missing_ok=True)
        claim = parts.enter_context(_claim(order, handed))
        log_file = None
        if not (order.lifeline or order.foreground):
            log_file = LogFile(records.folder_of(order.mountpoint) / "log")
        form = cast("log.LogFormat", order.settings.get("log_format", "auto"))
        log.open_log(order.log_level, sys.stderr, form, {"mountpoint": str(order.mountpoint)})
        if handed is not None and handed.control is not None and handed.plan_socket is not None:
            sockets = Sockets.inherited(handed.control, handed.plan_socket)
        else:
            sockets = Sockets.open(order)
        parts.callback(sockets.close)
        return Supervisor(order, claim, channel, sockets, log_file).run(handed)


def _claim(order: Order, handed: Handed | None) -> Claim:
    """The sole right to the mount point, which is free, or holds the mount that was handed over."""
    if handed is not None:
        if handed.claim is not None:
            return Claim(order.mountpoint, handed.claim)
        return Claim(order.mountpoint)
    _refuse_mounted(order)
    claim = Claim(order.mountpoint)
    try:
        if mounting.clear_dead(order.mountpoint):
            _LOG.warning("%s: a dead mount was there; took it off", order.mountpoint)
        mounting.check(order.mountpoint)
    except BaseException:
        claim.release()
        raise
    return claim


def _refuse_mounted(order: Order) -> None:
    """Who is there already can be named now; that it stays so is the claim's part."""
    end_s = time.monotonic() + _ORPHAN_S
    while True:
        try:
            mounting.refuse_mounted(order.mountpoint)
        except MountPointError:
            record = records.find(order.mountpoint)
            if record is None or record.alive or time.monotonic() >= end_s:
                raise
            time.sleep(0.05)  # a worker that has just lost its supervisor takes the mount off
        else:
            return


def _leave(number: int, _: object) -> None:
    """Until the loop listens: what was begun is undone."""
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _tell(channel: socket.socket | None, error: MountdError) -> int:
    if channel is None:
        line = log.redact(" ".join(str(error).splitlines()))
        sys.stderr.write(f"mountd: {line}\n")
    else:
        with contextlib.suppress(OSError):  # the starter is gone; then nobody is to be told
            starting.send_error(channel, error)
    return error.exit_code


def _begin(arguments: list[str]) -> int:
    """The exit code."""
    given = socket.socket(fileno=int(arguments[-1]))
    given.set_inheritable(False)
    channel = given if arguments[0] == arguments[-1] else None
    try:
        if arguments[0] == "--handed":
            handed = handing.receive(given)
            channel = socket.socket(fileno=handed.channel) if handed.channel is not None else None
            return _supervise(handed.order, channel, handed)
        return _supervise(starting.receive_order(given), channel, None)
    except MountdError as error:
        return _tell(channel, error)
    except OSError as error:  # no room, no descriptor, no process: what the machine refuses is no defect
        return _tell(channel, MountPointError(f"cannot mount: {error}"))
    except Exception as error:  # noqa: BLE001  # whoever wants the mount must hear of it, whatever it is
        _LOG.exception("defect in the supervisor")
        return _tell(channel, DefectError(f"{type(error).__name__}: {error}; please report it"))
    except SystemExit as leaving:
        return int(str(leaving.code))


def main() -> None:
    """Do what the command line says."""
    arguments = sys.argv[1:]
    if arguments[0] == "--understands":
        sys.exit(0 if arguments[1] == str(handing.VERSION) else f"it understands version {handing.VERSION} only")
    harden()
    take_descriptors()  # its workers inherit them
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    code = _begin(arguments)
    logging.shutdown()
    os._exit(code)  # a thread may still wait for fusermount3, or in the kernel


if __name__ == "__main__":
    main()
