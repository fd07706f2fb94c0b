"""Writing a manifest: any listing, in any order, becomes a tree in one file.

Three passes, all through SQLite so that memory does not grow with the listing:

1. *stage*: validate each path, store it under a sort key in which `/` is NUL. No name holds NUL, so the order of the keys is
   the order of the tree: an object comes right before what lies below it, and conflicts are between neighbours.
2. *place*: walk the staged objects in that order, make the directories they imply, feed the digest, and file every node
   under (depth, parent, name): the children of one directory are now neighbours.
3. *number*: give ids in that order and write the entries.

The target appears whole, by rename, or not at all; the staging file is removed either way.
"""

import errno
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mountd.dataset import paths, schema
from mountd.dataset.schema import ROOT, Digest, FrozenFile, ManifestSummary
from mountd.errors import HostilePathError

_STAGING = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -32768;
CREATE TABLE staged (
    sortkey BLOB PRIMARY KEY, directory INTEGER, size INTEGER, mtime_ns INTEGER, etag TEXT, md5 BLOB, source INTEGER,
    key TEXT) WITHOUT ROWID;
CREATE TABLE nodes (
    depth INTEGER, parent BLOB, name BLOB, directory INTEGER, size INTEGER, mtime_ns INTEGER, etag TEXT, md5 BLOB,
    source INTEGER, key TEXT, PRIMARY KEY (depth, parent, name)) WITHOUT ROWID;
CREATE TABLE directories (sortkey BLOB PRIMARY KEY, id INTEGER) WITHOUT ROWID;
"""
_SEPARATOR = b"\0"
_DISK_FAULTS = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO}
_Row = tuple[Any, ...]


def write_manifest(target: Path, sources: Sequence[str], files: Iterable[FrozenFile]) -> ManifestSummary:
    """Write the manifest `target` of `files` whose bytes lie in the stores at the URLs `sources`.

    Raises:
        HostilePathError: a path that no file system could hold, or two objects that cannot both be in one tree.
        OSError: `target` cannot be written; its `filename` says where.
    """
    staged = target.with_name(f".{target.name[:50]}.")  # with a few letters more: no longer than a name may be
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _written(target, staged.name, sources, files)
    except OSError as error:
        if str(error.filename).startswith(str(staged)):  # a name that nobody gave
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    except sqlite3.OperationalError as error:
        number = _DISK_FAULTS.get(error.sqlite_errorcode & 0xFF)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(target)) from error


def _written(target: Path, prefix: str, sources: Sequence[str], files: Iterable[FrozenFile]) -> ManifestSummary:
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as folder:
        whole = Path(folder) / "whole"
        with closing(sqlite3.connect(Path(folder) / "staging", isolation_level=None)) as staging:
            staging.executescript(_STAGING)
            staging.execute("BEGIN")
            _stage(staging, files)
            summary = _place(staging, sources)
            _write(staging, whole, sources, summary)
        with whole.open("rb") as stream:
            os.fsync(stream.fileno())
        whole.replace(target)
    return summary


def _stage(staging: sqlite3.Connection, files: Iterable[FrozenFile]) -> None:
    for file in files:
        row = _staged_row(file)
        try:
            staging.execute("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            _merge(staging, file, row)


def _staged_row(file: FrozenFile) -> _Row:
    directory = file.is_directory or file.path.endswith("/")
    path = file.path.removesuffix("/")
    if directory and file.size and not file.is_directory:
        raise HostilePathError(f"{file.path!r}: a name that ends in '/' but holds {file.size} bytes; rename the object")
    sortkey = _SEPARATOR.join(paths.split(path))
    key = None if file.key in {None, file.path} else _storable(file.key)
    return (
        sortkey,
        int(directory),
        0 if directory else file.size,
        file.mtime_ns,
        file.etag,
        file.md5,
        file.source,
        key,
    )


def _storable(key: str | None) -> str | None:
    # SQLite text is UTF-8: a key with surrogate escapes can only be the path itself, which is stored as bytes.
    if key is not None:
        try:
            key.encode()
        except UnicodeEncodeError:
            raise HostilePathError(f"{key!r}: not UTF-8, and shown under another path; rename the file") from None
    return key


def _merge(staging: sqlite3.Connection, file: FrozenFile, row: _Row) -> None:
    """Two objects of one path are one if both are empty (`a` and the marker `a/`), and a conflict otherwise."""
    directory, size = staging.execute("SELECT directory, size FROM staged WHERE sortkey = ?", row[:1]).fetchone()
    if size or row[2] or not (directory or row[1]):
        raise HostilePathError(f"{file.path!r}: listed twice, and not as one directory; leave one of the two out")
    staging.execute("UPDATE staged SET directory = 1 WHERE sortkey = ?", row[:1])


def _place(staging: sqlite3.Connection, sources: Sequence[str]) -> ManifestSummary:
    digest, count, size_bytes = Digest(sources), 0, 0
    above: list[bytes] = []  # sort keys of the directories on the way to the current object
    for row, has_children in _with_children(staging):
        sortkey, directory, size, mtime_ns, etag, md5, source, key = row
        names = sortkey.split(_SEPARATOR)
        above = _imply_directories(staging, above, names)
        if has_children and size:
            raise HostilePathError(_conflict(staging, sortkey, size))
        path = sortkey.replace(_SEPARATOR, b"/")
        if has_children or directory:
            _add_node(staging, names, (1, 0, mtime_ns, "", None, 0, None))
            above = [*above, sortkey]
            if not has_children:
                digest.add_empty_directory(path)
            continue
        digest.add_file(path, size, etag, source, key)
        _add_node(staging, names, (0, size, mtime_ns, etag, md5, source, key))
        count, size_bytes = count + 1, size_bytes + size
    return ManifestSummary(digest.hexdigest(), count, size_bytes)


def _with_children(staging: sqlite3.Connection) -> Iterator[tuple[_Row, bool]]:
    """Yield every staged object in the order of the tree, with whether the next one lies below it."""
    previous: _Row | None = None
    for row in staging.execute("SELECT * FROM staged ORDER BY sortkey"):
        if previous is not None:
            yield previous, row[0].startswith(previous[0] + _SEPARATOR)
        previous = row
    if previous is not None:
        yield previous, False


def _conflict(staging: sqlite3.Connection, sortkey: bytes, size: int) -> str:
    query = "SELECT sortkey FROM staged WHERE sortkey > ? ORDER BY sortkey LIMIT 1"
    (below,) = staging.execute(query, (sortkey,)).fetchone()
    outer, inner = (paths.decode(each.replace(_SEPARATOR, b"/")) for each in (sortkey, below))
    return (
        f"{outer!r} holds {size} bytes, and {inner!r} lies below it: a file cannot be a folder; rename one of the two"
    )


def _imply_directories(staging: sqlite3.Connection, above: list[bytes], names: list[bytes]) -> list[bytes]:
    """Make the directories that `names` needs and that are not open; return those that are open now."""
    kept: list[bytes] = []
    for depth in range(1, len(names)):
        sortkey = _SEPARATOR.join(names[:depth])
        if depth > len(above) or above[depth - 1] != sortkey:
            above = kept
            _add_node(staging, names[:depth], (1, 0, 0, "", None, 0, None))
        kept = [*kept, sortkey]
    return kept


def _add_node(staging: sqlite3.Connection, names: list[bytes], rest: _Row) -> None:
    row = (len(names), _SEPARATOR.join(names[:-1]), names[-1], *rest)
    staging.execute("INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _write(staging: sqlite3.Connection, whole: Path, sources: Sequence[str], summary: ManifestSummary) -> None:
    with closing(sqlite3.connect(whole, isolation_level=None)) as manifest:
        manifest.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;{schema.CREATE}")
        manifest.execute("BEGIN")
        manifest.executemany("INSERT INTO sources VALUES (?, ?)", enumerate(sources))
        manifest.executemany("INSERT INTO meta VALUES (?, ?)", _meta(summary))
        _number(staging, manifest)
        manifest.execute("COMMIT")


def _meta(summary: ManifestSummary) -> list[tuple[str, str]]:
    return [
        ("digest", summary.digest),
        ("files", str(summary.files)),
        ("size_bytes", str(summary.size_bytes)),
        ("created_at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())),
    ]


def _number(staging: sqlite3.Connection, manifest: sqlite3.Connection) -> None:
    """Give ids in the order (depth, parent, name) and tell each directory where its children are."""
    insert = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)"
    manifest.execute(insert, (ROOT, ROOT, b"", 1, 0, 0, "", None, 0, None))
    group: tuple[int, bytes] | None = None
    parent, first, newest_ns, inode = ROOT, ROOT + 1, 0, ROOT
    for row in staging.execute("SELECT * FROM nodes ORDER BY depth, parent, name"):
        if (row[0], row[1]) != group:
            _close_group(manifest, parent, first, inode, newest_ns)
            group, first, newest_ns = (row[0], row[1]), inode + 1, 0
            parent = _directory_id(staging, row[1])
        inode += 1
        if row[3]:
            sortkey = row[1] + _SEPARATOR + row[2] if row[1] else row[2]
            staging.execute("INSERT INTO directories VALUES (?, ?)", (sortkey, inode))
        newest_ns = max(newest_ns, row[5])
        manifest.execute(insert, (inode, parent, *row[2:]))
    _close_group(manifest, parent, first, inode, newest_ns)


def _directory_id(staging: sqlite3.Connection, sortkey: bytes) -> int:
    if not sortkey:
        return ROOT
    (inode,) = staging.execute("SELECT id FROM directories WHERE sortkey = ?", (sortkey,)).fetchone()
    return int(inode)


def _close_group(manifest: sqlite3.Connection, parent: int, first: int, last: int, newest_ns: int) -> None:
    """A directory that no listing dated is as old as the newest thing in it."""
    update = "UPDATE entries SET first = ?, count = ?, mtime_ns = max(mtime_ns, ? * (mtime_ns = 0)) WHERE id = ?"
    manifest.execute(update, (first, last - first + 1, newest_ns, parent))
