"""The kernel's side of FUSE as structs: bytes in, bytes out. Pure; nothing here opens, reads or blocks.

The numbers are the kernel's ABI (include/uapi/linux/fuse.h, protocol 7.x). A request is a header of 40 bytes and a body; an
answer is a header of 16 bytes and a body. Only what a read-only file system needs is here.

Invariant: `parse` raises `MalformedRequestError` for bytes that are no request, and never anything else.
"""

import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mountd.dataset.manifest import Entry, Listed

BODY_LIMIT_BYTES = 8192  # no request to a read-only file system is longer; INIT and the longest name are far below
MAX_READ_BYTES = 1 << 20
PAGE_BYTES = 4096
FOREVER_S = 86400 * 365  # the manifest cannot change, so neither can names and attributes

_REQUEST = struct.Struct("<IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, extension length, padding
_ANSWER = struct.Struct("<IiQ")  # length, -errno, unique
_ATTRIBUTES = struct.Struct("<6Q3I28s")  # inode, size, blocks, three times' seconds, their nanoseconds, `_rest`
_REST = struct.Struct("<7I")  # mode, links, uid, gid, device, block size, flags
_ENTRY = struct.Struct("<Q32s")  # node, `_FOREVER`
_GETATTR = struct.Struct("<QII")
_OPEN = struct.Struct("<QII")
_READ = struct.Struct("<QQIIQII")  # handle, offset, size, flags, lock owner, flags, padding
# One record of a listing: node, offset of the next, name length, type, name; a struct for each padded length of a name.
_DIRENTS = tuple(struct.Struct(f"<QQII{padded}s") for padded in range(0, 264, 8))
_DIRENTS_PLUS = tuple(
    struct.Struct(_ENTRY.format + (_ATTRIBUTES.format + each.format).replace("<", "")) for each in _DIRENTS
)
_GETXATTR = struct.Struct("<II")
_INIT_IN = struct.Struct("<IIII")  # major, minor, max_readahead, flags
_INIT_MORE = struct.Struct("<16xI")  # flags from the 32nd on, where the kernel has so many (FUSE_INIT_EXT)
_INIT_OUT = struct.Struct("<IIIIHHIIHHII24x")
_STATFS = struct.Struct("<5Q4I24x")
_KEEP_CACHE, _CACHE_DIR = 1 << 1, 1 << 3
_MAJOR, _MINOR = 7, 31
# Generation 0, then how long a name and attributes hold, in seconds and nanoseconds.
_FOREVER = struct.pack("<QQQII", 0, FOREVER_S, FOREVER_S, 0, 0)
_TYPES = (stat.S_IFREG >> 12, stat.S_IFDIR >> 12)
#: Positions in a listing: 1 is after '.', DOTS after '..', and DOTS + inode after that entry.
DOTS = 2


class Opcode(IntEnum):
    """The requests that a read-only mount meets."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    GETXATTR = 22
    LISTXATTR = 23
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44


class InitFlag(IntEnum):
    """What we take of what the kernel offers."""

    ASYNC_READ = 1 << 0
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    NO_OPENDIR_SUPPORT = 1 << 24
    # Not to be asked for: the kernel says with it that it sends unanswered requests again when it is told to (Linux 6.9).
    HAS_RESEND = 1 << 39


UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
# Requests that change something; the mount is read-only, so the kernel refuses most of them before they reach us.
CHANGING = frozenset({4, 6, 8, 9, 10, 11, 12, 13, 16, 20, 21, 24, 35, 43, 45, 47})


_INIT_EXT = 1 << 30
_ASKED_FOR = (1 << 30) - 1
_NOTIFY_RESEND = 7


class MalformedRequestError(Exception):
    """Bytes from the device that are no request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `unique` names it in the answer, `node` is the inode it is about."""

    opcode: int
    unique: int
    node: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What we ask of the kernel: requests of background reads in flight, and bytes it may read ahead."""

    max_background: int = 256
    congestion_threshold: int = 192
    max_readahead_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom files show as belonging to."""

    uid: int
    gid: int


def parse(data: bytes | bytearray | memoryview) -> Request:
    """One request from the bytes of one read of the device."""
    if len(data) < _REQUEST.size:
        raise MalformedRequestError(f"{len(data)} bytes are no request header")
    length, opcode, unique, node, *_ = _REQUEST.unpack_from(data)
    if length != len(data):
        raise MalformedRequestError(f"a request of {length} bytes came as {len(data)}")
    return Request(opcode, unique, node, bytes(data[_REQUEST.size :]))


def parse_head(data: bytes) -> Request:
    """As `parse`, of bytes that may end after the head; without the body."""
    if len(data) < _REQUEST.size:
        raise MalformedRequestError(f"{len(data)} bytes are no request header")
    _, opcode, unique, node, *_ = _REQUEST.unpack_from(data)
    return Request(opcode, unique, node, b"")


def header(unique: int, size_bytes: int) -> bytes:
    """The header of a good answer whose body is `size_bytes` long."""
    return _ANSWER.pack(_ANSWER.size + size_bytes, 0, unique)


def failure(unique: int, code: int) -> bytes:
    """A whole answer that says `code`, an errno."""
    return _ANSWER.pack(_ANSWER.size, -code, unique)


def resend_notice() -> bytes:
    """What has the kernel send again all that was taken and not answered."""
    return _ANSWER.pack(_ANSWER.size, _NOTIFY_RESEND, 0)


def name_of(request: Request) -> bytes:
    """The name in the body of a LOOKUP: everything up to the NUL that ends it."""
    name, end, _ = request.body.partition(b"\0")
    if not end:
        raise MalformedRequestError("a name without an end")
    return name


def range_of(request: Request) -> tuple[int, int]:
    """(offset, size) of a READ, READDIR or READDIRPLUS."""
    _, offset, size, *_ = _unpack(_READ, request.body)
    return offset, size


def xattr_of(request: Request) -> tuple[int, bytes]:
    """(room for the value, name) of a GETXATTR."""
    size, _ = _unpack(_GETXATTR, request.body)
    name, end, _ = request.body[_GETXATTR.size :].partition(b"\0")
    if not end:
        raise MalformedRequestError("an attribute's name without an end")
    return size, name


def negotiate(request: Request, limits: Limits) -> tuple[bytes, int]:
    """The body of the answer to INIT and the flags that both sides agreed on."""
    major, minor, readahead_bytes, offered = _unpack(_INIT_IN, request.body)
    if offered & _INIT_EXT and len(request.body) >= _INIT_MORE.size:
        offered |= _INIT_MORE.unpack_from(request.body)[0] << 32
    if major != _MAJOR:
        raise MalformedRequestError(f"the kernel speaks FUSE {major}.{minor}, this is {_MAJOR}.{_MINOR}")
    agreed = offered & sum(InitFlag)
    body = _INIT_OUT.pack(
        _MAJOR,
        min(minor, _MINOR),
        min(max(readahead_bytes, limits.max_readahead_bytes), 1 << 30),
        agreed & _ASKED_FOR,
        limits.max_background,
        limits.congestion_threshold,
        MAX_READ_BYTES,  # max_write, which also bounds the size of a read
        1,  # times are exact to the nanosecond
        MAX_READ_BYTES // PAGE_BYTES,
        0,
        0,
        0,
    )
    return body, agreed


def attributes(entry: "Entry", owner: Owner) -> bytes:
    """A fuse_attr: files 0444, directories 0555, all times the entry's own."""
    rest = _rest(owner)[entry.is_directory]
    return _ATTRIBUTES.pack(entry.inode, *_sizes_and_times(entry.size, entry.mtime_ns), rest)


def entry_answer(entry: "Entry", owner: Owner) -> bytes:
    """A fuse_entry_out: name and attributes hold for ever."""
    return _ENTRY.pack(entry.inode, _FOREVER) + attributes(entry, owner)


def attributes_answer(entry: "Entry", owner: Owner) -> bytes:
    """A fuse_attr_out."""
    return _GETATTR.pack(FOREVER_S, 0, 0) + attributes(entry, owner)


def open_answer() -> bytes:
    """A fuse_open_out for kernels that insist on opens: keep pages and listings."""
    return _OPEN.pack(0, _KEEP_CACHE | _CACHE_DIR, 0)


def statfs_answer(files: int, size_bytes: int) -> bytes:
    """A fuse_statfs_out: as large as the dataset, and full."""
    return _STATFS.pack(-(-size_bytes // PAGE_BYTES), 0, 0, files, 0, PAGE_BYTES, 255, PAGE_BYTES, 0)


def xattr_size_answer(size_bytes: int) -> bytes:
    """A fuse_getxattr_out."""
    return _GETXATTR.pack(size_bytes, 0)


def listing_answer(records: Iterable[bytes], room_bytes: int) -> bytes:
    """The body of the answer to READDIR or READDIRPLUS: as many whole records as fit."""
    parts = []
    for record in records:
        room_bytes -= len(record)
        if room_bytes < 0:
            break
        parts.append(record)
    return b"".join(parts)


def records(children: "Iterable[Listed]") -> Iterator[bytes]:
    """A fuse_dirent for each child."""
    for inode, name, directory, _, _ in children:
        yield _DIRENTS[len(name) + 7 >> 3].pack(inode, inode + DOTS, len(name), _TYPES[directory], name)


def records_plus(children: "Iterable[Listed]", owner: Owner) -> Iterator[bytes]:
    """A fuse_direntplus for each child: one struct a record, because this is where a walk of the tree spends its time."""
    rest = _rest(owner)
    for inode, name, directory, size, mtime_ns in children:
        yield _DIRENTS_PLUS[len(name) + 7 >> 3].pack(
            inode,
            _FOREVER,
            inode,
            *_sizes_and_times(size, mtime_ns),
            rest[directory],
            inode,
            inode + DOTS,
            len(name),
            _TYPES[directory],
            name,
        )


def dot_record(name: bytes, inode: int, *, plus: bool) -> bytes:
    """The record of '.' or '..'. With node 0, so that no lookup is counted: the kernel would not forget these two."""
    head = bytes(_ENTRY.size + _ATTRIBUTES.size) if plus else b""
    position = len(name)  # 1 or DOTS
    return head + _DIRENTS[1].pack(inode, position, len(name), _TYPES[True], name)


def smallest_record_bytes(*, plus: bool) -> int:
    """The least room one record takes: bounds how many entries can be asked for at once."""
    return (_DIRENTS_PLUS if plus else _DIRENTS)[1].size


def _sizes_and_times(size: int, mtime_ns: int) -> tuple[int, int, int, int, int, int, int, int]:
    """Size, blocks, and the one time as a fuse_attr has it: three times its seconds, three times its nanoseconds."""
    seconds, nanoseconds = divmod(max(0, mtime_ns), 10**9)
    return size, -(-size // 512), seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds


@lru_cache(1)
def _rest(owner: Owner) -> tuple[bytes, bytes]:
    """What is the same for all files of an owner, and for all directories."""

    def packed(mode: int) -> bytes:
        # A directory with one link tells `find` and others not to count on link counts. The block size is what Python's
        # open() buffers: larger would turn small reads into large ones.
        return _REST.pack(mode, 1, owner.uid, owner.gid, 0, PAGE_BYTES, 0)

    return packed(stat.S_IFREG | 0o444), packed(stat.S_IFDIR | 0o555)


def _unpack(shape: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < shape.size:
        raise MalformedRequestError(f"a body of {len(body)} bytes where {shape.size} are needed")
    return shape.unpack_from(body)
