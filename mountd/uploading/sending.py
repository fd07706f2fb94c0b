"""Files on their way to a destination, each exactly once: told to the journal, written, verified, told again.

    sending    the journal knows which bytes go where, and what was there before
    sent       the store has them: length and MD5 agree, and the ETag is kept

A process that dies between the two leaves the question whether the store took the file; `settle` asks it, by the MD5 that
the store keeps or by reading the bytes back, and what is there is not sent again. What nobody of us wrote is never replaced
unless that was allowed.

Thread-safe; errors leave the row as it is, so that a later attempt goes on.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mountd.errors import BadInputError, CorruptDataError, DestinationExistsError
from mountd.stores.base import ObjectInfo
from mountd.uploading.destination import COMMIT, Destination
from mountd.uploading.journal import Journal
from mountd.uploading.ownership import Ownership

_SHOWN: Final = 3
Also = Callable[[sqlite3.Connection], None]


def nothing_else(_: sqlite3.Connection) -> None:
    """The transaction has no other part."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends files and removes objects; `overwrite` allows to replace what others left there."""

    journal: Journal
    destination: Destination
    ownership: Ownership
    overwrite: bool = False

    def begin(self) -> None:
        """Take the commit away, if there is one: no prefix that is written to counts as whole."""
        if self.journal.fact("commit") != "none":
            self.ownership.check()
            self.destination.delete_control(COMMIT)
            self.journal.tell("commit", "none")

    def note_found(self, objects: Iterable[ObjectInfo]) -> None:
        """Tell the journal what lies there, without a change to what it knows already."""
        with self.journal.transaction("found") as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO objects VALUES (?, 'found', ?, ?, ?, ?, '', 0)",
                ((info.key, info.size, info.md5, info.etag, info.mtime_ns) for info in objects),
            )
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('listed', 'yes')")

    def settle(self, found: dict[str, ObjectInfo]) -> None:
        """Answer, of each file that was on its way when a process died, whether the store has it."""
        for row in self.journal.rows("SELECT * FROM objects WHERE state = 'sending'"):
            info = found.get(row["key"])
            if info is not None and self.destination.holds(info, row["size"], row["md5"]):
                self._note_sent(info, nothing_else)

    def is_sent(self, key: str, content: str) -> bool:
        """True if the store has had these very bytes under this key."""
        row = self.journal.row("SELECT state, content FROM objects WHERE key = ?", key)
        return row is not None and row["state"] == "sent" and row["content"] == content

    def send(self, key: str, source: Path, content: str, also: Also = nothing_else) -> ObjectInfo:
        """Store `source` under `key`; `also` is part of the transaction that says that it is there.

        Raises:
            DestinationExistsError: something that is not ours lies there.
            CorruptDataError: the file changed while it was sent.
            MountdError, OSError: the store or the disk refused.
        """
        size, md5 = _measured(source)
        before = self.journal.row("SELECT state, etag FROM objects WHERE key = ?", key)
        with self.journal.transaction(f"sending {key}", durable=True) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, 'sending', ?, ?, ?, 0, ?, 0)",
                (key, size, md5, before["etag"] if before else "", content),
            )
        self.ownership.check()
        ours = before is not None and bool(before["etag"])
        try:
            info = self.destination.write(key, source, overwrite=ours or self.overwrite)
        except DestinationExistsError:
            found = self.destination.find(key) if before is not None and before["state"] == "sending" else None
            if found is None or not self.destination.holds(found, size, md5):
                raise
            info = found  # an attempt before this one, whose outcome was not heard
        if info.size != size or (info.md5 is not None and info.md5 != md5):
            with self.journal.transaction(f"spoilt {key}") as connection:  # ours all the same, and may be replaced
                connection.execute("UPDATE objects SET state = 'lost', etag = ? WHERE key = ?", (info.etag, key))
            raise CorruptDataError(
                f"{source}: changed while it was sent to {self.destination.named(key)}; send it again"
            )
        self._note_sent(info, also)
        return info

    def remove(self, key: str) -> None:
        """Remove an object and what the journal knows of it."""
        self.ownership.check()
        self.destination.delete(key)
        with self.journal.transaction(f"removed {key}") as connection:
            # A file may have come back under this name meanwhile, and have counted on the object.
            connection.execute("UPDATE nodes SET pending = 1, held = NULL WHERE held = ? AND stage NOT NULL", (key,))
            connection.execute("DELETE FROM objects WHERE key = ?", (key,))

    def verify(self) -> None:
        """Compare what was sent with the store's own listing.

        Raises:
            CorruptDataError: names what is missing or another; the next attempt sends it again, if its bytes are here.
        """
        gone = [row["key"] for row in self.journal.rows("SELECT key FROM objects WHERE state = 'lost' AND NOT doomed")]
        missing = {row["key"]: row for row in self.journal.rows("SELECT * FROM objects WHERE state = 'sent'")}
        for info in self.destination.objects():
            row = missing.get(info.key)
            if row is not None and _is_as_sent(row, info):
                del missing[info.key]
        if missing or gone:
            with self.journal.transaction("lost") as connection:
                lost = [(key,) for key in missing]
                connection.executemany("UPDATE objects SET state = 'lost' WHERE key = ?", lost)
                connection.executemany(
                    "UPDATE nodes SET pending = 1, held = NULL WHERE held = ? AND stage NOT NULL", lost
                )
                # Nobody is to go on with the commit from here: files are to be sent first.
                connection.execute("UPDATE facts SET value = '' WHERE name = 'commit' AND value = 'writing'")
            shown = ", ".join(sorted([*missing, *gone])[:_SHOWN])
            raise CorruptDataError(f"{self.destination.named('')}: sent, but not in the store as sent: {shown}")

    def _note_sent(self, info: ObjectInfo, also: Also) -> None:
        with self.journal.transaction(f"sent {info.key}") as connection:
            connection.execute(
                "UPDATE objects SET state = 'sent', etag = ?, mtime_ns = ? WHERE key = ?",
                (info.etag, info.mtime_ns, info.key),
            )
            also(connection)


def _is_as_sent(row: sqlite3.Row, info: ObjectInfo) -> bool:
    other_md5 = info.md5 is not None and row["md5"] is not None and info.md5 != row["md5"]
    return (info.size, info.etag) == (row["size"], row["etag"]) and not other_md5


def _measured(source: Path) -> tuple[int, bytes]:
    try:
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
            return stream.tell(), digest
    except OSError as error:
        raise BadInputError(f"{source}: cannot be read any more ({error.strerror})") from None
