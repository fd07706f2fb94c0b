"""The names of an output: directories and files as rows of the journal, and what their changes mean for the store.

A file whose content or name is not what the store holds is *pending*. An object whose name is gone from the tree is
*doomed*: it is removed once no file needs it any more, and never while a file of the tree has that name.

Everything that changes names is part of a transaction that the caller has begun.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Iterable
from typing import Final

from mountd.dataset import paths
from mountd.errors import HostilePathError
from mountd.stores.base import ObjectInfo
from mountd.stores.local_listing import is_unfinished
from mountd.uploading.destination import CONTROL
from mountd.uploading.journal import Journal
from mountd.uploading.tree import NAME_BYTES, ROOT, Attributes

_UP: Final = """
WITH RECURSIVE up (inode, parent, name, depth) AS (
    SELECT inode, parent, name, 0 FROM nodes WHERE inode = ?
    UNION ALL SELECT n.inode, n.parent, n.name, depth + 1 FROM nodes n JOIN up ON n.inode = up.parent
) SELECT inode, name FROM up ORDER BY depth DESC
"""
_DOWN: Final = """
WITH RECURSIVE down (inode, is_directory) AS (
    SELECT inode, is_directory FROM nodes WHERE inode = ?
    UNION ALL SELECT n.inode, n.is_directory FROM nodes n JOIN down ON n.parent = down.inode
) SELECT inode FROM down WHERE NOT is_directory
"""
FILE_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755


def refused(number: int, what: object = None) -> OSError:
    """The error for the kernel."""
    text = os.strerror(number)
    return OSError(number, text if what is None else f"{text}: {what!r}")


class Nodes:
    """Queries and changes of the tree in a journal; keeps nothing."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def plant(self, objects: Iterable[ObjectInfo]) -> None:
        """Make the tree of what lies at the destination, once.

        Raises:
            HostilePathError: a key that no tree could hold.
        """
        with self._journal.transaction("planted") as connection:
            now = time.time_ns()
            connection.execute(
                "INSERT INTO nodes (inode, parent, name, is_directory, mode, mtime_ns) VALUES (?, 0, x'', 1, ?, ?)",
                (ROOT, _DIRECTORY_MODE, now),
            )
            directories: dict[bytes, int] = {b"": ROOT}
            for info in sorted(objects, key=lambda each: each.key, reverse=True):  # what lies below comes first
                marker = info.is_directory or info.key.endswith("/")
                names = paths.split(info.key.rstrip("/"))
                if marker or (b"/".join(names) in directories and not info.size):
                    _directory(connection, names, directories, now)
                    continue
                if b"/".join(names) in directories:
                    raise HostilePathError(
                        f"{info.key!r}: holds {info.size} bytes, and others lie below it; rename one"
                    )
                parent = _directory(connection, names[:-1], directories, now)
                connection.execute(
                    "INSERT INTO nodes (parent, name, is_directory, mode, mtime_ns, size, held)"
                    " VALUES (?, ?, 0, ?, ?, ?, ?)",
                    (parent, names[-1], FILE_MODE, info.mtime_ns, info.size, info.key),
                )

    def row(self, inode: int) -> sqlite3.Row:
        """One node; ENOENT."""
        row = self._journal.row("SELECT * FROM nodes WHERE inode = ?", inode)
        if row is None:
            raise refused(errno.ENOENT)
        return row

    def child(self, parent: int, name: bytes) -> sqlite3.Row:
        """A node by its name; ENOENT, ENOTDIR."""
        row = self._journal.row("SELECT * FROM nodes WHERE parent = ? AND name = ?", parent, name)
        if row is None:
            self.directory(parent)
            raise refused(errno.ENOENT, name)
        return row

    def directory(self, inode: int) -> sqlite3.Row:
        """A node that is a directory; ENOENT, ENOTDIR."""
        row = self.row(inode)
        if not row["is_directory"]:
            raise refused(errno.ENOTDIR)
        return row

    def children(self, inode: int) -> list[sqlite3.Row]:
        """What is in a directory, by name."""
        self.directory(inode)
        return self._journal.rows("SELECT * FROM nodes WHERE parent = ? ORDER BY name", inode)

    def key(self, inode: int) -> str:
        """Where the file is to be in the store; ENOENT when it has no name any more."""
        found = self._journal.rows(_UP, inode)
        if not found or found[0]["inode"] != ROOT:
            raise refused(errno.ENOENT)
        return paths.decode(b"/".join(row["name"] for row in found[1:]))

    def at(self, key: str) -> sqlite3.Row | None:
        """The node with this key, if there is one."""
        inode = ROOT
        row = None
        for name in paths.encode(key).split(b"/"):
            row = self._journal.row("SELECT * FROM nodes WHERE parent = ? AND name = ?", inode, name)
            if row is None:
                return None
            inode = row["inode"]
        return row

    def check_new(self, parent: int, name: bytes) -> None:
        """See that something may be called so; ENAMETOOLONG, EILSEQ, EPERM, ENOENT, ENOTDIR."""
        self.directory(parent)
        if len(name) > NAME_BYTES:
            raise refused(errno.ENAMETOOLONG)
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise refused(errno.EILSEQ, name) from None  # no store takes it
        if (parent == ROOT and text == CONTROL) or is_unfinished(text) or not text or "/" in text or "\0" in text:
            raise refused(errno.EPERM, name)
        above = self.key(parent)
        if len(above) + len(text) >= 1024:  # what Azure takes
            raise refused(errno.ENAMETOOLONG)

    def add(self, connection: sqlite3.Connection, parent: int, name: bytes, mode: int, stage: int | None = None) -> int:
        """A new file with an open stage, or a directory without one; EEXIST. Return its inode."""
        values = (parent, name, stage is None, mode & 0o7777, time.time_ns(), stage)
        try:
            cursor = connection.execute(
                "INSERT INTO nodes (parent, name, is_directory, mode, mtime_ns, stage, state, flushed, pending, generation)"
                " VALUES (?, ?, ?, ?, ?, ?, iif(?6 IS NULL, 'closed', 'open'), ?6 IS NULL, ?6 NOT NULL, ?6 NOT NULL)",
                values,
            )
        except sqlite3.IntegrityError:
            raise refused(errno.EEXIST, name) from None
        touch(connection, parent)
        return int(cursor.lastrowid or 0)

    def remove(self, connection: sqlite3.Connection, row: sqlite3.Row) -> None:
        """Take a node out of the tree; ENOTEMPTY. Its object is doomed."""
        if row["is_directory"]:
            if connection.execute("SELECT 1 FROM nodes WHERE parent = ?", (row["inode"],)).fetchone():
                raise refused(errno.ENOTEMPTY)
        else:
            connection.execute("UPDATE objects SET doomed = 1 WHERE key = ?", (self.key(row["inode"]),))
        connection.execute("DELETE FROM nodes WHERE inode = ?", (row["inode"],))
        touch(connection, row["parent"])

    def move(self, connection: sqlite3.Connection, row: sqlite3.Row, parent: int, name: bytes) -> None:
        """Give a node another name, which is free; EINVAL for a directory that would lie in itself."""
        if any(above["inode"] == row["inode"] for above in self._journal.rows(_UP, parent)):
            raise refused(errno.EINVAL)
        files = [below["inode"] for below in self._journal.rows(_DOWN, row["inode"])]
        before = [self.key(inode) for inode in files]
        connection.execute("UPDATE nodes SET parent = ?, name = ? WHERE inode = ?", (parent, name, row["inode"]))
        connection.executemany("UPDATE objects SET doomed = 1 WHERE key = ?", ((key,) for key in before))
        for inode in files:
            self._settle(connection, inode)
        touch(connection, row["parent"])
        touch(connection, parent)

    def _settle(self, connection: sqlite3.Connection, inode: int) -> None:
        """Whether the store holds a moved file under its new name already: it may have been there before."""
        key, row = self.key(inode), self.row(inode)
        there = self._journal.row("SELECT * FROM objects WHERE key = ?", key)
        same = there is not None and there["state"] in {"sent", "found"} and row["held"] == key
        connection.execute(
            "UPDATE nodes SET pending = ?, error = NULL, closed_s = ? WHERE inode = ?", (not same, time.time(), inode)
        )
        if same:
            connection.execute("UPDATE objects SET doomed = 0 WHERE key = ?", (key,))


def attributes(row: sqlite3.Row) -> Attributes:
    """A row as stat(2) tells it."""
    return Attributes(row["inode"], bool(row["is_directory"]), row["mode"], row["size"], row["mtime_ns"])


def touch(connection: sqlite3.Connection, directory: int) -> None:
    """A directory changed now."""
    connection.execute("UPDATE nodes SET mtime_ns = ? WHERE inode = ?", (time.time_ns(), directory))


def _directory(connection: sqlite3.Connection, names: list[bytes], directories: dict[bytes, int], now: int) -> int:
    """The inode of a directory, made with all above it where it is not there."""
    inode = ROOT
    for count in range(1, len(names) + 1):
        path = b"/".join(names[:count])
        if path not in directories:
            cursor = connection.execute(
                "INSERT INTO nodes (parent, name, is_directory, mode, mtime_ns) VALUES (?, ?, 1, ?, ?)",
                (inode, names[count - 1], _DIRECTORY_MODE, now),
            )
            directories[path] = int(cursor.lastrowid or 0)
        inode = directories[path]
    return inode
