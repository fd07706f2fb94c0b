"""`python -m mountd.helper L N`: one helper, from its order to the end of its owner.

L is the listening socket, N the owner's channel (see `contract.helping`). It hides its memory before it reads the order,
which holds the secrets, composes, and says `ready`. From then on the main thread waits for the owner, whose end is the
helper's. It may be killed at any moment: it keeps nothing but the cache, which survives that.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from mountd import config, log
from mountd.composing import Common
from mountd.contract import helping
from mountd.contract.helping import Grant, HelperOrder
from mountd.errors import DefectError, MountdError
from mountd.hardening import harden, take_descriptors
from mountd.helper.places import Places
from mountd.helper.serving import Server

_LOG = logging.getLogger("mountd.helper")
_LOOK_S = 5.0


def _ordered(channel: socket.socket) -> HelperOrder:
    packet = helping.receive(channel)
    if packet is None or packet.told.get("say") != "order" or packet.told.get("version") != helping.VERSION:
        raise DefectError(f"the helper got no order of version {helping.VERSION}; are two versions installed?")
    return HelperOrder.from_json(helping.read_sealed(packet))


def _mind(channel: socket.socket, server: Server, places: Places, idle_s: float | None) -> None:
    """Hear the owner until it ends, or nobody has wanted anything for `idle_s`."""
    channel.settimeout(None if idle_s is None else min(_LOOK_S, idle_s))
    while True:
        try:
            packet = helping.receive(channel)
        except TimeoutError:
            if idle_s is not None and server.idle_s() >= idle_s:
                return
            continue
        if packet is None:
            return
        places.add(Grant.from_json(each) for each in json.loads(helping.read_sealed(packet)))
        helping.send(channel, {"say": "granted"})


def _serve(listener: socket.socket, channel: socket.socket) -> None:
    order = _ordered(channel)
    os.umask(order.umask)
    log.open_log(order.log_level, sys.stderr)
    with ExitStack() as parts:
        common = Common(config.load(order.settings).settings, parts)
        places = Places(order.grants)
        server = Server(listener, common, places)
        server.start()
        helping.send(channel, {"say": "ready"})
        _mind(channel, server, places, order.idle_s)
        # In this order: who finds no address starts another helper, and who finds this one is served or starts again.
        Path(listener.getsockname()).unlink(missing_ok=True)
        listener.close()
        server.close()


def main() -> None:
    """Serve on the inherited sockets argv[1] and argv[2]."""
    harden()
    take_descriptors()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # for whoever owns the terminal; our owner's end is ours
    listener, channel = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    code = 0
    try:
        _serve(listener, channel)
    except MountdError as error:
        code = _tell(channel, error)
    except OSError as error:
        code = _tell(channel, DefectError(f"the helper ends: {error}"))
    except Exception as error:  # noqa: BLE001  # the owner must hear of it, whatever it is
        _LOG.exception("defect in the helper")
        code = _tell(channel, DefectError(f"{type(error).__name__}: {error}; please report it"))
    logging.shutdown()
    os._exit(code)  # threads may still wait for a store


def _tell(channel: socket.socket, error: MountdError) -> int:
    with contextlib.suppress(OSError):  # the owner is gone; then nobody is to be told
        helping.send(channel, {"error": type(error).__name__, "message": str(error)})
    return error.exit_code


if __name__ == "__main__":
    main()
