"""The file system of an output in Python terms: inodes, names and handles, read and written. It knows no protocol.

`Tree` is what a driver calls: synchronous, from any number of threads, with inodes and handles as plain integers. An inode
stays the same through renames, and for a file that was unlinked until its last handle is released. Bytes are staged by
whoever implements it (`spool`); when they reach the store is not this page's business, but for what `fsync` and `open` say.

Errors are `OSError` with the errno that the kernel is to get, and nothing else leaves a tree.
"""

import os
import stat
from dataclasses import dataclass
from typing import Final, Protocol

ROOT: Final = 1
NAME_BYTES: Final = 255

# rename(2)'s flag, which `os` does not name.
RENAME_NOREPLACE: Final = 1


@dataclass(frozen=True, slots=True)
class Attributes:
    """What stat(2) tells of one inode; `mode` holds the permission bits only."""

    inode: int
    is_directory: bool
    mode: int
    size: int
    mtime_ns: int

    @property
    def st_mode(self) -> int:
        """The mode with the kind of file."""
        return self.mode | (stat.S_IFDIR if self.is_directory else stat.S_IFREG)


@dataclass(frozen=True, slots=True)
class Space:
    """What statfs(2) tells: of the limit of the spool, or of its disk if that has less."""

    limit_bytes: int
    free_bytes: int
    files: int


class Tree(Protocol):
    """One output that is read and written. Flags are those of open(2)."""

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """The entry `name` of a directory; ENOENT, ENOTDIR."""

    def attributes(self, inode: int) -> Attributes:
        """What is known of an inode; ENOENT when it is gone."""

    def names(self, inode: int) -> list[tuple[bytes, Attributes]]:
        """The entries of a directory, in the order of their names, without `.` and `..`; ENOTDIR."""

    def create(
        self, parent: int, name: bytes, mode: int, flags: int = os.O_RDWR, *, exclusive: bool = False
    ) -> tuple[Attributes, int]:
        """Make a file and open it, or open what is there (EEXIST if `exclusive`; EISDIR); `O_TRUNC` empties it."""

    def open(self, inode: int, flags: int) -> int:
        """A handle; EISDIR, EIO when the last upload of the file was refused (told once), ESTALE."""

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Bytes from `offset`, fewer only at the end of the file; ESTALE when the store has other bytes by now."""

    def write(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        """Store all of `data` at `offset` (at the end of the file for a handle with `O_APPEND`); ENOSPC, EBADF."""

    def truncate(self, inode: int, size: int) -> Attributes:
        """Cut or lengthen a file."""

    def set_attributes(self, inode: int, *, mode: int | None = None, mtime_ns: int | None = None) -> Attributes:
        """Change what is given. Modes are kept here and not in the store."""

    def flush(self, handle: int) -> None:
        """One close(2): when it returns, what was written survives a power cut."""

    def fsync(self, handle: int) -> None:
        """As `flush`, and in the store if that was asked for; EIO when an upload of the file was refused (told once)."""

    def release(self, handle: int) -> None:
        """The last close of a handle; the file may be uploaded from now on."""

    def mkdir(self, parent: int, name: bytes, mode: int) -> Attributes:
        """Make a directory; EEXIST."""

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory; ENOTEMPTY, ENOTDIR."""

    def unlink(self, parent: int, name: bytes) -> None:
        """Take a file's name away; EISDIR. Its handles go on working."""

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int = 0) -> None:
        """Move, replacing a file, or an empty directory by a directory, unless `RENAME_NOREPLACE`; else EINVAL."""

    def fsync_directory(self, inode: int) -> None:
        """When it returns, names made and removed so far survive a power cut."""

    def statfs(self) -> Space:
        """How much room there is."""
