"""Word to the service manager: systemd's notification protocol, one datagram a message.

NOTIFY_SOCKET names a Unix datagram socket (`@` first: in the abstract namespace); whoever starts us without it gets no
message and no error. Messages: `READY=1`, `STATUS=one line`, `STOPPING=1`, `WATCHDOG=1`, and `FDSTORE=1` with descriptors
beside it, which the manager keeps for the next start of the service and then hands over as LISTEN_FDS says.
"""

import os
import socket
from collections.abc import Mapping, Sequence

_FIRST = 3  # of the descriptors that a service manager passes


def notify(*messages: str, environ: Mapping[str, str] = os.environ, descriptors: Sequence[int] = ()) -> bool:
    """Send `messages` to the service manager; True if one asked for them and the kernel took them.

    A manager that is gone is no reason to fail a mount: every failure to send is False.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    family = getattr(socket, "AF_UNIX", None)  # absent where there is no systemd either
    if family is None or not address.startswith(("/", "@")):
        return False
    text = "\n".join(message.replace("\n", " ") for message in messages)
    try:
        with socket.socket(family, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as channel:
            channel.settimeout(1)
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            if descriptors:
                socket.send_fds(channel, [text.encode()], list(descriptors))
            else:
                channel.send(text.encode())
    except OSError:
        return False
    return True


def ready(status: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Say that the service is up, and show `status` in `systemctl status`."""
    return notify("READY=1", f"STATUS={status}", environ=environ)


def stopping(environ: Mapping[str, str] = os.environ) -> bool:
    """Say that the service is going down."""
    return notify("STOPPING=1", environ=environ)


def watchdog(environ: Mapping[str, str] = os.environ) -> bool:
    """Say that the service goes on, if the manager wants to hear it."""
    return bool(environ.get("WATCHDOG_USEC")) and notify("WATCHDOG=1", environ=environ)


def store(name: str, descriptor: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Let the manager keep a descriptor under `name` for the next start; in the place of one that it keeps already."""
    forget(name, environ)
    return notify("FDSTORE=1", f"FDNAME={name}", environ=environ, descriptors=[descriptor])


def forget(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Let the manager forget a descriptor."""
    return notify("FDSTOREREMOVE=1", f"FDNAME={name}", environ=environ)


def stored(environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """The descriptors that the manager kept for this process, by name; they are not passed on to children."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found = dict(zip(names, range(_FIRST, _FIRST + int(environ.get("LISTEN_FDS", "0"))), strict=False))
    for descriptor in found.values():
        os.set_inheritable(descriptor, False)
    return found
