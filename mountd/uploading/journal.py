"""The journal of one output: what is to be in the store, what is there, and what was on its way, in one SQLite file.

    facts     the destination, the owner, and how far the commit came
    objects   what the store holds below the prefix, as far as we know: found there, being sent, sent, or sent and lost
    nodes     the tree of a mounted output; empty for an uploaded folder

A transaction is one step. It survives the death of the process at once, and a power cut from the next one on that is
`durable` (SQLite flushes its log then, with all that is before it).

Invariants: one process has a journal open, by a lock beside it that names it; nothing is sent of which the journal does not
say so first. The lock inside protects the one connection; under it nothing is done but SQLite's own reads and writes.
`step` is told before and after each transaction: tests end the process there.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mountd.errors import BadInputError
from mountd.uploading.destination import Step, no_step

_VERSION: Final = "1"
_FILE: Final = "journal.sqlite"
_LOCK: Final = "lock"
_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE objects (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL,              -- found, sending, sent, lost
    size INTEGER NOT NULL,
    md5 BLOB,
    etag TEXT NOT NULL,               -- while sending: of what was there before, '' for nothing
    mtime_ns INTEGER NOT NULL,
    content TEXT NOT NULL,            -- which bytes of ours these are
    doomed INTEGER NOT NULL DEFAULT 0 -- its name is gone from the tree
) WITHOUT ROWID;
CREATE TABLE nodes (
    inode INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    name BLOB NOT NULL,
    is_directory INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0,  -- counts its contents
    state TEXT NOT NULL DEFAULT 'closed',   -- open, closed, broken (its writer died before it had closed the file)
    flushed INTEGER NOT NULL DEFAULT 1,     -- a close(2) has returned, and nothing was written since
    pending INTEGER NOT NULL DEFAULT 0,     -- the store does not hold this content under this name
    closed_s REAL NOT NULL DEFAULT 0,
    stage INTEGER,                          -- the staged file with its bytes
    held TEXT,                              -- the key of the object that holds this content
    error TEXT,                             -- why the store refused it
    UNIQUE (parent, name)
);
CREATE INDEX pending ON nodes (closed_s) WHERE pending;
CREATE INDEX held ON nodes (held) WHERE held NOT NULL;
CREATE INDEX doomed ON objects (doomed) WHERE doomed;
"""


class Journal:
    """An open journal in a folder of its own."""

    def __init__(self, connection: sqlite3.Connection, lock: int, folder: Path, step: Step) -> None:
        self._connection, self._process_lock, self.folder, self._step = connection, lock, folder, step
        self._lock = threading.RLock()

    @classmethod
    def open(cls, folder: Path, destination: str, step: Step = no_step) -> "Journal":
        """Open the journal in `folder`, or begin one, for an output that goes to `destination`.

        Raises:
            BadInputError: another process has it, it is for another place, or it is damaged.
            OSError: the disk refuses.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _locked(folder)
        try:
            connection = _connected(folder)
            journal = cls(connection, lock, folder, step)
            journal._begin(destination)
        except BaseException:
            os.close(lock)
            raise
        return journal

    def close(self) -> None:
        """Let another process have it."""
        with self._lock:
            self._connection.close()
        os.close(self._process_lock)

    @contextlib.contextmanager
    def transaction(self, name: str, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One step, which happens whole or not at all; with `durable` it survives a power cut.

        Raises:
            OSError: ENOSPC or EIO, where the disk refuses.
        """
        with self._lock, self._translated():
            self._step(f"before {name}")
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:  # SQLite may have ended it itself: on a full disk it does
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            self._step(f"after {name}")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """The answer to a query, whole."""
        with self._lock, self._translated():
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        """The first row of an answer."""
        with self._lock, self._translated():
            found: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
            return found

    def fact(self, name: str) -> str:
        """A fact, '' if it was never told."""
        found = self.row("SELECT value FROM facts WHERE name = ?", name)
        return str(found["value"]) if found else ""

    def tell(self, name: str, value: str, *, durable: bool = False) -> None:
        """Write a fact."""
        with self.transaction(f"{name} {value}", durable=durable) as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _begin(self, destination: str) -> None:
        with self._translated():
            if not self._connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
                facts = {"version": _VERSION, "destination": destination, "owner": uuid.uuid4().hex}
                self._connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
                self._connection.execute("COMMIT")
        for name, wanted in (("version", _VERSION), ("destination", destination)):
            if (found := self.fact(name)) != wanted:
                self._connection.close()
                raise BadInputError(
                    f"{self.folder}: a journal with {name} {found!r}, not {wanted!r}; use another spool"
                )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, f"{os.strerror(number)} (the journal: {error})", str(self.folder / _FILE)) from error


def _locked(folder: Path) -> int:
    """The descriptor that keeps other processes out."""
    path = folder / _LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise BadInputError(f"{folder}: process {owner or '?'} has this spool; wait for its end") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _connected(folder: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(folder / _FILE, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=128")  # pages: the log stays small
    except sqlite3.DatabaseError as error:
        raise BadInputError(f"{folder / _FILE}: no journal, or damaged ({error}); its files are beside it") from None
    return connection
