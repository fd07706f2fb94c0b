"""Writing a manifest: any listing, in any order, becomes a tree in one file.

Three passes, all through SQLite so that memory does not grow with the listing:

1. *stage* (`staging`): check each path, and file it in the order of the tree.
2. *place*: walk the staged objects in that order, make the directories they imply, feed the digest, and file every node
   under (depth, parent, name): the children of one directory are now neighbours.
3. *number*: give ids in that order and write the entries.

The target appears whole, by rename, or not at all. What the second pass writes is a file of its own: a staging that is kept
stays as the listing left it, whenever the process ends.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from mountd.dataset import schema
from mountd.dataset.schema import ROOT, Digest, FrozenFile, ManifestSummary
from mountd.dataset.staging import SEPARATOR, Row, Staging, is_staging_of
from mountd.errors import HostilePathError

T = TypeVar("T")

_NODES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -16384;
CREATE TABLE nodes (
    depth INTEGER, parent BLOB, name BLOB, directory INTEGER, size INTEGER, mtime_ns INTEGER, etag TEXT, md5 BLOB,
    source INTEGER, key TEXT, PRIMARY KEY (depth, parent, name)) WITHOUT ROWID;
CREATE TABLE directories (sortkey BLOB PRIMARY KEY, id INTEGER) WITHOUT ROWID;
BEGIN;
"""
_DISK_FAULTS = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO}
_AT_ONCE = 500


def write_manifest(target: Path, sources: Sequence[str], files: Iterable[FrozenFile]) -> ManifestSummary:
    """Write the manifest `target` of `files` whose bytes lie in the stores at the URLs `sources`.

    Raises:
        HostilePathError: a path that no file system could hold, or two objects that cannot both be in one tree.
        OSError: `target` cannot be written; its `filename` says where.
    """
    with disk_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with Staging.temporary(target, sources) as staging:
            for some in in_pieces(files):
                staging.add(0, some)
            return finish(staging, target)


def in_pieces(listing: Iterable[T]) -> Iterator[list[T]]:
    """A listing in pieces of what is staged at once."""
    remaining = iter(listing)
    while piece := list(islice(remaining, _AT_ONCE)):
        yield piece


@contextmanager
def disk_faults(target: Path) -> Iterator[None]:
    """Name `target` where its disk fails."""
    try:
        yield
    except sqlite3.OperationalError as error:
        number = _DISK_FAULTS.get(error.sqlite_errorcode & 0xFF)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(target)) from error
    except OSError as error:
        if is_staging_of(target, error.filename):  # a name that nobody gave
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


def finish(staging: Staging, target: Path) -> ManifestSummary:
    """Make the manifest `target` of what was staged.

    Raises:
        HostilePathError: an object that has bytes, and others below it.
    """
    staging.commit()  # whatever happens now, nothing needs to be listed again
    nodes_path, whole = staging.folder / "nodes", staging.folder / "whole"
    for leftover in (nodes_path, whole):
        leftover.unlink(missing_ok=True)
    with closing(sqlite3.connect(nodes_path, isolation_level=None)) as nodes:
        nodes.executescript(_NODES)
        summary = _place(staging, nodes)
        _write(nodes, whole, staging.sources, summary)
    with whole.open("rb") as stream:
        os.fsync(stream.fileno())
    whole.replace(target)
    return summary


def _place(staging: Staging, nodes: sqlite3.Connection) -> ManifestSummary:
    digest, count, size_bytes = Digest(staging.sources), 0, 0
    above: list[bytes] = []  # sort keys of the directories on the way to the current object
    for row, has_children in staging.rows():
        sortkey, directory, size, mtime_ns, etag, md5, source, key = row
        names = sortkey.split(SEPARATOR)
        above = _imply_directories(nodes, above, names)
        if has_children and size:
            raise HostilePathError(staging.conflict(sortkey, size))
        path = sortkey.replace(SEPARATOR, b"/")
        if has_children or directory:
            _add_node(nodes, names, (1, 0, mtime_ns, "", None, 0, None))
            above = [*above, sortkey]
            if not has_children:
                digest.add_empty_directory(path)
            continue
        digest.add_file(path, size, etag, source, key)
        _add_node(nodes, names, (0, size, mtime_ns, etag, md5, source, key))
        count, size_bytes = count + 1, size_bytes + size
    return ManifestSummary(digest.hexdigest(), count, size_bytes)


def _imply_directories(nodes: sqlite3.Connection, above: list[bytes], names: list[bytes]) -> list[bytes]:
    """Make the directories that `names` needs and that are not open; return those that are open now."""
    kept: list[bytes] = []
    for depth in range(1, len(names)):
        sortkey = SEPARATOR.join(names[:depth])
        if depth > len(above) or above[depth - 1] != sortkey:
            above = kept
            _add_node(nodes, names[:depth], (1, 0, 0, "", None, 0, None))
        kept = [*kept, sortkey]
    return kept


def _add_node(nodes: sqlite3.Connection, names: list[bytes], rest: Row) -> None:
    row = (len(names), SEPARATOR.join(names[:-1]), names[-1], *rest)
    nodes.execute("INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _write(nodes: sqlite3.Connection, whole: Path, sources: Sequence[str], summary: ManifestSummary) -> None:
    with closing(sqlite3.connect(whole, isolation_level=None)) as manifest:
        manifest.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;{schema.CREATE}")
        manifest.execute("BEGIN")
        manifest.executemany("INSERT INTO sources VALUES (?, ?)", enumerate(sources))
        manifest.executemany("INSERT INTO meta VALUES (?, ?)", _meta(summary))
        _number(nodes, manifest)
        manifest.execute("COMMIT")


def _meta(summary: ManifestSummary) -> list[tuple[str, str]]:
    return [
        ("digest", summary.digest),
        ("files", str(summary.files)),
        ("size_bytes", str(summary.size_bytes)),
        ("created_at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())),
    ]


def _number(nodes: sqlite3.Connection, manifest: sqlite3.Connection) -> None:
    """Give ids in the order (depth, parent, name) and tell each directory where its children are."""
    insert = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)"
    manifest.execute(insert, (ROOT, ROOT, b"", 1, 0, 0, "", None, 0, None))
    group: tuple[int, bytes] | None = None
    parent, first, newest_ns, inode = ROOT, ROOT + 1, 0, ROOT
    for row in nodes.execute("SELECT * FROM nodes ORDER BY depth, parent, name"):
        if (row[0], row[1]) != group:
            _close_group(manifest, parent, first, inode, newest_ns)
            group, first, newest_ns = (row[0], row[1]), inode + 1, 0
            parent = _directory_id(nodes, row[1])
        inode += 1
        if row[3]:
            sortkey = row[1] + SEPARATOR + row[2] if row[1] else row[2]
            nodes.execute("INSERT INTO directories VALUES (?, ?)", (sortkey, inode))
        newest_ns = max(newest_ns, row[5])
        manifest.execute(insert, (inode, parent, *row[2:]))
    _close_group(manifest, parent, first, inode, newest_ns)


def _directory_id(nodes: sqlite3.Connection, sortkey: bytes) -> int:
    if not sortkey:
        return ROOT
    (inode,) = nodes.execute("SELECT id FROM directories WHERE sortkey = ?", (sortkey,)).fetchone()
    return int(inode)


def _close_group(manifest: sqlite3.Connection, parent: int, first: int, last: int, newest_ns: int) -> None:
    """A directory that no listing dated is as old as the newest thing in it."""
    update = "UPDATE entries SET first = ?, count = ?, mtime_ns = max(mtime_ns, ? * (mtime_ns = 0)) WHERE id = ?"
    manifest.execute(update, (first, last - first + 1, newest_ns, parent))
