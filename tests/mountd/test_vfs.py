"""The file system over a reader that fails."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from mountd.dataset.manifest import ROOT, FrozenFile, Manifest, write_manifest
from mountd.errors import DataChangedError
from mountd.vfs import FileSystem

if TYPE_CHECKING:
    from mountd.reading.reader import Reader


class _Changed:
    """A reader whose every file has changed."""

    def read_ready(self, *_: object) -> None:
        raise DataChangedError("file:///data/a: changed since it was frozen")

    read = read_ready


@pytest.mark.warns
@pytest.mark.parametrize("method", ["read_ready", "read"])
def test_a_file_that_fails_is_named_once_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    write_manifest(tmp_path / "m", ["file:///data/"], [FrozenFile("a", 5, "e", 0)])
    with Manifest.open(tmp_path / "m") as manifest, caplog.at_level(logging.WARNING):
        tree = FileSystem(manifest, cast("Reader", _Changed()))
        inode = tree.lookup(ROOT, b"a").inode
        for _ in range(2):
            with pytest.raises(DataChangedError):
                getattr(tree, method)(inode, 0, 5)
    assert [record.getMessage() for record in caplog.records] == [
        "read failed: file:///data/a: changed since it was frozen"
    ]
