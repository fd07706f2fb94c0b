"""A cache whose disk fails: reads go on without it, and one line in the log says so."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mountd.cache import disk
from mountd.cache.disk import DiskCache
from tests.support.caches import LIMIT_BYTES, MIB, data_of, file_id, found, opened, put, segments, used_bytes
from tests.support.waiting import until

pytestmark = pytest.mark.warns
SIZE = 100_000
DISK_BYTES = 16 * MIB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs the right to mount a tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "small", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    assert shutil.disk_usage(path.parent).free < 4096


def offer(cache: DiskCache, name: str, offset: int = 0, size: int = SIZE) -> bool:
    taken = cache.put(file_id(name), offset, data_of(name, offset, size), lambda: None)
    assert cache.drain(20)
    return taken


@pytest.mark.fuse
def test_a_disk_smaller_than_the_limit_is_never_filled(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(small_disk / "cache", limit_bytes=1 << 30) as cache:
        for number in range(60):
            put(cache, "a", number * MIB, MIB)
            assert found(cache, "a", number * MIB, MIB) == MIB
            assert shutil.disk_usage(small_disk).free >= DISK_BYTES * 0.05 - 4096
    assert warnings(caplog) == []


@pytest.mark.fuse
def test_a_full_disk_reaches_no_reader_and_is_used_again_later(
    small_disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_PAUSE_S", 0.05)
    with opened(small_disk / "cache") as cache:
        put(cache, "a", 0, MIB // 2)
        fill(small_disk / "others")
        offer(cache, "b", 0, MIB // 3)
        assert found(cache, "b", 0, MIB // 3) == 0
        assert found(cache, "a", 0, MIB // 2) == MIB // 2
        assert ["No space left" in each for each in warnings(caplog)] == [True]
        (small_disk / "others").unlink()
        until(lambda: offer(cache, "b") and found(cache, "b", 0, SIZE) == SIZE)
    assert len(warnings(caplog)) == 1


@pytest.mark.fuse
def test_a_disk_that_becomes_read_only_is_read_on(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(small_disk / "cache") as cache:
        put(cache, "a", 0, SIZE)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with opened(small_disk / "cache") as cache:
        assert found(cache, "a", 0, SIZE) == SIZE
        offer(cache, "b")
        assert found(cache, "b", 0, SIZE) == 0
        assert not cache.put(file_id("b"), 0, b"x", lambda: None)  # for a second nothing is tried again
    assert ["Read-only file system" in each for each in warnings(caplog)] == [True]


def test_a_folder_that_vanishes_reaches_no_reader(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(folder) as cache:
        put(cache, "a", 0, SIZE)
        shutil.rmtree(folder)
        found(cache, "a", 0, SIZE)
        put(cache, "b", 0, SIZE)
        with opened(folder) as other:
            assert found(other, "b", 0, SIZE) == SIZE
            assert found(other, "a", 0, SIZE) == 0
    assert warnings(caplog) == []


def test_a_file_in_the_place_of_the_folder_reaches_no_reader(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(folder) as cache:
        put(cache, "a", 0, SIZE)
        shutil.rmtree(folder)
        folder.write_bytes(b"")
        offer(cache, "b")
        assert found(cache, "b", 0, SIZE) == 0
        assert not cache.holds(file_id("b"), 0, SIZE)
    assert len(warnings(caplog)) == 1
    assert "reads go on without it" in warnings(caplog)[0]


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "broken"), PermissionError(errno.EACCES, "no"), MemoryError()])
def test_a_disk_that_cannot_be_read_is_a_miss(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: Any) -> bytes:
        raise failure

    with opened(folder) as cache:
        put(cache, "a", 0, SIZE)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", fail)
            for _ in range(3):
                assert found(cache, "a", 0, SIZE) == 0
                assert not cache.holds(file_id("a"), 0, SIZE)
        assert found(cache, "a", 0, SIZE) == SIZE
    assert len(warnings(caplog)) == 1


def test_what_a_failed_write_left_is_never_served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_PAUSE_S", 0.0)
    pwrite = os.pwrite

    def torn(descriptor: int, data: Any, at: int) -> int:
        return pwrite(descriptor, data[: len(data) // 2] if len(data) > SIZE else data, at)

    with opened(folder) as cache:
        put(cache, "a", 0, SIZE)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", torn)
            put(cache, "b", 0, SIZE)
        assert found(cache, "b", 0, SIZE) == 0
        put(cache, "b", 0, SIZE)
        for name in ("a", "b"):
            assert found(cache, name, 0, SIZE) == SIZE
        assert len(segments(folder)) == 2
        assert used_bytes(folder) <= cache.status().used_bytes <= LIMIT_BYTES
