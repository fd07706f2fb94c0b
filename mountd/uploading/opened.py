"""A file that somebody has open: its stage, and what the journal has yet to hear of it.

The first write after an open, a flush or a send tells the journal that a new content began, and makes sure that the bytes
are in a stage of one's own: brought from the store, or copied if the stage is being sent. Everything after that is a plain
write to a plain file, until a flush tells the journal that this content is whole.

The lock serialises what is done to this one file, its disk included: writers of one file wait for each other, and for the
store if the file has to be brought first.
"""

import errno
import os
import sqlite3
import threading
import time
from dataclasses import dataclass, replace
from typing import Final

from mountd.errors import MountdError
from mountd.stores.base import ObjectInfo
from mountd.uploading.destination import Destination
from mountd.uploading.journal import Journal
from mountd.uploading.nodes import attributes, refused
from mountd.uploading.stages import Stages
from mountd.uploading.tree import Attributes

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Staging:
    """Where bytes of open files come from and go to."""

    journal: Journal
    stages: Stages
    destination: Destination

    def bring(self, inode: int) -> tuple[int, int]:
        """A new stage with the bytes of a file that only the store has, pinned; ENOSPC, or as the store raises it."""
        # One query: once the file has a stage, the object under that key may be another file's.
        row = self.journal.row(
            "SELECT o.* FROM nodes n JOIN objects o ON o.key = n.held WHERE n.inode = ? AND n.stage IS NULL", inode
        )
        if row is None:
            raise refused(errno.ESTALE, inode)
        info = ObjectInfo(row["key"], row["size"], row["etag"], row["mtime_ns"], md5=row["md5"])
        stage, descriptor = self.stages.new()
        try:
            self.stages.reserve(stage, info.size)
            self.destination.copy(info, self.stages.path(stage))
        except BaseException:
            os.close(descriptor)
            self.stages.remove(stage)
            raise
        return stage, descriptor


class Opened:
    """One open file; the lock protects everything else in it."""

    def __init__(self, staging: Staging, row: sqlite3.Row) -> None:
        self._staging = staging
        self.lock = threading.RLock()
        self._attributes = attributes(row)
        # The stage is looked up at the first use: until others know that the file is open, it may be dropped.
        self._stage: int | None = None
        self._descriptor = -1
        self._held: str | None = row["held"]
        self._flushed = bool(row["flushed"])  # a close has promised this content
        self._changing = False  # the journal knows that this content is not whole
        self._is_open = row["state"] == "open"
        self._unlinked = False
        self.users = 0
        self.writers = 0

    @property
    def attributes(self) -> Attributes:
        """As of now."""
        with self.lock:
            return self._attributes

    @property
    def is_unlinked(self) -> bool:
        """Whether it has no name any more."""
        with self.lock:
            return self._unlinked

    def change_attributes(self, mode: int, mtime_ns: int) -> None:
        """What the journal was told already."""
        with self.lock:
            self._attributes = replace(self._attributes, mode=mode, mtime_ns=mtime_ns)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the stage, or of the object, pinned."""
        with self.lock:
            etag = self._etag()
            if self._descriptor >= 0:
                return os.pread(self._descriptor, size, offset)
            size = max(0, min(size, self._attributes.size - offset))
            held = self._held
        if not size or held is None:
            return b""
        try:
            return self._staging.destination.read(held, offset, size, etag)
        except MountdError:
            with self.lock:
                self._etag()
                if self._descriptor >= 0:  # brought meanwhile, and its object replaced
                    return os.pread(self._descriptor, size, offset)
            raise

    def _etag(self) -> str:
        """Of the object that holds the bytes, if they are not here; an upload brings those of a moved file by itself."""
        if self._descriptor >= 0 or self._unlinked:
            return ""
        row = self._staging.journal.row(
            "SELECT n.stage, o.etag FROM nodes n LEFT JOIN objects o ON o.key = n.held WHERE n.inode = ?",
            self._attributes.inode,
        )
        if row is not None and row["stage"] is not None:
            self._descriptor = self._staging.stages.open(row["stage"])
            self._stage = row["stage"]
        return str(row["etag"]) if row is not None and row["etag"] else "gone"

    def write(self, offset: int | None, data: bytes | memoryview) -> int:
        """Write all of `data`; None is the end of the file."""
        with self.lock:
            self._begin()
            start = self._attributes.size if offset is None else offset
            self._grow(start + len(data))
            written = 0
            while written < len(data):
                written += self._write_some(data[written:], start + written)
            size = max(self._attributes.size, start + len(data))
            self._attributes = replace(self._attributes, size=size, mtime_ns=time.time_ns())
            return written

    def _write_some(self, data: bytes | memoryview, offset: int) -> int:
        try:
            return os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            if error.errno in _FULL and self._staging.stages.relieve():
                return os.pwrite(self._descriptor, data, offset)
            raise

    def truncate(self, size: int) -> Attributes:
        """Cut or lengthen it."""
        with self.lock:
            self._begin(empty=size == 0)
            self._grow(size)
            os.ftruncate(self._descriptor, size)
            if self._stage is not None:
                self._staging.stages.reserve(self._stage, size)
            self._attributes = replace(self._attributes, size=size, mtime_ns=time.time_ns())
            return self._attributes

    def flush(self) -> None:
        """What was written is whole, and durable."""
        with self.lock:
            if self._changing and not self._unlinked:
                self._settle("flushed", state="open", flushed=True, durable=True)
                self._changing = False

    def sync(self) -> None:
        """What was written is durable."""
        with self.lock:
            if not self._unlinked and self._is_open:
                self._etag()
                self._settle("fsynced", state="open", flushed=not self._changing, durable=True)

    def close(self) -> bool:
        """The last writer is gone; True if there is something to send."""
        with self.lock:
            if not self._is_open or self._unlinked:
                return False
            self._settle("closed", state="closed", flushed=True, durable=self._changing)
            self._changing = self._is_open = False
            return True

    def bring(self) -> None:
        """Have the bytes here: its name will be gone, and the object with it."""
        with self.lock:
            self._etag()
            if self._stage is not None or self._held is None:
                return
            try:
                stage, descriptor = self._staging.bring(self._attributes.inode)
            except (MountdError, OSError):
                self._etag()
                if self._descriptor < 0:
                    raise
                return
            self._etag()
            if self._descriptor < 0:
                self._stage, self._descriptor = stage, descriptor
            else:  # an upload was quicker
                os.close(descriptor)
                self._staging.stages.remove(stage)

    def unlink(self) -> None:
        """Its name is gone."""
        with self.lock:
            self._unlinked = True

    def end(self) -> None:
        """Nobody has it open any more."""
        with self.lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if self._unlinked and self._stage is not None:
                self._staging.stages.remove(self._stage)

    def sealed(self) -> tuple[int, int] | None:
        """(stage, generation) of what the store lacks, held for whoever sends it; None if it lacks nothing."""
        with self.lock:
            inode = self._attributes.inode
            self._etag()
            row = self._staging.journal.row("SELECT generation FROM nodes WHERE inode = ? AND pending", inode)
            if row is None or self._stage is None or self._unlinked:
                return None
            self._staging.stages.take(self._stage)
            self._changing = False
            return self._stage, row["generation"]

    def _begin(self, *, empty: bool = False) -> None:
        """See that a new content has begun, in a stage that may be written to."""
        if self._unlinked:
            if self._stage is None:
                self._stage, self._descriptor = self._staging.stages.new()
            return
        if self._changing and not (empty and self._attributes.size):
            return
        self._etag()
        is_here = self._stage is not None
        if not empty:
            self.bring()
        old = self._stage
        if empty or old is None:
            self._begin_in(*self._staging.stages.new(), size=0 if empty else self._attributes.size)
            return
        if not is_here:
            self._staging.stages.flush()
        # Durable: what a close has promised is not to be taken for whole after a power cut, once bytes of it are others.
        self._tell_change(old, self._attributes.size, durable=self._flushed)
        if not self._staging.stages.is_held(old):
            return
        try:
            stage, descriptor = self._staging.stages.copy(old)
        except BaseException:
            self._changing = False  # the next write must not go into what is being sent
            raise
        self._begin_in(stage, descriptor, self._attributes.size)

    def _begin_in(self, stage: int, descriptor: int, size: int) -> None:
        """Tell the journal of a new content in a new stage, and let the old one go."""
        try:
            self._staging.stages.flush()
            self._tell_change(stage, size)
        except BaseException:
            self._changing = False
            os.close(descriptor)
            self._staging.stages.remove(stage)
            raise
        if self._descriptor >= 0:
            os.close(self._descriptor)
        old, self._stage, self._descriptor = self._stage, stage, descriptor
        self._attributes = replace(self._attributes, size=size)
        if old is not None:
            self._staging.stages.remove(old)

    def _tell_change(self, stage: int, size: int, *, durable: bool = False) -> None:
        with self._staging.journal.transaction("changed", durable=durable) as connection:
            connection.execute(
                "UPDATE nodes SET state = 'open', flushed = 0, pending = 1, held = NULL, error = NULL,"
                " generation = generation + 1, stage = ?, size = ? WHERE inode = ?",
                (stage, size, self._attributes.inode),
            )
        self._held, self._flushed, self._changing, self._is_open = None, False, True, True

    def _grow(self, size: int) -> None:
        if self._stage is not None:
            self._staging.stages.reserve(self._stage, max(size, self._attributes.size))

    def _settle(self, step: str, *, state: str, flushed: bool, durable: bool) -> None:
        """Tell the journal; durable: first the bytes, then what is said of them."""
        if durable and self._descriptor >= 0:
            os.fdatasync(self._descriptor)
        with self._staging.journal.transaction(step, durable=durable) as connection:
            connection.execute(
                "UPDATE nodes SET state = ?, flushed = ?, size = ?, mtime_ns = ?, closed_s = ? WHERE inode = ?",
                (state, flushed, self._attributes.size, self._attributes.mtime_ns, time.time(), self._attributes.inode),
            )
        self._flushed = flushed


def errno_of(error: MountdError) -> OSError:
    """A store's error as the kernel hears it."""
    return OSError(error.errno, str(error))
