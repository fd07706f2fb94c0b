"""File content that is a function of (name, offset), so that a byte from the wrong file or place never passes by luck."""

import hashlib
import struct
from pathlib import Path

_BLOCK = 16


def content(name: str, offset: int, size: int) -> bytes:
    """Bytes [offset, offset + size) of the endless file `name`: each 16 hold the name's hash and their own number."""
    salt = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    first, last = offset // _BLOCK, -(-(offset + size) // _BLOCK)
    blocks = b"".join(salt + struct.pack(">Q", number) for number in range(first, last))
    return blocks[offset - first * _BLOCK :][:size]


def make_tree(root: Path, sizes: dict[str, int]) -> Path:
    """Write the files `sizes` (path below `root` -> bytes) with their content; a path ending in `/` is an empty folder."""
    for path, size in sizes.items():
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content(path, 0, size))
    return root
