"""Listings as the kernel gives them: with the offset behind each name, so that one can be taken up again anywhere."""

import ctypes
import os
import struct
from pathlib import Path

_RECORD = struct.Struct("<QqHB")  # inode, the offset behind it, length, type; then the name, ended by NUL
_libc = ctypes.CDLL(None, use_errno=True)


def entries_from(folder: Path, offset: int, room_bytes: int) -> list[tuple[str, int]]:
    """(name, offset behind it) of every entry of `folder` from `offset` on, asked for in pieces of `room_bytes`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        found: list[tuple[str, int]] = []
        buffer = ctypes.create_string_buffer(room_bytes)
        while (count := _libc.getdents64(descriptor, buffer, room_bytes)) > 0:
            found += _parsed(buffer.raw[:count])
        if count < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        return found
    finally:
        os.close(descriptor)


def _parsed(data: bytes) -> list[tuple[str, int]]:
    found, at = [], 0
    while at < len(data):
        _, behind, length, _ = _RECORD.unpack_from(data, at)
        name = data[at + _RECORD.size : at + length].partition(b"\0")[0]
        found.append((os.fsdecode(name), behind))
        at += length
    return found
