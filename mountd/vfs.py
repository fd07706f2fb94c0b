"""The file system in Python terms: inodes, names, attributes, bytes. It knows no protocol.

Attributes and directories are answered from the manifest, without I/O beyond its file; bytes by `reading`. Everything is
read-only and for ever, so nothing here is invalidated, opened or closed. Synchronous and thread-safe.

Errors: `FileNotFoundError`-like conditions are `NotFoundError`; whatever else goes wrong is a `MountdError` with its errno.
"""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from cachetools import LRUCache

from mountd.dataset.extents import FileKey
from mountd.dataset.manifest import Entry, Listed, Manifest
from mountd.errors import BadInputError, MountdError, NotFoundError
from mountd.reading.reader import Answer, Parts, Reader

_LOG = logging.getLogger(__name__)
_ENTRIES_KEPT = 4096
_COMPLAINTS_KEPT = 1024
_Result = TypeVar("_Result")


class FileSystem:
    """One mounted manifest. The lock protects the three small tables; no I/O happens under it."""

    def __init__(self, manifest: Manifest, reader: Reader) -> None:
        self._manifest, self._reader = manifest, reader
        self._lock = threading.Lock()
        # What was looked up is read next, and a stream asks for the same entry again and again.
        self._entries: LRUCache[int, Entry] = LRUCache(_ENTRIES_KEPT)
        self._files: LRUCache[int, FileKey] = LRUCache(_ENTRIES_KEPT)
        self._complaints: LRUCache[int, str] = LRUCache(_COMPLAINTS_KEPT)

    @property
    def totals(self) -> tuple[int, int]:
        """(files, bytes) of the whole tree."""
        return self._manifest.file_count, self._manifest.size_bytes

    def lookup(self, parent: int, name: bytes) -> Entry:
        """The entry `name` in the directory `parent`."""
        entry = self._manifest.lookup(parent, name)
        if entry is None:
            raise NotFoundError(f"{name!r}: not in the dataset")
        self._keep(entry)
        return entry

    def entry(self, inode: int) -> Entry:
        """The entry with this inode."""
        with self._lock:
            entry = self._entries.get(inode)
        if entry is None:
            entry = self._manifest.entry(inode)
            if entry is None:
                raise NotFoundError(f"inode {inode}: not in the dataset")
            self._keep(entry)
        return entry

    def children(self, inode: int, after: int, limit: int) -> list[Listed]:
        """What a listing tells of up to `limit` children of the directory `inode` above the inode `after`, ascending."""
        return self._manifest.listing(self._directory(inode), after, limit)

    def file(self, inode: int) -> FileKey:
        """The file with this inode, as caches and stores know it."""
        with self._lock:
            file = self._files.get(inode)
        if file is None:
            entry = self.entry(inode)
            if entry.is_directory:
                raise BadInputError(f"inode {inode}: a directory, which has no bytes to read")
            url, key = self._manifest.sources[entry.source], self._manifest.key(entry)
            file = FileKey.of(url, inode, entry.source, key, entry.etag, entry.size, entry.md5)
            with self._lock:
                self._files[inode] = file
        return file

    def start_read(self, inode: int, offset: int, size: int, answer: Answer) -> Parts | None:
        """The bytes [offset, offset + size) as far as the file has them, or None: then `answer` is called with them later.

        What went wrong is logged, once for each file.
        """
        file = self.file(inode)

        def tell(result: Parts | MountdError) -> None:
            if isinstance(result, MountdError):
                self._complain(file, result)
            answer(result)

        return self._complaining(file, lambda: self._reader.start(file, offset, size, tell))

    def read(self, inode: int, offset: int, size: int) -> Parts:
        """As `start_read`, but waits."""
        file = self.file(inode)
        return self._complaining(file, lambda: self._reader.read(file, offset, size))

    def _keep(self, entry: Entry) -> None:
        with self._lock:
            self._entries[entry.inode] = entry

    def _directory(self, inode: int) -> Entry:
        entry = self.entry(inode)
        if not entry.is_directory:
            raise BadInputError(f"inode {inode}: not a directory")
        return entry

    def _complaining(self, file: FileKey, read: Callable[[], _Result]) -> _Result:
        try:
            return read()
        except MountdError as error:
            self._complain(file, error)
            raise

    def _complain(self, file: FileKey, error: MountdError) -> None:
        kind = type(error).__name__
        with self._lock:
            known = self._complaints.get(file.inode) == kind
            self._complaints[file.inode] = kind
        if not known:
            _LOG.warning("read failed: %s", error, extra={"path": self._path(file), "errno": error.errno})

    def _path(self, file: FileKey) -> str:
        try:
            return self._manifest.path(self.entry(file.inode))
        except (
            MountdError
        ):  # the manifest fails, perhaps for the same reason; in its store the file is called nearly the same
            return file.key
