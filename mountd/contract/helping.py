"""The contract between a helper, whoever starts it, and the processes that it reads for.

**Its owner** binds a packet socket (SOCK_SEQPACKET, 0600) at an address in the user's own folder, and executes `python -m
mountd.helper L N`: L is that socket, listening, N one end of a pair.

    owner → helper    order      version; descriptor: a sealed memfd with the rest, for it holds the secrets
    helper → owner    ready, or error with CLASS and MESSAGE, after which it ends
    owner → helper    grants     descriptor: a sealed memfd with more of them; answered by `granted`

The end of the owner's side ends the helper. With `idle_s` it also ends when nobody was connected for so long.

**Its clients** connect to the address; one connection is one conversation, used by one thread of one process. A packet is a
JSON object behind its length (4 bytes, little endian), then plain bytes. An object that has no room (32 KiB) goes as a
sealed memfd, the packet's first descriptor, and {"body": true} stands for it. The first request is `hello`.

    hello     version                                   answered by {"version", "pid"}
    open      manifest: an absolute path                {"dataset": a number for this connection, "digest"}
    close     dataset                                   {}
    read      dataset, reads: [[inode, offset, size]…]  {"parts": [[where, position, length]…]}, each clipped to the file
    plan      dataset, digest; descriptor: uint32s      {}
    list      datastore, prefix                         {"objects": [[key, size, etag, mtime_ns, directory]…], "more"}, again
    upload    datastore, prefix, files: [[path, key]…], overwrite          {"files", "size_bytes"}
    download  manifest, target, overwrite               {"files", "size_bytes", "fetched_bytes"}
    freeze    sources: [[url, pattern, under]…], target {"digest", "files", "size_bytes"}
    status                                              {"pid", "clients", "datasets", "memory", "cache", "reads", "fetch"}

A client takes each answer before it asks again. `where` is -1 for the packet's own bytes, else the number of one of its
descriptors: a segment of the cache, whose bytes were verified just now, or a sealed memfd, at that position. What a client
keeps of it is the client's. Any request may be answered by {"error": CLASS, "message": LINE} instead, after which the
connection goes on; a packet that is none ends it.

Limits: 128 connections, of which each says `hello` within 5 s; 64 reads and 8 MiB in one request (clients split), 64
datasets, 16 MiB in a body; what all requests hold at once is a share of the memory budget, and a client that takes no
answer for 5 s is let go. No answer holds a credential, and no request may bring one.
"""

import array
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mountd.contract.serving import sealed
from mountd.errors import BadInputError, DefectError
from mountd.stores.base import Buffer
from mountd.stores.credentials import Credential
from mountd.stores.credentials.origins import handed_on

VERSION: Final = 1
MOST_CONNECTIONS: Final = 128
MOST_READS: Final = 64
MOST_DATASETS: Final = 64
READ_BYTES: Final = 8 << 20  # in one request
INLINE_BYTES: Final = 64 << 10  # more goes by descriptor
OBJECTS: Final = 200  # in one answer of a listing
BODY_BYTES: Final = 16 << 20
HELLO_S: Final = 5.0
#: The environment variable with a helper's address.
ADDRESS: Final = "MOORAGE_HELPER"
_HEAD_BYTES: Final = 32 << 10
_PACKET_BYTES: Final = 4 + _HEAD_BYTES + INLINE_BYTES
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Grant:
    """A place that a helper may open: `name` is what requests call it ('' is for reads alone), `url` its base URL.

    With a `reference` (`file:PATH`, `command:LINE`) the credential is looked up when it is needed; `refusal` says why there
    is none, to whoever asks for the place.
    """

    name: str
    url: str
    credential: Credential | None = field(default=None, repr=False)
    reference: str = ""
    refusal: str = ""

    def to_json(self) -> dict[str, Any]:
        """The value with its secret, for a sealed memfd."""
        told = handed_on(self.credential).to_json() if self.credential is not None else None
        return {
            "name": self.name,
            "url": self.url,
            "credential": told,
            "reference": self.reference,
            "refusal": self.refusal,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Grant":
        """The inverse of `to_json`."""
        found = told["credential"]
        credential = Credential.from_json(found) if found is not None else None
        return cls(told["name"], told["url"], credential, told["reference"], told["refusal"])


@dataclass(frozen=True, slots=True)
class HelperOrder:
    """What a helper is to be. `umask` is its owner's: what it downloads is the owner's to share. `idle_s` None: never."""

    settings: Mapping[str, str]
    grants: tuple[Grant, ...] = field(default=(), repr=False)
    idle_s: float | None = None
    umask: int = 0o077
    log_level: str = "WARNING"

    def to_json(self) -> bytes:
        """The order with its secrets."""
        told = {
            "settings": dict(self.settings),
            "grants": [each.to_json() for each in self.grants],
            "idle_s": self.idle_s,
            "umask": self.umask,
            "log_level": self.log_level,
        }
        return json.dumps(told).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "HelperOrder":
        """The inverse of `to_json`."""
        told = dict(json.loads(text))
        return cls(grants=tuple(map(Grant.from_json, told.pop("grants"))), **told)


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it came; whoever has it closes the descriptors."""

    told: dict[str, Any]
    data: memoryview
    descriptors: tuple[int, ...] = ()

    def close(self) -> None:
        """Close what came with it."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def send(
    channel: socket.socket, told: Mapping[str, Any], data: Sequence[Buffer] = (), descriptors: Sequence[int] = ()
) -> None:
    """Send one packet; the other side gets copies of the descriptors.

    Raises:
        BadInputError: the object is longer than a body may be.
        OSError: the other side is gone, or takes nothing.
    """
    text = json.dumps(told).encode()
    if len(text) <= _HEAD_BYTES:
        _send(channel, text, data, descriptors)
        return
    if len(text) > BODY_BYTES:
        raise BadInputError(f"a request of {len(text)} bytes to the helper; the most is {BODY_BYTES}: name fewer files")
    body = sealed("body", text)
    try:
        _send(channel, b'{"body": true}', data, [body, *descriptors])
    finally:
        os.close(body)


def _send(channel: socket.socket, text: bytes, data: Sequence[Buffer], descriptors: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    channel.sendmsg([_LENGTH.pack(len(text)), text, *data], rights, socket.MSG_NOSIGNAL)


def receive(channel: socket.socket) -> Packet | None:
    """The next packet; None when the other side has ended.

    Raises:
        BadInputError: it is none.
        OSError: as the socket raises it, its timeout included.
    """
    room = socket.CMSG_SPACE((MOST_READS + 2) * array.array("i").itemsize)
    try:
        block, ancillary, flags, _ = channel.recvmsg(_PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    descriptors = _descriptors(ancillary)
    try:
        if not block and not descriptors:
            return None
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise BadInputError("a packet that is longer than a helper's may be")  # noqa: TRY301  # descriptors are closed
        return _parsed(memoryview(block), descriptors)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    came = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            came.frombytes(data[: len(data) - len(data) % came.itemsize])
    return list(came)


def _parsed(block: memoryview, descriptors: list[int]) -> Packet:
    if len(block) < _LENGTH.size:
        raise BadInputError("a packet without a length")
    (length,) = _LENGTH.unpack_from(block)
    if length > len(block) - _LENGTH.size:
        raise BadInputError("a packet that is shorter than it says")
    text, data = bytes(block[_LENGTH.size :][:length]), block[_LENGTH.size + length :]
    try:
        told = json.loads(text)
        if isinstance(told, dict) and told == {"body": True} and descriptors:
            told = json.loads(_body(descriptors[0]))
            os.close(descriptors.pop(0))
    except (ValueError, RecursionError, OSError):
        raise BadInputError("a packet that is no JSON") from None
    if not isinstance(told, dict):
        raise BadInputError("a packet without an object")
    return Packet(told, data, tuple(descriptors))


def _body(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    if size > BODY_BYTES:
        raise BadInputError(f"a body of {size} bytes; the most is {BODY_BYTES}")
    return os.pread(descriptor, size, 0)


def read_sealed(packet: Packet) -> bytes:
    """What the packet's one memfd holds, which is closed.

    Raises:
        DefectError: there is none.
    """
    if len(packet.descriptors) != 1:
        raise DefectError("a message came without its memfd; are two versions of Moorage installed?")
    (descriptor,) = packet.descriptors
    try:
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)
