"""The contract between a supervisor and its workers.

The supervisor makes a pair of packet sockets (SOCK_SEQPACKET) and executes `python -m mountd.daemon N`, N being the worker's
end. Each message is one packet: {"say": WHAT, …}, with descriptors beside it.

    supervisor → worker   work        version, what to serve; descriptors: the order (a sealed memfd, for it holds the
                                      secrets), the in-flight table, the plan socket, and the plan if there is one
    worker → supervisor   ready       all is composed, nothing is served yet; or
                          error       CLASS and LINE: it cannot be; the worker ends
    supervisor → worker   serve       what was agreed with the kernel; descriptor: the device. The worker before it is dead
                                      by now: this one answers what that one left, and goes on
    worker → supervisor   serving     from here on it beats in the table, a few times a second
    supervisor → worker   connection  descriptor: somebody who speaks to the control socket
                          end         close down in order; the mount has been taken off
    worker → supervisor   plan        the digest of its dataset; descriptor: a plan to keep for the next worker
                          credential  the sources that it is for; descriptor: the credential to use from now on (sealed)
                          ended       the kernel has ended the mount

A worker that ends in any other way is replaced. A worker whose socket comes to its end has lost its supervisor: with `keep`
it leaves at once, because another supervisor will come; else it takes the mount off first.

Both sides refuse another version: a supervisor that starts a worker of newer code learns that it cannot, and keeps the old.
"""

import array
import fcntl
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mountd.contract import starting
from mountd.contract.starting import Order
from mountd.errors import DefectError, MountdError

VERSION: Final = 1
_PACKET_BYTES: Final = 65536
_MOST_DESCRIPTORS: Final = 8
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is to do. `age_s`: how old the mount is; `keep`: whether it outlives its supervisor."""

    order: Order
    table: int
    plan_socket: int
    plan: int | None = None
    plan_digest: str = ""
    supervisor_pid: int = 0
    restarts: int = 0
    age_s: float = 0
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """The open device of a mount: MAJ:MIN of the mount, and the flags that were agreed on with the kernel."""

    descriptor: int
    number: str
    agreed: int


@dataclass(frozen=True, slots=True)
class Message:
    """One packet."""

    say: str
    told: dict[str, Any]
    descriptors: tuple[int, ...] = ()


def send(channel: socket.socket, say: str, descriptors: Sequence[int] = (), **told: object) -> None:
    """Send one packet; the other side gets copies of the descriptors."""
    packet = json.dumps({"say": say, **told}).encode()
    socket.send_fds(channel, [packet], list(descriptors))


def receive(channel: socket.socket) -> Message | None:
    """The next packet; None when the other side has ended."""
    try:
        packet, descriptors, _, _ = _receive_packet(channel)
    except ConnectionResetError:
        return None
    if not packet:
        return None
    told = dict(json.loads(packet))
    return Message(str(told.pop("say")), told, tuple(descriptors))


def _receive_packet(channel: socket.socket) -> tuple[bytes, list[int], int, Any]:
    room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
    packet, ancillary, flags, address = channel.recvmsg(_PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    came = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            came.frombytes(data[: len(data) - len(data) % came.itemsize])
    return packet, list(came), flags, address


def send_work(channel: socket.socket, work: Work) -> None:
    """Begin: what the worker is to do."""
    order = sealed("order", starting.to_json(work.order))
    descriptors = [order, work.table, work.plan_socket, *([work.plan] if work.plan is not None else [])]
    told = {
        "plan_digest": work.plan_digest,
        "supervisor_pid": work.supervisor_pid,
        "restarts": work.restarts,
        "age_s": work.age_s,
        "keep": work.keep,
    }
    try:
        send(channel, "work", descriptors, version=VERSION, **told)
    finally:
        os.close(order)


def receive_work(channel: socket.socket) -> Work:
    """The worker's side of `send_work`.

    Raises:
        DefectError: no work, or of another version.
    """
    message = receive(channel)
    if message is None or message.say != "work" or message.told.pop("version", None) != VERSION:
        raise DefectError(f"the worker got no work of version {VERSION}; are two versions of Moorage installed?")
    order, table, plan_socket, *plan = message.descriptors
    text = os.pread(order, os.fstat(order).st_size, 0)
    os.close(order)
    return Work(starting.from_json(text), table, plan_socket, plan[0] if plan else None, **message.told)


def send_device(channel: socket.socket, device: Device) -> None:
    """Serve from now on."""
    send(channel, "serve", [device.descriptor], number=device.number, agreed=device.agreed)


def receive_device(channel: socket.socket) -> Device | None:
    """The worker's side of `send_device`; None if the supervisor does not want it any more."""
    message = receive(channel)
    if message is None or message.say != "serve":
        return None
    return Device(message.descriptors[0], **message.told)


def send_error(channel: socket.socket, error: MountdError) -> None:
    """It cannot be."""
    send(channel, "error", error=type(error).__name__, message=str(error))


def sealed(name: str, content: bytes) -> int:
    """A memfd that nobody can change any more; the caller closes it."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], written)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor
