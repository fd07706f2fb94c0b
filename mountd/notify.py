"""Word to the service manager: systemd's notification protocol, one datagram a message.

NOTIFY_SOCKET names a Unix datagram socket (`@` first: in the abstract namespace); whoever starts us without it gets no
message and no error. Messages: `READY=1`, `STATUS=one line`, `STOPPING=1`, `WATCHDOG=1`.
"""

import os
import socket
from collections.abc import Mapping


def notify(*messages: str, environ: Mapping[str, str] = os.environ) -> bool:
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
            channel.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        return False
    return True


def ready(status: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Say that the service is up, and show `status` in `systemctl status`."""
    return notify("READY=1", f"STATUS={status}", environ=environ)


def stopping(environ: Mapping[str, str] = os.environ) -> bool:
    """Say that the service is going down."""
    return notify("STOPPING=1", environ=environ)
