"""Manifests of any size, made by SQL in seconds: for what depends on the number of entries and on nothing else.

The rows are those that `write_manifest` would write of the same tree (a test compares them), but no path goes through Python
and nothing is hashed: the digest is all zeros, so `mountd verify` refuses such a file, and a mount does not look.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from mountd.dataset import schema
from mountd.dataset.schema import ROOT

SIZE_BYTES = 100_000
MTIME_NS = 1_700_000_000_000_000_000
_SOURCE = "https://moorage.invalid/data/"  # never asked: a mount contacts nobody
_WRITE = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;"
_COUNTED = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT :count)"
_FOLDERS = f"""
INSERT INTO entries {_COUNTED}
SELECT 2 + i, {ROOT}, CAST(printf('%06d', i) AS BLOB), 1, 0, {MTIME_NS}, '', NULL, 0, NULL,
       2 + :count + i * :each, min(:each, :files - i * :each) FROM n
"""  # noqa: S608  # made of constants
_FILES = f"""
INSERT INTO entries {_COUNTED}
SELECT 2 + :folders + i, 2 + i / :each, CAST(printf('%08d.jpg', i) AS BLOB), 0, {SIZE_BYTES}, {MTIME_NS},
       printf('0x8DC%012X', i), NULL, 0, NULL, 0, 0 FROM n
"""  # noqa: S608  # made of constants


def make_manifest(target: Path, files: int, *, in_folder: int = 1000, source: str = _SOURCE) -> None:
    """Write a manifest of `files` files, `in_folder` of them in each folder below the root; there is at least one."""
    folders = -(-files // in_folder)
    meta = {"digest": "0" * 64, "files": str(files), "size_bytes": str(files * SIZE_BYTES), "created_at": "never"}
    with closing(sqlite3.connect(target, isolation_level=None)) as manifest:
        manifest.executescript(_WRITE + schema.CREATE + "BEGIN;")
        manifest.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        manifest.execute("INSERT INTO sources VALUES (0, ?)", (source,))
        root = (ROOT, ROOT, b"", 1, 0, 0, "", None, 0, None, 2, folders)  # nobody dated it
        manifest.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", root)
        manifest.execute(_FOLDERS, {"count": folders, "each": in_folder, "files": files})
        manifest.execute(_FILES, {"count": files, "each": in_folder, "folders": folders})
        manifest.execute(schema.INDEX)
        manifest.execute("COMMIT")


def file_path(number: int, in_folder: int = 1000) -> str:
    """Where the file with this number, counted from 0, is in such a manifest."""
    return f"{number // in_folder:06}/{number:08}.jpg"
