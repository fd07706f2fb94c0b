"""`python -m mountd.daemon N`: the worker, one process that serves one mount.

It takes its order over the inherited socket N (see `contract`), builds a `Worker`, mounts, and lives as `life` says. It
leaves by `os._exit`, because a thread that waits in a read of /dev/fuse cannot be interrupted; everything that must be
finished is finished before.
"""

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import ExitStack

import trio

from mountd import config, contract, log, records
from mountd.contract import Order
from mountd.daemon.life import Life
from mountd.daemon.worker import Worker
from mountd.errors import DefectError, MountdError, MountPointError
from mountd.fuse import mounting
from mountd.processes import ProcessId
from mountd.records import Claim, MountRecord

_LOG = logging.getLogger("mountd.daemon")
_LOG_LIMIT_BYTES = 1 << 20
_PR_SET_DUMPABLE = 4
_M_ARENA_MAX = -8


def _harden() -> None:
    """Before any secret: no core dump, and no other process of this user may read our memory or environment."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _keep_one_heap() -> None:
    """Let threads share one heap: with one each, the C library keeps megabytes of freed extents for every thread."""
    import ctypes

    with contextlib.suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _open_log(order: Order) -> None:
    form, fields = config.load(order.settings).settings.log_format, {"mountpoint": str(order.mountpoint)}
    if order.lifeline:
        log.open_log(order.log_level, sys.stderr, form, fields)
    else:
        folder = records.folder_of(order.mountpoint)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.open_log_file(order.log_level, folder / "log", _LOG_LIMIT_BYTES, form, fields)


def _serve(order: Order, channel: socket.socket) -> None:
    with ExitStack() as parts:
        if order.owns_manifest:
            parts.callback(order.manifest.unlink, missing_ok=True)
        mounting.check(order.mountpoint)  # who is there already can be named now; that it stays so is the claim's part
        claim = parts.enter_context(Claim(order.mountpoint))
        _open_log(order)
        worker = Worker(order, parts)
        parts.callback(_detach, worker, claim)
        parts.callback(worker.mount().stop)
        parts.callback(_ignore_signals)  # the first to run: from here on nothing interrupts the end
        owner = order.owner if order.lifeline else None
        record = MountRecord(worker.mountpoint, order.source, ProcessId.of(os.getpid()), order.mark, owner)
        trio.run(Life(worker, claim, channel, lifeline=order.lifeline).run, record)


def _detach(worker: Worker, claim: Claim) -> None:
    """Leave no dead mount and no record behind, however the life of this one ended."""
    device = worker.device_number
    if not device and (entry := mounting.find(worker.mountpoint)) and entry.fs_type == mounting.FS_TYPE:
        device = entry.device  # a signal came right after mount(2); by the claim and the check before it is ours
    try:
        mounting.end(worker.mountpoint, device, lazy=True)
    except MountPointError as error:
        _LOG.error("ending without unmounting: %s", error)
    claim.release()


def _leave(number: int, _: object) -> None:
    _ignore_signals()
    sys.exit(128 + number)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _tell(channel: socket.socket, error: MountdError) -> int:
    with contextlib.suppress(OSError):  # the starter is gone; then nobody is to be told
        contract.send_error(channel, error)
    return error.exit_code


def main() -> None:
    """Serve the order that comes over the inherited socket argv[1]."""
    _harden()
    _keep_one_heap()
    os.chdir("/")
    os.umask(0o077)
    channel = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # until `Life` listens: what was begun is undone
    code = 0
    try:
        _serve(contract.receive_order(channel), channel)
    except MountdError as error:
        code = _tell(channel, error)
    except Exception as error:  # noqa: BLE001  # the starter must hear of it, whatever it is
        _LOG.exception("defect in the worker")
        code = _tell(channel, DefectError(f"{type(error).__name__}: {error}; please report it"))
    except SystemExit as leaving:
        code = int(str(leaving.code))
    logging.shutdown()
    os._exit(code)  # threads may still wait in a read of the device, which nothing can interrupt


if __name__ == "__main__":
    main()
