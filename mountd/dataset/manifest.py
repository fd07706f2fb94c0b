"""A manifest: the frozen list of a dataset, read straight from its file.

The file (format: `schema`, writing: `writing`) is opened immutable and asked through a few connections (`connections`), with
no object kept for a file: mounting ten million entries costs what mounting ten costs. An inode is a row's id, so whoever
opens the same manifest later knows the same inodes.

Invariants: nothing here writes; an `Entry` is a value and stays true for ever.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, cast

from mountd.dataset import paths
from mountd.dataset.connections import Connections, damaged
from mountd.dataset.schema import APPLICATION_ID, FORMAT_VERSION, ROOT, Digest, FrozenFile, ManifestSummary
from mountd.dataset.writing import write_manifest
from mountd.errors import ManifestError, MountdError, NotFoundError

__all__ = ["ROOT", "Entry", "FrozenFile", "Listed", "Manifest", "ManifestSummary", "is_manifest", "write_manifest"]

_HEADER_BYTES = 100
_FOLDERS_KEPT = 4096
_INODES = 1 << 63  # SQLite's integers end here, the kernel's do not
_BY_NAME = "SELECT * FROM entries WHERE parent = ? AND name = ?"
_BY_ID = "SELECT * FROM entries WHERE id = ?"
_BY_RANGE = "SELECT * FROM entries WHERE id >= ? AND id < ? ORDER BY id"
_LISTING = "SELECT id, name, directory, size, mtime_ns FROM entries WHERE id >= ? AND id < ? ORDER BY id"

#: What a listing tells of one child: inode, name, 1 for a directory, size, mtime_ns. A plain row: a folder has many.
Listed = tuple[int, bytes, int, int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or directory of a manifest; `first` and `count` tell a directory's children."""

    inode: int
    parent: int
    name: bytes
    is_directory: bool
    size: int
    mtime_ns: int
    etag: str
    md5: bytes | None
    source: int
    key: str | None
    first: int
    count: int


def is_manifest(path: Path) -> bool:
    """True if the file `path` starts as a manifest does, of whatever version."""
    try:
        with path.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
    except OSError:
        return False
    return header.startswith(b"SQLite format 3\0") and header[68:72] == struct.pack(">I", APPLICATION_ID)


class Manifest:
    """An open manifest; a context manager, safe to use from many threads."""

    def __init__(self, path: Path, connections: Connections) -> None:
        self._path, self._connections = path, connections
        # Every read of a file names its key, and files of one directory are read together.
        self._folder = lru_cache(_FOLDERS_KEPT)(self._folder_of)
        try:
            self.digest, self.file_count, self.size_bytes = _checked(connections)
        except (KeyError, ValueError, TypeError) as error:
            raise damaged(path, error) from error
        rows = connections.rows("SELECT url FROM sources ORDER BY number")
        self.sources: tuple[str, ...] = tuple(url for (url,) in rows)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the manifest file `path`.

        Raises:
            NotFoundError: there is no such file.
            ManifestError: it is no manifest, of another version, or damaged.
        """
        if not path.exists():
            raise NotFoundError(f"{path}: no such manifest; make one with `mountd freeze SOURCE -o {path}`")
        if not is_manifest(path):
            raise ManifestError(f"{path}: not a manifest; make one with `mountd freeze SOURCE -o FILE`")
        connections = Connections(path)
        try:
            return cls(path, connections)
        except ManifestError:
            connections.close()
            raise

    def lookup(self, parent: int, name: bytes) -> Entry | None:
        """The entry `name` in the directory with inode `parent`."""
        return self._one(_BY_NAME, (parent, name)) if 0 < parent < _INODES else None

    def entry(self, inode: int) -> Entry | None:
        """The entry with this inode."""
        return self._one(_BY_ID, (inode,)) if 0 < inode < _INODES else None

    def children(self, directory: Entry, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Up to `limit` children of `directory` whose inode is above `after`, ascending by inode and by name."""
        return [_entry(row) for row in self._range(_BY_RANGE, directory, after, limit)]

    def listing(self, directory: Entry, after: int, limit: int) -> list[Listed]:
        """As `children`, but only what a listing tells of each."""
        return cast("list[Listed]", self._range(_LISTING, directory, after, limit))

    def path(self, entry: Entry) -> str:
        """Where `entry` is in the tree, without a leading `/`; the root is the empty string."""
        if entry.inode == ROOT:
            return ""
        return self._folder(entry.parent) + paths.decode(entry.name)

    def key(self, entry: Entry) -> str:
        """The entry's key in its source."""
        return entry.key if entry.key is not None else self.path(entry)

    def find(self, path: str) -> Entry | None:
        """The entry at `path`, or None; the empty path is the root."""
        current = self.entry(ROOT)
        for name in paths.encode(path).split(b"/") if path else ():
            current = current and self.lookup(current.inode, name)
        return current

    def walk(self, top: str = "") -> Iterator[tuple[str, Entry]]:
        """Yield (path, entry) of everything below `top`, in the order of the tree: a directory before its content."""
        start = self.find(top)
        stack = [(top and top + "/", self._each_child(start))] if start else []
        while stack:
            prefix, remaining = stack[-1]
            entry = next(remaining, None)
            if entry is None:
                stack.pop()
                continue
            path = prefix + paths.decode(entry.name)
            yield path, entry
            if entry.is_directory:
                stack.append((path + "/", self._each_child(entry)))

    def files(self) -> Iterator[tuple[str, Entry]]:
        """As `walk`, files only."""
        return ((path, entry) for path, entry in self.walk() if not entry.is_directory)

    def verify(self) -> None:
        """Read the whole manifest and check structure, paths and digest.

        Raises:
            ManifestError: naming the first thing that is wrong.
        """
        try:
            self._verify()
        except (TypeError, ValueError, AttributeError) as error:  # a column that holds another type than was written
            raise damaged(self._path, error) from error

    def _verify(self) -> None:
        digest, count, size_bytes, last = Digest(self.sources), 0, 0, ROOT
        for path, entry in self.walk():
            self._check_entry(path, entry)
            last += 1
            encoded = paths.encode(path)
            if not entry.is_directory:
                digest.add_file(encoded, entry.size, entry.etag, entry.source, entry.key)
                count, size_bytes = count + 1, size_bytes + entry.size
            elif not entry.count:
                digest.add_empty_directory(encoded)
        ((rows,),) = self._connections.rows("SELECT count(*) FROM entries")
        found = (digest.hexdigest(), count, size_bytes, last)
        if found != (self.digest, self.file_count, self.size_bytes, rows):
            raise ManifestError(f"{self._path}: digest or counts do not match its entries; freeze the source again")

    def close(self) -> None:
        """Close the file; a call that comes later is an error."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_place(self, path: str, entry: Entry) -> None:
        """See that an entry's bytes could be somewhere.

        Raises:
            ManifestError: no source of this manifest has them, or their number is none.
        """
        if entry.size < 0 or not (entry.is_directory or 0 <= entry.source < len(self.sources)):
            raise self._damaged(path)

    def _folder_of(self, inode: int) -> str:
        """The path of a directory with a `/` at its end, empty for the root."""
        names: list[bytes] = [b""]
        while inode != ROOT:
            current = self.entry(inode)
            if current is None or current.parent >= inode:
                raise ManifestError(f"{self._path}: entry {inode} lies in a later one or nowhere; freeze again")
            names.append(current.name)
            inode = current.parent
        return paths.decode(b"/".join(reversed(names)))

    def _check_entry(self, path: str, entry: Entry) -> None:
        try:
            paths.split(path)
        except MountdError as error:
            raise ManifestError(f"{self._path}: {error}") from None
        if b"/" in entry.name:
            raise self._damaged(path)
        self.check_place(path, entry)

    def _damaged(self, path: str) -> ManifestError:
        return ManifestError(f"{self._path}: the entry {path!r} is damaged; freeze the source again")

    def _each_child(self, directory: Entry) -> Iterator[Entry]:
        after = 0
        while page := self.children(directory, after):
            if any(child.parent != directory.inode or child.inode <= directory.inode for child in page):
                raise ManifestError(f"{self._path}: entry {directory.inode} claims others' children; freeze again")
            yield from page
            after = page[-1].inode

    def _one(self, query: str, values: tuple[int, bytes] | tuple[int]) -> Entry | None:
        rows = self._connections.rows(query, values)
        return _entry(rows[0]) if rows else None

    def _range(self, query: str, directory: Entry, after: int, limit: int) -> list[tuple[Any, ...]]:
        start, end = max(directory.first, after + 1), directory.first + directory.count
        return self._connections.rows(query, (start, min(end, start + limit))) if start < end else []


def _checked(connections: Connections) -> tuple[str, int, int]:
    """(digest, files, bytes) of a manifest of our version."""
    ((version,),) = connections.rows("PRAGMA user_version")
    if version != FORMAT_VERSION:
        raise ValueError(f"format {version}, and this version of Moorage reads format {FORMAT_VERSION}")
    meta: dict[str, str] = dict(connections.rows("SELECT key, value FROM meta"))
    return meta["digest"], int(meta["files"]), int(meta["size_bytes"])


def _entry(row: tuple[Any, ...]) -> Entry:
    inode, parent, name, directory, *rest = row
    return Entry(inode, parent, name, bool(directory), *rest)
