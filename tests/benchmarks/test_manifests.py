import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.manifests import MTIME_NS, SIZE_BYTES, file_path, make_manifest
from mountd.dataset.manifest import FrozenFile, write_manifest


def rows(manifest: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(manifest)) as connection:
        meta = connection.execute("SELECT * FROM meta WHERE key IN ('files', 'size_bytes') ORDER BY key").fetchall()
        return meta + connection.execute("SELECT * FROM entries ORDER BY id").fetchall()


def test_a_made_manifest_has_the_rows_that_a_frozen_one_has(tmp_path: Path) -> None:
    make_manifest(tmp_path / "made", 250, in_folder=100)
    files = (FrozenFile(file_path(n, 100), SIZE_BYTES, f"0x8DC{n:012X}", MTIME_NS) for n in range(250))
    write_manifest(tmp_path / "written", ["https://moorage.invalid/data/"], files)
    assert len(rows(tmp_path / "made")) == 2 + 1 + 3 + 250
    assert rows(tmp_path / "made") == rows(tmp_path / "written")
