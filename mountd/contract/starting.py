"""The contract between whoever wants a mount and its supervisor.

The starter makes a pair of stream sockets and executes `python -m mountd.supervisor N`, N being the supervisor's end. Then:

1. starter → supervisor   one line of JSON, the *order*: what to mount where. Credentials are in it, and only in it: the
                          socket is in no argv, no environment and no file, and the supervisor has made itself undumpable
                          before it reads.
2. supervisor → starter   one line: {"ready": PID} when the mount answers, or {"error": CLASS, "message": LINE}, after which
                          the supervisor ends and has left nothing.
3. then silence. The end of the supervisor closes the socket, so the starter sees its death. If the order says `lifeline`,
   the end of the starter's side makes the supervisor detach the mount and end; otherwise the supervisor goes on alone.

With `foreground` there is no starter: it has become the supervisor, and errors go to stderr.

The order is versioned; a supervisor refuses a version it does not know.
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
from mountd.stores.credentials.origins import handed_on

VERSION = 3
_LINE_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Output:
    """Where files go, below `prefix` of the store at the base URL `url`, and the folder in which they wait for it."""

    url: str
    prefix: str
    spool: Path


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be mounted. `settings` are texts as `config.load` takes them; `credentials` go by store URL.

    With `output` it is mounted read-write, and there is no manifest; what comes to a store that is a folder has the `umask`
    of who asked for it.
    """

    manifest: Path
    mountpoint: Path
    source: str
    settings: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict, repr=False)
    lifeline: bool = False
    foreground: bool = False
    print_status: bool = False  # on stdout, when the mount answers
    mark: str = ""
    owner: ProcessId | None = None
    owns_manifest: bool = False  # remove the manifest when the mount ends
    log_level: str = "WARNING"
    output: Output | None = None
    umask: int = 0o077

    @property
    def driver(self) -> str:
        """What speaks FUSE."""
        return "pyfuse3" if self.output is not None else self.settings.get("driver", "native")


def to_json(order: Order) -> bytes:
    """The order as one line; it holds the secrets."""
    told = {
        "version": VERSION,
        "manifest": str(order.manifest),
        "mountpoint": str(order.mountpoint),
        "source": order.source,
        "settings": dict(order.settings),
        "credentials": {url: handed_on(credential).to_json() for url, credential in order.credentials.items()},
        "lifeline": order.lifeline,
        "foreground": order.foreground,
        "print_status": order.print_status,
        "mark": order.mark,
        "owner": [order.owner.pid, order.owner.start_ticks] if order.owner else None,
        "owns_manifest": order.owns_manifest,
        "log_level": order.log_level,
        "output": [order.output.url, order.output.prefix, str(order.output.spool)] if order.output else None,
        "umask": order.umask,
    }
    return json.dumps(told).encode() + b"\n"


def from_json(line: bytes) -> Order:
    """The order that `to_json` made.

    Raises:
        DefectError: none, or one of another version.
    """
    try:
        told = dict(json.loads(line))
    except ValueError:
        told = {}
    if told.pop("version", None) != VERSION:
        raise DefectError(f"no order of version {VERSION} came; are two versions of Moorage installed?")
    output = told.pop("output")
    return Order(
        output=Output(output[0], output[1], Path(output[2])) if output else None,
        manifest=Path(told.pop("manifest")),
        mountpoint=Path(told.pop("mountpoint")),
        credentials={url: Credential.from_json(each) for url, each in told.pop("credentials").items()},
        owner=ProcessId(*owner) if (owner := told.pop("owner")) else None,
        **told,
    )


def send_order(channel: socket.socket, order: Order) -> None:
    """Step 1, the starter's side."""
    channel.sendall(to_json(order))


def receive_order(channel: socket.socket) -> Order:
    """Step 1, the supervisor's side.

    Raises:
        DefectError: no order, or one of another version.
    """
    return from_json(receive_line(channel))


def send_ready(channel: socket.socket, pid: int) -> None:
    """Step 2, all well."""
    channel.sendall(json.dumps({"ready": pid}).encode() + b"\n")


def send_error(channel: socket.socket, error: MountdError) -> None:
    """Step 2, it cannot be."""
    channel.sendall(json.dumps({"error": type(error).__name__, "message": str(error)}).encode() + b"\n")


def receive_answer(channel: socket.socket) -> None:
    """Step 2, the starter's side: return when the mount answers.

    Raises:
        MountdError: what the supervisor reported, as the class it reported; then it has left nothing.
        EOFError: the supervisor ended without a word.
        TimeoutError: no answer within the channel's timeout.
    """
    line = receive_line(channel)
    if not line:
        raise EOFError
    raise_told(dict(json.loads(line)))


def raise_told(told: Mapping[str, Any]) -> None:
    """Raise the error that {"error": CLASS, "message": LINE} tells of; anything else is none.

    Raises:
        MountdError: of the class that was told.
    """
    if "error" in told:
        kind = getattr(errors, str(told["error"]), DefectError)
        raise kind(str(told.get("message")))


def receive_line(channel: socket.socket) -> bytes:
    """One line; empty if the other side ended before it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = channel.recv(65536)
        if not part or len(line) > _LINE_LIMIT_BYTES:
            return b""
        line += part
    return bytes(line)
