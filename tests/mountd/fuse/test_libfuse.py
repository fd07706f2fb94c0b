"""libfuse's driver on a real mount, over files whose reads do what the test says."""

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import pyfuse3
import pytest

from mountd.dataset.manifest import Entry
from mountd.errors import AccessDeniedError, FuseUnavailableError, NotFoundError
from mountd.fuse import libfuse, mounting
from mountd.fuse.libfuse import Driver
from mountd.fuse.protocol import Owner

if TYPE_CHECKING:
    from mountd.vfs import FileSystem

pytestmark = pytest.mark.fuse

SIZE = 1000


class FakeFiles:
    """A folder of the files 2, 3, …, each named by its inode."""

    totals = (10, 10 * SIZE)

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def entry(self, inode: int) -> Entry:
        return Entry(inode, 1, b"%d" % inode, inode == 1, SIZE, 0, "", None, 0, None, 0, 0)

    def lookup(self, _: int, name: bytes) -> Entry:
        if not name.isdigit():
            raise NotFoundError("not here")
        return self.entry(int(name))

    def read(self, inode: int, offset: int, size: int) -> list[bytes]:
        return [self._read(inode)[offset : offset + size]]


@contextmanager
def served(mountpoint: Path, read: Callable[[int], bytes]) -> Iterator[Path]:
    device = mounting.mount(mounting.check(mountpoint), "test", allow_other=False)
    closed = threading.Event()
    files, owner = cast("FileSystem", FakeFiles(read)), Owner(os.getuid(), os.getgid())
    driver = Driver(device, files, owner, lambda: b"status", closed.set)
    try:
        driver.start()
        yield mountpoint
    finally:
        if mounting.find(mountpoint):
            mounting.unmount(mountpoint, lazy=True)
        assert closed.wait(20)
        driver.stop()
        pyfuse3.close(unmount=False)


@pytest.mark.warns
def test_whatever_goes_wrong_is_an_errno_and_the_mount_goes_on(tmp_path: Path) -> None:
    def read(inode: int) -> bytes:
        if inode in outcomes:
            raise outcomes[inode]
        return b"x" * SIZE

    outcomes = {2: MemoryError(), 3: RuntimeError("a defect"), 4: AccessDeniedError("no"), 5: StopIteration()}
    with served(tmp_path / "mnt", read) as folder:
        for inode, code in ((2, errno.EIO), (3, errno.EIO), (4, errno.EACCES), (5, errno.EIO)):
            with pytest.raises(OSError, match=r"\d") as caught:
                (folder / str(inode)).read_bytes()
            assert caught.value.errno == code
        with pytest.raises(FileNotFoundError):
            (folder / "nothing").stat()
        assert (folder / "6").read_bytes() == b"x" * SIZE


class Held:
    """A read that waits until the context is left: a thread that reads a mount of its own process must not hang in it."""

    def __init__(self) -> None:
        self._go, self.begun = threading.Event(), threading.Semaphore(0)

    def __call__(self, _: int) -> bytes:
        self.begun.release()
        self._go.wait()
        return b"x" * SIZE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()


def test_names_do_not_wait_for_reads_however_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libfuse, "THREADS", 2)
    held = Held()
    with served(tmp_path / "mnt", held) as folder, ThreadPoolExecutor(8) as readers:
        with held:
            reads = [readers.submit((folder / str(inode)).read_bytes) for inode in range(2, 10)]
            assert held.begun.acquire(timeout=20)
            assert held.begun.acquire(timeout=20)
            assert (folder / "999").stat().st_size == SIZE
        assert [each.result(20) for each in reads] == [b"x" * SIZE] * 8


def test_an_answer_that_comes_after_the_end_of_the_mount_is_no_news(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held()
    with served(tmp_path / "mnt", held) as folder, ThreadPoolExecutor(1) as readers, held:
        reading = readers.submit((folder / "2").read_bytes)
        assert held.begun.acquire(timeout=20)
        subprocess.run(["umount", "--force", folder], check=False, capture_output=True)  # aborts, and then may say busy
        with pytest.raises(OSError, match=r"abort|not connected"):
            reading.result(20)
    assert caplog.get_records("call") == []


def test_a_device_that_libfuse_does_not_take_is_one_line_and_no_hang() -> None:
    device = os.open(mounting.DEVICE, os.O_RDWR)
    os.close(device)
    driver = Driver(device, cast("FileSystem", None), Owner(0, 0), bytes, lambda: None)
    with pytest.raises(FuseUnavailableError, match=r"libfuse 3\.3 or newer is needed"):
        driver.start()
