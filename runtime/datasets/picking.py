"""Picking: from the manifest of all files to the manifest of those that a definition's steps keep.

The files stream from one manifest through the steps into the other. Only `take` and `skip` need an order; for them the paths
are sorted on disk, so that memory does not grow with them. Folders that are left without files are not in the result.

Nothing is listed here, so two halves of one split, made from one manifest, are disjoint and complete whatever has changed
in the store between them.
"""

import sqlite3
import tempfile
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from runtime.datasets.partition import PartitionFormat
from runtime.datasets.steps import Candidate, Step

if TYPE_CHECKING:
    from mountd.dataset.manifest import Entry, FrozenFile, Manifest, ManifestSummary

_AT_ONCE: Final = 1000


def pick(
    whole: Path, target: Path, steps: Sequence[Step], done: int = 0, partition: PartitionFormat | None = None
) -> "ManifestSummary":
    """Write the manifest `target` of what `steps` keep of `whole`, which has the first `done` of them already."""
    from mountd.dataset.manifest import Manifest, write_manifest

    left = steps[done:]
    with Manifest.open(whole) as manifest, tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as folder:
        files: Iterable[Candidate] = candidates(manifest)
        if any(step.ordered for step in left):
            files = _in_order(files, Path(folder) / "order")
        for position, step in enumerate(left, done):
            files = step.keep(files, position, partition)
        return write_manifest(target, manifest.sources, (_frozen(manifest, each) for each in files))


def without(whole: Path, target: Path, paths: Container[str]) -> "ManifestSummary":
    """Write the manifest `target` of all files of the manifest `whole` but those at `paths`."""
    from mountd.dataset.manifest import Manifest, write_manifest

    with Manifest.open(whole) as manifest:
        left = (_frozen(manifest, each) for each in candidates(manifest) if each.path not in paths)
        return write_manifest(target, manifest.sources, left)


def candidates(manifest: "Manifest") -> Iterator[Candidate]:
    """Every file of a manifest, in the order of the tree."""
    return (_candidate(manifest, path, entry) for path, entry in manifest.files())


def _candidate(manifest: "Manifest", path: str, entry: "Entry") -> Candidate:
    place = unquote(urlsplit(manifest.sources[entry.source]).path, errors="surrogateescape") + manifest.key(entry)
    return Candidate(path, place, entry.inode, entry.size, entry.mtime_ns)


def _in_order(files: Iterable[Candidate], scratch: Path) -> Iterator[Candidate]:
    """`files` by their paths' bytes."""
    with closing(sqlite3.connect(scratch, isolation_level=None)) as database:
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;")
        database.execute("CREATE TABLE files (path BLOB PRIMARY KEY, place BLOB, inode, size, mtime_ns) WITHOUT ROWID")
        database.execute("BEGIN")
        rows = (
            (sort_key(each.path), sort_key(each.place), each.inode, each.size_bytes, each.mtime_ns) for each in files
        )
        while some := list(islice(rows, _AT_ONCE)):
            database.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", some)
        for path, place, *rest in database.execute("SELECT * FROM files ORDER BY path"):
            yield Candidate(_text(path), _text(place), *rest)


def _frozen(manifest: "Manifest", file: Candidate) -> "FrozenFile":
    from mountd.dataset.manifest import FrozenFile

    entry: Any = manifest.entry(file.inode)
    # Whatever a manifest keeps of a file is kept, also what it will keep later.
    kept = {each.name: getattr(entry, each.name) for each in fields(FrozenFile) if each.name != "path"}
    return FrozenFile(file.path, **kept)


def sort_key(path: str) -> bytes:
    """What paths are ordered by: their bytes."""
    return path.encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
