import errno
import inspect
import os
import socket
import sys
from pathlib import Path

import pytest

from mountd.errors import (
    AccessDeniedError,
    BadInputError,
    DataChangedError,
    DestinationExistsError,
    HostilePathError,
    NotFoundError,
)
from mountd.stores import local
from mountd.stores.base import ReadyReader
from mountd.stores.local import LocalStore
from mountd.stores.registry import file_url
from tests.support.content import content, make_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "data", {"a": 10, "b/c": 70_000})


def open_store(root: Path) -> LocalStore:
    return LocalStore(root, file_url(root))


def keys(root: Path, prefix: str = "") -> set[str]:
    return {info.key + "/" * info.is_directory for info in open_store(root).list(prefix)}


def etag(root: Path, key: str) -> str:
    return next(info.etag for info in open_store(root).list(key) if info.key == key)


def test_listing_keeps_times_and_empty_directories(root: Path) -> None:
    make_tree(root, {"empty/": 0, "deep/er/empty/": 0})
    os.utime(root / "a", ns=(1, 1_234_567_890_123_456_789))
    assert keys(root) == {"a", "b/c", "empty/", "deep/er/empty/"}
    assert next(open_store(root).list("a")).mtime_ns == 1_234_567_890_123_456_789


def test_depth_has_no_limit_of_ours(root: Path) -> None:
    make_tree(root, {"d/" * 300 + "file": 1})
    store, found, limit = open_store(root), list[str](), sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)  # far below the depth of the tree
    try:
        found.extend(info.key for info in store.list("d/"))
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["d/" * 300 + "file"]


def test_links_inside_the_root_are_followed(root: Path) -> None:
    (root / "file-link").symlink_to("b/c")
    (root / "folder-link").symlink_to(root / "b", target_is_directory=True)
    assert keys(root) == {"a", "b/c", "file-link", "folder-link/c"}
    read = open_store(root).read("folder-link/c", 5, 100, etag(root, "folder-link/c"))
    assert bytes(read) == content("b/c", 5, 100)


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../data-other", "nowhere", "leaves-me"])
def test_links_that_leave_or_lead_nowhere_are_refused_by_name(root: Path, target: str) -> None:
    (root.parent / "data-other").mkdir()
    (root / "leaves-me").symlink_to(target)
    with pytest.raises(HostilePathError, match="leaves-me"):
        keys(root)


@pytest.mark.parametrize("target", [".", "..", "../b"])
def test_links_that_lead_back_are_refused_by_name(root: Path, target: str) -> None:
    (root / "b" / "back").symlink_to(target)
    with pytest.raises(HostilePathError, match=r"b/back.*lies in"):
        keys(root)


def test_links_that_lead_to_each_other_are_refused(root: Path) -> None:
    make_tree(root, {"x/1": 1, "y/1": 1})
    (root / "x" / "to-y").symlink_to("../y")
    (root / "y" / "to-x").symlink_to("../x")
    with pytest.raises(HostilePathError, match="lies in"):
        keys(root)


def test_a_prefix_does_not_lead_out(root: Path) -> None:
    (root / "out").symlink_to("/etc")
    with pytest.raises(HostilePathError, match="out"):
        keys(root, "out/")
    with pytest.raises(HostilePathError):
        keys(root, "../")


def test_special_files_are_refused_by_name(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(HostilePathError, match=r"pipe.*fifo"):
        keys(root)
    (root / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "sock"))
        with pytest.raises(HostilePathError, match=r"sock.*socket"):
            keys(root)


def test_control_folder_and_unfinished_writes_are_no_data(root: Path) -> None:
    make_tree(root, {".moorage/catalog.db": 5, "b/.moorage-0.partial": 5, "b/.moorage/x": 1})
    assert keys(root) == {"a", "b/c", "b/.moorage/x"}
    assert keys(root, ".moorage/") == {".moorage/catalog.db"}


def test_a_folder_that_is_none(root: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        keys(root / "nothing")
    with pytest.raises(BadInputError, match="not a folder"):
        keys(root / "a")


def test_no_right_is_told_as_such(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "no", str(root / "a"))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AccessDeniedError, match=r"data/a.*owner and mode"):
        open_store(root).read("a", 0, 1, "0-0-0")


def test_a_change_between_open_and_end_of_read_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, original = etag(root, "a"), local._read_exactly

    def meddle(descriptor: int, offset: int, size: int) -> bytearray:
        data = original(descriptor, offset, size)
        (root / "a").write_bytes(b"other text")
        return data

    monkeypatch.setattr(local, "_read_exactly", meddle)
    with pytest.raises(DataChangedError, match=r"/a: was .* is .* while it was read"):
        open_store(root).read("a", 0, 10, pinned)


def test_same_size_and_time_but_another_ctime_is_a_change(root: Path) -> None:
    pinned, status = etag(root, "a"), (root / "a").stat()
    (root / "a").write_bytes(b"0123456789")
    os.utime(root / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataChangedError, match="/a: was"):
        open_store(root).read("a", 0, 10, pinned)


def test_a_file_that_became_a_fifo_is_not_waited_for(root: Path) -> None:
    pinned = etag(root, "a")
    (root / "a").unlink()
    os.mkfifo(root / "a")
    with pytest.raises(DataChangedError, match="no longer a file"):
        open_store(root).read("a", 0, 10, pinned)


@pytest.mark.parametrize("key", ["../a", "/etc/passwd", "b/../a", "b//c", "", "a\0b"])
def test_hostile_keys_do_not_lead_out(root: Path, key: str) -> None:
    for call in (lambda: open_store(root).read(key, 0, 1, ""), lambda: open_store(root).write(key, b"")):
        with pytest.raises(HostilePathError):
            call()


def test_ready_gives_what_is_in_memory(root: Path) -> None:
    store = open_store(root)
    assert isinstance(store, ReadyReader)
    pinned = etag(root, "b/c")
    assert bytes(store.read("b/c", 0, 70_000, pinned)) == content("b/c", 0, 70_000)
    ready = store.read_ready("b/c", 3, 1000, pinned)
    assert ready is None or bytes(ready) == content("b/c", 3, 1000)  # a file system may not know the flag
    with pytest.raises(DataChangedError):
        store.read_ready("b/c", 0, 1, "0-0-0")


@pytest.mark.parametrize("answer", [errno.EAGAIN, errno.EOPNOTSUPP, "short"])
def test_ready_gives_nothing_when_it_would_have_to_wait(
    root: Path, monkeypatch: pytest.MonkeyPatch, answer: int | str
) -> None:
    pinned = etag(root, "b/c")

    def preadv(_: int, buffers: list[bytearray], __: int, flags: int = 0) -> int:
        assert flags == os.RWF_NOWAIT
        if isinstance(answer, int):
            raise OSError(answer, "")
        return len(buffers[0]) - 1

    monkeypatch.setattr(os, "preadv", preadv)
    assert open_store(root).read_ready("b/c", 0, 4096, pinned) is None


def test_works_where_the_system_has_less(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("preadv", "pread", "RWF_NOWAIT", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECT"):
        monkeypatch.delattr(os, name, raising=False)
    store, pinned = open_store(root), etag(root, "b/c")
    assert bytes(store.read("b/c", 69_000, 1000, pinned)) == content("b/c", 69_000, 1000)
    assert store.read_ready("b/c", 0, 10, pinned) is None
    store.write("new/file", b"bytes")
    assert keys(root) == {"a", "b/c", "new/file"}


def test_a_failed_write_leaves_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="missing-source"):
        open_store(root).write("b/new", tmp_path / "missing-source")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        open_store(root).write("b/new", b"x")
    assert sorted(path.name for path in (root / "b").iterdir()) == ["c"]


def test_writes_do_not_leave_the_root(root: Path) -> None:
    (root / "out").symlink_to(root.parent)
    with pytest.raises(HostilePathError, match="leaves"):
        open_store(root).write("out/file", b"x")
    assert not (root.parent / "file").exists()


def test_a_file_in_the_way_is_named(root: Path) -> None:
    with pytest.raises(BadInputError, match="a/below"):
        open_store(root).write("a/below", b"x")
    with pytest.raises(DestinationExistsError):
        open_store(root).write("b", b"x")


def test_without_hard_links_a_write_still_works(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    open_store(root).write("new", b"x")
    assert keys(root) == {"a", "b/c", "new"}
