"""`python -m mountd.daemon N`: the worker, one process that serves one mount.

It takes its order over the inherited socket N (see `contract`), builds a `Worker`, mounts, and lives as `life` says. It
leaves by `os._exit`, because a thread that waits in a read of /dev/fuse cannot be interrupted; everything that must be
finished is finished before.
"""

import logging
import os
import resource
import signal
import socket
import sys
from contextlib import ExitStack

import trio

from mountd import contract, log, records
from mountd.contract import Order
from mountd.daemon.life import Life
from mountd.daemon.worker import Worker
from mountd.errors import DefectError, MountdError
from mountd.fuse import mounting
from mountd.processes import ProcessId
from mountd.records import MountRecord

_LOG = logging.getLogger("mountd.daemon")
_LOG_LIMIT_BYTES = 1 << 20
_PR_SET_DUMPABLE = 4


def _harden() -> None:
    """Before any secret: no core dump, and no other process of this user may read our memory or environment."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _open_log(order: Order) -> None:
    if order.lifeline:
        log.open_log(order.log_level, sys.stderr)
    else:
        folder = records.folder_of(order.mountpoint)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.open_log_file(order.log_level, folder / "log", _LOG_LIMIT_BYTES)


def _serve(order: Order, channel: socket.socket) -> None:
    with ExitStack() as parts:
        if order.owns_manifest:
            parts.callback(order.manifest.unlink, missing_ok=True)
        worker = Worker(order, parts)
        parts.callback(_detach, worker)
        parts.callback(worker.mount().stop)
        owner = order.owner if order.lifeline else None
        record = MountRecord(worker.mountpoint, order.source, ProcessId.of(os.getpid()), order.mark, owner)
        trio.run(Life(worker, channel, lifeline=order.lifeline).run, record)


def _detach(worker: Worker) -> None:
    """Leave no dead mount and no record behind, however the life of this one ended."""
    records.remove(worker.mountpoint)
    entry = mounting.find(worker.mountpoint)
    if entry is not None and entry.device == worker.device_number:
        mounting.unmount(worker.mountpoint, lazy=True)


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Serve the order that comes over the inherited socket argv[1]."""
    _harden()
    os.chdir("/")
    os.umask(0o077)
    channel = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # until `Life` listens: what was begun is undone
    code = 0
    try:
        order = contract.receive_order(channel)
        _open_log(order)
        _serve(order, channel)
    except MountdError as error:
        contract.send_error(channel, error)
        code = error.exit_code
    except Exception as error:  # noqa: BLE001  # the starter must hear of it, whatever it is
        _LOG.exception("defect in the worker")
        contract.send_error(channel, DefectError(f"{type(error).__name__}: {error}; please report it"))
        code = DefectError.exit_code
    except SystemExit as leaving:
        code = int(str(leaving.code))
    logging.shutdown()
    os._exit(code)  # threads may still wait in a read of the device, which nothing can interrupt


if __name__ == "__main__":
    main()
