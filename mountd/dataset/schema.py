"""The file format of a manifest: one SQLite database, written once, opened immutable.

    meta      key -> value: digest, files, size_bytes, created_at
    sources   number -> URL of the store (with its prefix) that an entry's bytes come from
    entries   one row a file or directory; the row's id is the inode

Row 1 is the root. The children of one directory have contiguous ids in ascending order of name, so that `first` and
`count` of a directory find them and an id is a position in a listing (`d_off`) that never moves. Directories' children
follow each other as the directories do, so the index `by_name` has the table's own order: both only grow at their ends
while they are written, and nothing is sorted in a temporary file elsewhere. Names are BLOBs: a name is whatever bytes
Linux allows. `key` is NULL where the key in the store equals the path in the tree, which is the rule.

The digest covers the sources and, in the order of the tree, path, size, ETag, source and key of every file, and the path
of every empty directory. Sources are in it because an ETag is a name within one store only: two servers that tell no ETag
but the length would otherwise give two datasets one digest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

APPLICATION_ID = 0x4D4F4F52  # "MOOR", in the header of the file
FORMAT_VERSION = 1
ROOT = 1

CREATE = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sources (number INTEGER PRIMARY KEY, url TEXT NOT NULL);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL, directory INTEGER NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, etag TEXT NOT NULL, md5 BLOB,
    source INTEGER NOT NULL, key TEXT, first INTEGER NOT NULL, count INTEGER NOT NULL);
CREATE UNIQUE INDEX by_name ON entries (parent, name);
"""


@dataclass(frozen=True, slots=True)
class FrozenFile:
    """One object on its way into a manifest.

    `path` is where it shows in the tree; one that ends in `/`, or `is_directory`, is a directory marker. `key` is its key
    in its source, if that is not the path. `source` counts the sources of the manifest from 0.
    """

    path: str
    size: int
    etag: str
    mtime_ns: int
    is_directory: bool = False
    md5: bytes | None = None
    source: int = 0
    key: str | None = None


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """What a manifest holds, as `freeze` reports it."""

    digest: str
    files: int
    size_bytes: int


class Digest:
    """The running digest; feed files and empty directories in the order of the tree."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._hash = sha256(b"moorage manifest 1\n")
        for url in sources:
            self._hash.update(b"source " + url.encode() + b"\n")

    def add_file(self, path: bytes, size: int, etag: str, source: int, key: str | None) -> None:
        """Add one file; NUL separates the fields, because no path holds one."""
        fields = (path, b"%d" % size, etag.encode(), b"%d" % source, (key or "").encode("utf-8", "surrogateescape"))
        self._hash.update(b"\0".join(fields) + b"\n")

    def add_empty_directory(self, path: bytes) -> None:
        """Add a directory without entries; the others follow from their files."""
        self._hash.update(path + b"/\n")

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._hash.hexdigest()
