"""The driver of outputs on a real mount, over the plainest tree: what the kernel and real programs make of it."""

import contextlib
import ctypes
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyfuse3
import pytest

from mountd.fuse import mounting
from mountd.fuse.libfuse_output import Driver
from mountd.fuse.protocol import Owner
from tests.support import random_operations
from tests.support.content import content, make_tree
from tests.support.memory_tree import LIMIT_BYTES, MemoryTree
from tests.support.random_operations import compare
from tests.support.waiting import until

pytestmark = pytest.mark.fuse


@contextmanager
def served(mountpoint: Path, tree: MemoryTree) -> Iterator[Path]:
    device = mounting.mount(mounting.check(mountpoint), "test", allow_other=False, writable=True)
    closed = threading.Event()
    driver = Driver(device, tree, Owner(os.getuid(), os.getgid()), closed.set)
    try:
        driver.start()
        yield mountpoint
        until(lambda: driver.open_files == 0, what="the release of every handle")
        mounting.unmount(mountpoint, lazy=False)
    finally:
        if mounting.find(mountpoint):
            mounting.unmount(mountpoint, lazy=True)
        assert closed.wait(20)
        driver.stop()
        pyfuse3.close(unmount=False)


@pytest.fixture
def tree() -> MemoryTree:
    return MemoryTree()


@pytest.fixture
def mnt(tmp_path: Path, tree: MemoryTree) -> Iterator[Path]:
    with served(tmp_path / "mnt", tree) as folder:
        yield folder


@pytest.mark.parametrize("seed", [1, 2])
def test_random_operations_do_what_they_do_in_a_plain_folder(mnt: Path, tmp_path: Path, seed: int) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    random_operations.run(mnt, plain, seed, 800)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10, 16))
def test_many_random_operations_do_what_they_do_in_a_plain_folder(mnt: Path, tmp_path: Path, seed: int) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    random_operations.run(mnt, plain, seed, 6000)


def test_a_write_is_with_the_tree_when_it_returns(mnt: Path, tree: MemoryTree) -> None:
    with (mnt / "log").open("wb", buffering=0) as file:
        for number in range(3):
            file.write(content("log", number * 100, 100))
            inode = tree.lookup(1, b"log").inode
            assert tree.attributes(inode).size == (number + 1) * 100


def test_a_page_written_by_mmap_stays_in_its_place_beside_an_appending_handle(mnt: Path) -> None:
    script = """
import mmap, os, sys
path = sys.argv[1]
with open(path, "wb") as file: file.write(bytes(8192))
appending = os.open(path, os.O_WRONLY | os.O_APPEND)
with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8192) as pages:
    pages[:5] = b"first"
    os.write(appending, b"last")
    pages.flush()
os.close(appending)
"""
    subprocess.run([sys.executable, "-c", script, mnt / "file"], check=True, timeout=60)
    assert (mnt / "file").read_bytes() == b"first" + bytes(8187) + b"last"


def test_fsync_asks_the_tree_each_time_and_its_refusal_is_heard(mnt: Path, tree: MemoryTree) -> None:
    with (mnt / "file").open("wb", buffering=0) as file:
        file.write(b"x")
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
        assert tree.calls["fsync"] == 2
        tree.refusal["fsync"] = errno.EIO
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.fsync(file.fileno())
    folder = os.open(mnt, os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
    assert tree.calls["fsync_directory"] == 1


@pytest.mark.parametrize(
    ("call", "code"), [("open", errno.EIO), ("write", errno.ENOSPC), ("flush", errno.EDQUOT), ("create", errno.EACCES)]
)
def test_what_the_tree_refuses_reaches_the_caller(mnt: Path, tree: MemoryTree, call: str, code: int) -> None:
    if call == "open":
        (mnt / "file").touch()
    tree.refusal[call] = code
    with pytest.raises(OSError, match=r"\d") as caught, (mnt / "file").open("wb", buffering=0) as file:
        file.write(b"x")
    assert caught.value.errno == code


def test_a_full_spool_is_said_at_the_write_and_ends_when_there_is_room(mnt: Path) -> None:
    with (mnt / "large").open("wb", buffering=0) as file:
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            os.pwrite(file.fileno(), b"x", LIMIT_BYTES)
        assert os.pwrite(file.fileno(), b"x", 10) == 1
    told = os.statvfs(mnt)
    assert told.f_blocks * told.f_frsize == LIMIT_BYTES


def test_a_file_that_is_open_goes_on_without_its_name(mnt: Path) -> None:
    with (mnt / "file").open("w+b", buffering=0) as file:
        file.write(b"one")
        (mnt / "file").unlink()
        assert not (mnt / "file").exists()
        (mnt / "file").write_bytes(b"another")
        file.write(b" two")
        assert os.fstat(file.fileno()).st_size == 7
        assert os.pread(file.fileno(), 100, 0) == b"one two"
    assert (mnt / "file").read_bytes() == b"another"


def test_a_checkpoint_replaces_the_last_one_and_whoever_reads_that_reads_on(mnt: Path) -> None:
    target = mnt / "last.ckpt"
    target.write_bytes(content("1", 0, 300_000))
    with target.open("rb", buffering=0) as old:
        draft = mnt / "last.ckpt.tmp"
        with draft.open("wb") as file:
            file.write(content("2", 0, 200_000))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        assert target.read_bytes() == content("2", 0, 200_000)
        assert os.pread(old.fileno(), 300_000, 0) == content("1", 0, 300_000)
    assert [path.name for path in mnt.iterdir()] == ["last.ckpt"]


def test_flags_of_open_and_rename_are_kept(mnt: Path) -> None:
    (mnt / "one").write_bytes(b"1")
    (mnt / "two").write_bytes(b"2")
    with pytest.raises(FileExistsError):
        (mnt / "one").open("xb")
    os.close(os.open(mnt / "two", os.O_WRONLY | os.O_TRUNC))
    assert (mnt / "two").stat().st_size == 0
    assert _renameat2(mnt / "one", mnt / "two", 1) == errno.EEXIST  # RENAME_NOREPLACE
    assert _renameat2(mnt / "one", mnt / "three", 1) == 0
    assert _renameat2(mnt / "three", mnt / "two", 2) == errno.EINVAL  # RENAME_EXCHANGE


def test_what_a_store_cannot_hold_is_refused_by_name(mnt: Path) -> None:
    (mnt / "file").write_bytes(b"x")
    refused: list[Callable[[], object]] = [
        lambda: (mnt / "hard").hardlink_to(mnt / "file"),
        lambda: (mnt / "soft").symlink_to("file"),
        lambda: os.mkfifo(mnt / "pipe"),
        lambda: os.chown(mnt / "file", 4711, -1),
    ]
    for act in refused:
        with pytest.raises(PermissionError):
            act()
    for name in ("user.a", "security.selinux"):
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            os.setxattr(mnt / "file", name, b"x")
    os.chown(mnt / "file", os.getuid(), os.getgid())
    assert [path.name for path in mnt.iterdir()] == ["file"]


def test_a_listing_under_which_names_go_loses_none_that_stays(mnt: Path) -> None:
    names = {f"{number:04}" for number in range(600)}
    for name in names:
        (mnt / name).touch()
    seen = []
    with os.scandir(mnt) as entries:
        for entry in entries:
            seen.append(entry.name)
            if int(entry.name) % 2:
                (mnt / entry.name).unlink()
    assert sorted(seen) == sorted(names)
    assert {path.name for path in mnt.iterdir()} == {name for name in names if not int(name) % 2}


def test_usual_programs_work(mnt: Path, tmp_path: Path) -> None:
    sizes = {f"d{number % 7}/e/{number}": number * 50 for number in range(150)}
    source = make_tree(tmp_path / "source", {**sizes, "large": 3_000_001, "empty/": 0})
    (source / "large").chmod(0o750)
    os.utime(source / "large", ns=(10**18, 10**18 + 123_456_789))
    subprocess.run(["cp", "-a", source, mnt / "cp"], check=True, timeout=60)
    archive = tmp_path / "archive.tar"
    subprocess.run(["tar", "--format=posix", "-cf", archive, "-C", source, "."], check=True, timeout=60)
    (mnt / "tar").mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", mnt / "tar"], check=True, timeout=60)
    copies = ["cp", "tar"]
    if shutil.which("rsync"):
        subprocess.run(["rsync", "-a", f"{source}/", mnt / "rsync"], check=True, timeout=60)
        copies.append("rsync")
    for name in copies:
        compare(mnt / name, source)
        copied, given = (mnt / name / "large").stat(), (source / "large").stat()
        assert (copied.st_mode, copied.st_mtime_ns) == (given.st_mode, given.st_mtime_ns)
    subprocess.run(["rm", "-r", *(mnt / name for name in copies)], check=True, timeout=60)
    assert list(mnt.iterdir()) == []


_SQLITE = """
import contextlib, sqlite3, subprocess, sys
path, mode = sys.argv[1:]
OTHER = '''
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)) as other:
    assert other.execute("SELECT sum(n) FROM t").fetchone() == (4950,)
    try:
        other.execute("INSERT INTO t VALUES (1)")
    except sqlite3.OperationalError as error:
        print(error)
'''
with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as one:
    one.execute("PRAGMA journal_mode=" + mode)
    one.execute("CREATE TABLE t (n)")
    one.execute("BEGIN")
    one.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(100)])
    one.execute("COMMIT")
    one.execute("BEGIN IMMEDIATE")
    told = subprocess.run([sys.executable, "-c", OTHER, path], capture_output=True, text=True, check=True)
    assert "database is locked" in told.stdout, told
    one.execute("COMMIT")
    assert one.execute("PRAGMA integrity_check").fetchone() == ("ok",)
"""


def test_an_archive_that_is_written_with_seeks_is_whole(mnt: Path) -> None:
    """As torch.save writes: a zip whose headers are mended after the data."""
    with zipfile.ZipFile(mnt / "model.pt", "w") as archive:
        for number in range(5):
            with archive.open(f"data/{number}", "w") as member:
                for offset in range(0, 100_000, 10_000):
                    member.write(content(str(number), offset, 10_000))
    with zipfile.ZipFile(mnt / "model.pt") as archive:
        assert archive.testzip() is None
        assert archive.read("data/3") == content("3", 0, 100_000)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_works_and_its_locks_are_kept_between_processes(mnt: Path, mode: str) -> None:
    subprocess.run([sys.executable, "-c", _SQLITE, mnt / "db", mode], check=True, timeout=60)
    copy = shutil.copy(mnt / "db", mnt.parent / "db")
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (100,)


def test_git_works(mnt: Path, tmp_path: Path) -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    (mnt / "repo").mkdir()
    env = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    for step in (
        ["init", "-q", "."],
        ["config", "user.email", "a@b"],
        ["config", "user.name", "a"],
        ["add", "."],
        ["commit", "-qm", "one"],
        ["gc", "-q"],
        ["fsck", "--strict"],
    ):
        if step[0] == "add":
            make_tree(mnt / "repo", {f"f{number}": number * 100 for number in range(20)})
        subprocess.run(["git", *step], cwd=mnt / "repo", env=env, check=True, timeout=60, capture_output=True)


def test_what_was_read_stays_in_the_page_cache_and_is_never_old(mnt: Path, tree: MemoryTree) -> None:
    (mnt / "file").write_bytes(content("1", 0, 100_000))
    (mnt / "file").read_bytes()
    asked = tree.calls["read"]
    assert (mnt / "file").read_bytes() == content("1", 0, 100_000)
    assert tree.calls["read"] == asked
    (mnt / "file").write_bytes(content("2", 0, 50_000))
    assert (mnt / "file").read_bytes() == content("2", 0, 50_000)


def _renameat2(old: Path, new: Path, flags: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags)
    return ctypes.get_errno() if done else 0
