"""`python -m mountd.daemon N`: the worker, one process that serves one mount for as long as it lives.

It is told over the inherited socket N what to do (see `contract.serving`), composes a `Worker`, waits until its predecessor
is dead, serves, and lives as `life` says. It may be killed at any moment: nothing that it has is needed by the next one. It
leaves by `os._exit`, because a thread that waits in a read of /dev/fuse cannot be interrupted; everything that must be
finished is finished before. Signals do to it what they do to any process: its supervisor minds the life of the mount.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from mountd import config, log
from mountd.contract import serving
from mountd.contract.serving import Work
from mountd.daemon.life import Life
from mountd.daemon.worker import Worker
from mountd.errors import DefectError, MountdError
from mountd.hardening import harden

if TYPE_CHECKING:
    from mountd.daemon.output import OutputWorker

_LOG = logging.getLogger("mountd.daemon")
_M_ARENA_MAX = -8


def _keep_one_heap() -> None:
    """Let threads share one heap: with one each, the C library keeps megabytes of freed extents for every thread."""
    import ctypes

    with contextlib.suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _serve(work: Work, channel: socket.socket) -> None:
    with ExitStack() as parts:
        worker = _composed(work, parts)
        serving.send(channel, "ready")
        device = serving.receive_device(channel)
        if device is None:
            return
        driver = worker.serve(device)
        parts.callback(driver.stop)
        serving.send(channel, "serving")
        trio.run(Life(worker, work, channel, device.number).run)


def _composed(work: Work, parts: ExitStack) -> "Worker | OutputWorker":
    if work.order.output is not None:
        from mountd.daemon.output import OutputWorker  # only here: it needs an extra

        os.umask(work.order.umask)  # the spool's folder is its owner's alone all the same
        return OutputWorker(work, parts)
    return Worker(work, parts)


def main() -> None:
    """Serve what comes over the inherited socket argv[1]."""
    harden()
    _keep_one_heap()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = socket.socket(fileno=int(sys.argv[1]))
    code = 0
    try:
        work = serving.receive_work(channel)
        form = config.load(work.order.settings).settings.log_format
        log.open_log(work.order.log_level, sys.stderr, form, {"mountpoint": str(work.order.mountpoint)})
        _serve(work, channel)
    except MountdError as error:
        code = _tell(channel, error)
    except Exception as error:  # noqa: BLE001  # the supervisor must hear of it, whatever it is
        _LOG.exception("defect in the worker")
        code = _tell(channel, DefectError(f"{type(error).__name__}: {error}; please report it"))
    logging.shutdown()
    os._exit(code)  # threads may still wait in a read of the device, which nothing can interrupt


def _tell(channel: socket.socket, error: MountdError) -> int:
    with contextlib.suppress(OSError):  # the supervisor is gone; then nobody is to be told
        serving.send_error(channel, error)
    return error.exit_code


if __name__ == "__main__":
    main()
