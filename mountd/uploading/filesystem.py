"""The file system of a spool: names in the journal, bytes in stages, and what is open in memory.

Changes of names go one after the other, each as one transaction of the journal. What is done to the bytes of one file goes
by that file's own lock (`opened`), so writers of different files do not wait for each other.

`_lock` protects the tables of handles and open files; no I/O is done under it. `_names` is held through a change of names,
its transaction included, and taken before a file's lock, never after.
"""

import errno
import functools
import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from mountd.errors import MountdError
from mountd.uploading.nodes import Nodes, attributes, refused
from mountd.uploading.opened import Opened, Staging, errno_of
from mountd.uploading.tree import RENAME_NOREPLACE, Attributes, Space
from mountd.uploading.uploads import Uploads

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class _Handle:
    file: Opened
    inode: int
    flags: int
    counts: bool  # as a writer

    @property
    def reads(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_WRONLY

    @property
    def writes(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_RDONLY


def _told(method: Callable[Concatenate["FileSystem", _P], _R]) -> Callable[Concatenate["FileSystem", _P], _R]:
    """A method of the tree, whose errors are OSError."""

    @functools.wraps(method)
    def translated(self: "FileSystem", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, *args, **kwargs)
        except MountdError as error:
            raise errno_of(error) from error

    return translated


class FileSystem:
    """A `Tree` over a journal; what its methods promise stands there."""

    def __init__(self, staging: Staging, nodes: Nodes, uploads: Uploads, *, remote: bool) -> None:
        self._staging, self._nodes, self._uploads, self._remote = staging, nodes, uploads, remote
        self._journal = staging.journal
        self._lock = threading.Lock()
        self._names = threading.RLock()
        self._numbers = itertools.count(1)
        self._handles: dict[int, _Handle] = {}
        self._files: dict[int, Opened] = {}

    @_told
    def lookup(self, parent: int, name: bytes) -> Attributes:
        """The entry `name` of a directory."""
        return self._now(attributes(self._nodes.child(parent, name)))

    @_told
    def attributes(self, inode: int) -> Attributes:
        """What is known of an inode."""
        file = self._opened(inode)
        return file.attributes if file else attributes(self._nodes.row(inode))

    @_told
    def names(self, inode: int) -> list[tuple[bytes, Attributes]]:
        """The entries of a directory."""
        return [(row["name"], self._now(attributes(row))) for row in self._nodes.children(inode)]

    @_told
    def create(
        self, parent: int, name: bytes, mode: int, flags: int = os.O_RDWR, *, exclusive: bool = False
    ) -> tuple[Attributes, int]:
        """Make a file and open it, or open what is there."""
        with self._names:
            self._nodes.check_new(parent, name)
            there = self._journal.row("SELECT inode FROM nodes WHERE parent = ? AND name = ?", parent, name)
            if there is not None and exclusive:
                raise refused(errno.EEXIST, name)
            inode = self._made(parent, name, mode) if there is None else there["inode"]
            handle = self.open(inode, flags)
        return self.attributes(inode), handle

    def _made(self, parent: int, name: bytes, mode: int) -> int:
        stages = self._staging.stages
        stage, descriptor = stages.new()
        os.close(descriptor)
        try:
            stages.flush()
            with self._journal.transaction("created") as connection:
                return self._nodes.add(connection, parent, name, mode, stage)
        except BaseException:
            stages.remove(stage)
            raise

    @_told
    def open(self, inode: int, flags: int) -> int:
        """A handle."""
        if (refusal := self._uploads.take_refusal(inode)) is not None:
            raise OSError(errno.EIO, f"the store refused the file: {refusal}")
        number = self._take(inode, flags)
        if flags & os.O_TRUNC and self._handles[number].writes:
            try:
                self._handles[number].file.truncate(0)
            except BaseException:
                self.release(number)
                raise
        return number

    def _take(self, inode: int, flags: int) -> int:
        with self._names:
            file = self._opened(inode)
            row = self._nodes.row(inode) if file is None or not file.is_unlinked else None
            if row is not None and row["is_directory"]:
                raise refused(errno.EISDIR)
            if row is not None and file is None:
                file = Opened(self._staging, row)
            if file is None:
                raise refused(errno.ENOENT)
            # Whoever makes a file closes it, also with a handle that only reads.
            counts = flags & os.O_ACCMODE != os.O_RDONLY or (row is not None and row["state"] == "open")
            number = next(self._numbers)
            with self._lock:
                self._files[inode] = file
                self._handles[number] = _Handle(file, inode, flags, counts)
                file.users += 1
                file.writers += counts
        return number

    @_told
    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Bytes from `offset`."""
        found = self._handle(handle)
        if not found.reads:
            raise refused(errno.EBADF)
        return found.file.read(offset, size)

    @_told
    def write(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        """Store all of `data`."""
        found = self._handle(handle)
        if not found.writes:
            raise refused(errno.EBADF)
        return found.file.write(None if found.flags & os.O_APPEND else offset, data)

    @_told
    def truncate(self, inode: int, size: int) -> Attributes:
        """Cut or lengthen a file, open or not."""
        number = self._take(inode, os.O_WRONLY)
        try:
            return self._handles[number].file.truncate(size)
        finally:
            self.release(number)  # and whole with that, unless somebody else is writing to it

    @_told
    def set_attributes(self, inode: int, *, mode: int | None = None, mtime_ns: int | None = None) -> Attributes:
        """Change what is given."""
        known = self.attributes(inode)
        mode = known.mode if mode is None else mode & 0o7777
        mtime_ns = known.mtime_ns if mtime_ns is None else mtime_ns
        with self._journal.transaction("attributes") as connection:
            connection.execute("UPDATE nodes SET mode = ?, mtime_ns = ? WHERE inode = ?", (mode, mtime_ns, inode))
        if file := self._opened(inode):
            file.change_attributes(mode, mtime_ns)
        return self.attributes(inode)

    @_told
    def flush(self, handle: int) -> None:
        """One close(2)."""
        self._handle(handle).file.flush()

    @_told
    def fsync(self, handle: int) -> None:
        """Durable here; in the store if that was asked for."""
        found = self._handle(handle)
        found.file.sync()
        if (refusal := self._uploads.take_refusal(found.inode)) is not None:
            raise OSError(errno.EIO, f"the store refused the file: {refusal}")
        if self._remote and (sealed := found.file.sealed()):
            stage, generation = sealed
            try:
                self._uploads.send_now(found.inode, stage, generation)
            finally:
                self._staging.stages.let(stage)

    @_told
    def release(self, handle: int) -> None:
        """The last close of a handle."""
        with self._names:
            with self._lock:
                found = self._handles.pop(handle, None)
                if found is None:
                    raise refused(errno.EBADF)
                file = found.file
                file.users -= 1
                file.writers -= found.counts
                is_last, is_last_writer = not file.users, found.counts and not file.writers
            if is_last_writer and file.close():
                self._uploads.ring()
            if is_last:
                with self._lock:
                    if self._files.get(found.inode) is file:
                        del self._files[found.inode]
                file.end()

    @_told
    def mkdir(self, parent: int, name: bytes, mode: int) -> Attributes:
        """Make a directory."""
        with self._names:
            self._nodes.check_new(parent, name)
            with self._journal.transaction("mkdir") as connection:
                inode = self._nodes.add(connection, parent, name, mode)
            return self.attributes(inode)

    @_told
    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        with self._names:
            row = self._nodes.child(parent, name)
            if not row["is_directory"]:
                raise refused(errno.ENOTDIR)
            with self._journal.transaction("rmdir") as connection:
                self._nodes.remove(connection, row)

    @_told
    def unlink(self, parent: int, name: bytes) -> None:
        """Take a file's name away."""
        with self._names:
            row = self._nodes.child(parent, name)
            if row["is_directory"]:
                raise refused(errno.EISDIR)
            after = self._before_removal(row["inode"], row["stage"])
            with self._journal.transaction("unlink") as connection:
                self._nodes.remove(connection, row)
            after()
        self._uploads.ring()

    @_told
    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int = 0) -> None:
        """Move, replacing what may be replaced."""
        if flags & ~RENAME_NOREPLACE:
            raise refused(errno.EINVAL)
        with self._names:
            row = self._nodes.child(parent, name)
            self._nodes.check_new(new_parent, new_name)
            there = self._journal.row("SELECT * FROM nodes WHERE parent = ? AND name = ?", new_parent, new_name)
            if there is not None and there["inode"] == row["inode"]:
                return
            after: Callable[[], None] = _nothing
            if there is not None:
                if flags & RENAME_NOREPLACE:
                    raise refused(errno.EEXIST, new_name)
                if bool(there["is_directory"]) != bool(row["is_directory"]):
                    raise refused(errno.EISDIR if there["is_directory"] else errno.ENOTDIR)
                if not there["is_directory"]:
                    after = self._before_removal(there["inode"], there["stage"])
            with self._journal.transaction("rename") as connection:
                if there is not None:
                    self._nodes.remove(connection, there)
                self._nodes.move(connection, row, new_parent, new_name)
            after()
        self._uploads.ring()

    @_told
    def fsync_directory(self, inode: int) -> None:
        """Names survive a power cut."""
        self._nodes.directory(inode)
        with self._journal.transaction("fsync", durable=True) as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('synced', ?)", (str(inode),))

    @_told
    def statfs(self) -> Space:
        """How much room there is."""
        row = self._journal.row("SELECT count(*) AS files FROM nodes")
        return self._staging.stages.space(row["files"] if row else 0)

    def open_paths(self) -> list[str]:
        """The files that are open for writing, by their keys."""
        with self._lock:
            inodes = sorted({each.inode for each in self._handles.values() if each.writes})
        return [
            self._nodes.key(inode)
            for inode in inodes
            if self._journal.row("SELECT 1 FROM nodes WHERE inode = ?", inode)
        ]

    def is_open(self, inode: int) -> bool:
        """True while anybody has a handle of the file."""
        return self._opened(inode) is not None

    def end(self) -> None:
        """Close what is open still: as it is, not as a whole."""
        with self._lock:
            files, self._files, self._handles = list(self._files.values()), {}, {}
        for file in files:
            file.sync()
            file.end()

    def _before_removal(self, inode: int, stage: int | None) -> Callable[[], None]:
        """What is to be done when a file has lost its name; whoever has it open goes on."""
        if file := self._opened(inode):
            file.bring()
            return file.unlink
        return _nothing if stage is None else functools.partial(self._staging.stages.remove, stage)

    def _opened(self, inode: int) -> Opened | None:
        with self._lock:
            return self._files.get(inode)

    def _handle(self, handle: int) -> _Handle:
        with self._lock:
            found = self._handles.get(handle)
        if found is None:
            raise refused(errno.EBADF)
        return found

    def _now(self, known: Attributes) -> Attributes:
        """As an open file is at this moment."""
        file = self._opened(known.inode)
        return file.attributes if file else known


def _nothing() -> None:
    """Nothing is left to do."""
