"""The contract between whoever starts a worker and the worker.

The starter makes a pair of stream sockets and executes `python -m mountd.daemon N`, N being the worker's end. Then:

1. starter → worker   one line of JSON, the *order*: what to mount where. Credentials are in it, and only in it: the socket
                      is in no argv, no environment and no file, and the worker has made itself undumpable before it reads.
2. worker → starter   one line: {"ready": PID} when the mount answers, or {"error": CLASS, "message": LINE}, after which the
                      worker ends and has left nothing.
3. then silence. The end of the worker closes the socket, so the starter sees its death. If the order says `lifeline`, the
   end of the starter's side makes the worker detach the mount and end; otherwise the worker goes on alone.

The order is versioned; a worker refuses a version it does not know.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mountd import errors
from mountd.errors import DefectError, MountdError
from mountd.processes import ProcessId
from mountd.stores.credentials import Credential

VERSION = 1
_LINE_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to serve. `settings` are texts as `config.load` takes them; `credentials` go by store URL."""

    manifest: Path
    mountpoint: Path
    source: str
    settings: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict, repr=False)
    lifeline: bool = False
    mark: str = ""
    owner: ProcessId | None = None
    owns_manifest: bool = False  # remove the manifest when the mount ends
    log_level: str = "WARNING"


def send_order(channel: socket.socket, order: Order) -> None:
    """Step 1, the starter's side."""
    told = {
        "version": VERSION,
        "manifest": str(order.manifest),
        "mountpoint": str(order.mountpoint),
        "source": order.source,
        "settings": dict(order.settings),
        "credentials": {url: credential.to_json() for url, credential in order.credentials.items()},
        "lifeline": order.lifeline,
        "mark": order.mark,
        "owner": [order.owner.pid, order.owner.start_ticks] if order.owner else None,
        "owns_manifest": order.owns_manifest,
        "log_level": order.log_level,
    }
    channel.sendall(json.dumps(told).encode() + b"\n")


def receive_order(channel: socket.socket) -> Order:
    """Step 1, the worker's side.

    Raises:
        DefectError: no order, or one of another version.
    """
    told = _receive(channel)
    if told is None or told.pop("version", None) != VERSION:
        raise DefectError(f"the worker got no order of version {VERSION}; are two versions of Moorage installed?")
    return Order(
        manifest=Path(told.pop("manifest")),
        mountpoint=Path(told.pop("mountpoint")),
        credentials={url: Credential.from_json(each) for url, each in told.pop("credentials").items()},
        owner=ProcessId(*owner) if (owner := told.pop("owner")) else None,
        **told,
    )


def send_ready(channel: socket.socket, pid: int) -> None:
    """Step 2, all well."""
    channel.sendall(json.dumps({"ready": pid}).encode() + b"\n")


def send_error(channel: socket.socket, error: MountdError) -> None:
    """Step 2, it cannot be."""
    channel.sendall(json.dumps({"error": type(error).__name__, "message": str(error)}).encode() + b"\n")


def receive_answer(channel: socket.socket) -> None:
    """Step 2, the starter's side: return when the mount answers.

    Raises:
        MountdError: what the worker reported, as the class it reported; then it has left nothing.
        EOFError: the worker ended without a word.
        TimeoutError: no answer within the channel's timeout.
    """
    told = _receive(channel)
    if told is None:
        raise EOFError
    if "error" in told:
        kind = getattr(errors, told["error"], DefectError)
        raise kind(told["message"])


def _receive(channel: socket.socket) -> dict[str, Any] | None:
    line = bytearray()
    while not line.endswith(b"\n"):
        part = channel.recv(65536)
        if not part or len(line) > _LINE_LIMIT_BYTES:
            return None
        line += part
    return dict(json.loads(line))
