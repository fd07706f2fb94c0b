"""The connections to one manifest file: a few, opened at once, lent to one query at a time.

However many threads ask, there are `CONNECTIONS` of them with `CACHE_BYTES` of SQLite's page cache each, and who finds none
free waits for somebody's query. The system's page cache holds the file; what SQLite keeps beside it only saves it the way
through the upper levels of its trees. Nothing is mapped (`mmap_size`): a page that the disk cannot read is then an error of
one query, where in a mapping it would be a SIGBUS that ends the worker.

Invariants: nothing here writes; every complaint of SQLite is a `ManifestError` of one line.
"""

import os
import queue
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mountd.errors import ManifestError

CONNECTIONS = 4  # two service threads answer metadata; a read now and then asks for a key
CACHE_BYTES = 1 << 20
_SETTINGS = f"PRAGMA cache_size = -{CACHE_BYTES >> 10}; PRAGMA mmap_size = 0; PRAGMA query_only = 1;"
_COMPLAINTS = (sqlite3.Error, ValueError)  # the latter about a message that is no UTF-8, because it quotes the file

Row = tuple[Any, ...]


class Connections:
    """Answers queries from any thread; after `close` every query is an error."""

    def __init__(self, path: Path) -> None:
        """Raises ManifestError if `path` cannot be opened."""
        self._path = path
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(CONNECTIONS):
            self._idle.put(self._connect())

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """Every row that `query` gives."""
        connection = self._idle.get()
        try:
            return connection.execute(query, values).fetchall()
        except _COMPLAINTS as error:
            raise damaged(self._path, error) from error
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Wait for the queries under way and close every connection."""
        connections = [self._idle.get() for _ in range(CONNECTIONS)]
        for connection in connections:
            connection.close()
            self._idle.put(connection)  # closed: whoever comes late gets an error and does not wait for ever

    def _connect(self) -> sqlite3.Connection:
        address = f"file:{quote(os.fsencode(self._path))}?immutable=1&mode=ro"
        try:
            connection = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
            connection.executescript(_SETTINGS)
        except _COMPLAINTS as error:
            raise damaged(self._path, error) from error
        return connection


def damaged(path: Path, error: Exception) -> ManifestError:
    """What to say of a manifest that does not hold what was written; SQLite quotes what it found, line breaks too."""
    return ManifestError(f"{path}: a damaged manifest ({' '.join(str(error).split())}); freeze the source again")
