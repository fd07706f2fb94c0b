import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd.uploading.spool import Spool
from mountd.uploading.tree import ROOT
from tests.support import outputs
from tests.support.outputs import get, put

LONG_S = 3600.0
_BLOCK = 1 << 16


@pytest.fixture
def url(tmp_path: Path) -> str:
    return outputs.local_url(tmp_path / "store")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(tree: Spool, handle: int) -> int | None:
    """The errno that ends the writing of ever more."""
    for number in range(1024):
        try:
            tree.write(handle, number * _BLOCK, os.urandom(_BLOCK))
        except OSError as error:
            return error.errno
    return None


def test_a_full_spool_is_enospc_and_what_the_store_has_makes_room(tmp_path: Path, url: str) -> None:
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S, limit_bytes=1000) as tree:
        put(tree, "a", b"a" * 800)
        put(tree, "b", b"b" * 800)  # sends a, and forgets it here
        _, handle = tree.create(ROOT, b"c", 0o644)
        assert fill(tree, handle) == errno.ENOSPC
        tree.write(handle, 0, b"c" * 900)
        tree.release(handle)
        assert get(tree, "a") == b"a" * 800
        tree.commit("run")
        assert tree.statfs().limit_bytes == 1000
    assert {key: len(data) for key, data in outputs.stored(url).items()} == {"a": 800, "b": 800, "c": 900}


def test_a_full_disk_is_enospc_and_loses_nothing_that_was_closed(disk: Path, url: str) -> None:
    with outputs.spool(disk / "spool", url, settle_s=LONG_S) as tree:
        put(tree, "a", b"a" * 1000)
        _, handle = tree.create(ROOT, b"big", 0o644)
        assert fill(tree, handle) == errno.ENOSPC
        tree.unlink(ROOT, b"big")
        tree.release(handle)
        put(tree, "b", b"b" * 1000)
        tree.commit("run")
    assert outputs.stored(url) == {"a": b"a" * 1000, "b": b"b" * 1000}


@pytest.mark.warns
def test_a_disk_that_others_fill_is_an_error_and_what_was_closed_is_sent_when_there_is_room(
    disk: Path, url: str
) -> None:
    with outputs.spool(disk / "spool", url, settle_s=LONG_S) as tree:
        put(tree, "a", b"a" * 1000)
        foreign = disk / "foreign"
        with foreign.open("wb", buffering=0) as file:
            while _took(file.fileno()):
                pass
        with pytest.raises(OSError, match="No space left"):
            put(tree, "b", b"b" * 100_000)
        foreign.unlink()
        put(tree, "b", b"b")
        tree.commit("run")
    assert outputs.stored(url) == {"a": b"a" * 1000, "b": b"b"}


def _took(descriptor: int) -> bool:
    try:
        return os.write(descriptor, bytes(4096)) > 0
    except OSError:
        return False
