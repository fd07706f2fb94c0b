import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mountd.errors import AccessDeniedError, BadInputError, DestinationExistsError
from mountd.uploading.spool import Spool, open_spool
from mountd.uploading.tree import RENAME_NOREPLACE, ROOT
from tests.support import outputs
from tests.support.azurite import Azurite
from tests.support.content import content
from tests.support.outputs import get, move, put, resolve
from tests.support.waiting import until

LONG_S = 3600.0  # no test waits for a file to settle by itself


@pytest.fixture
def url(tmp_path: Path) -> str:
    return outputs.local_url(tmp_path / "store")


@pytest.fixture
def tree(tmp_path: Path, url: str) -> Iterator[Spool]:
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as opened:
        yield opened


def refuses(number: int, call: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 # the errno is what counts
        call(*arguments)
    assert caught.value.errno == number, caught.value


def names(tree: Spool, path: str = "") -> list[bytes]:
    return [name for name, _ in tree.names(resolve(tree, path))]


def test_what_was_written_is_read_and_comes_to_the_store(tree: Spool, url: str) -> None:
    tree.mkdir(ROOT, b"d", 0o755)
    put(tree, "d/a", content("a", 0, 100_000))
    put(tree, "b", b"")
    assert get(tree, "d/a") == content("a", 0, 100_000)
    assert outputs.stored(url) == {}
    done = tree.commit("run")
    assert outputs.stored(url) == {"d/a": content("a", 0, 100_000), "b": b""}
    assert (done.files, done.size_bytes) == (2, 100_000)
    assert get(tree, "d/a") == content("a", 0, 100_000)


def test_a_file_is_sent_by_itself_when_it_has_settled(tmp_path: Path, url: str) -> None:
    with outputs.spool(tmp_path / "spool", url, settle_s=0.0) as tree:
        put(tree, "a", b"1")
        until(lambda: outputs.stored(url) == {"a": b"1"})


def test_an_open_file_is_not_sent_and_not_committed(tree: Spool, url: str) -> None:
    put(tree, "a", b"1")
    _, handle = tree.create(ROOT, b"open", 0o644)
    tree.write(handle, 0, b"half")
    with pytest.raises(BadInputError, match="open: was not closed"):
        tree.commit("run")
    assert outputs.stored(url) == {"a": b"1"}
    tree.flush(handle)
    tree.release(handle)
    assert set(tree.commit("run").etags) == {"a", "open"}


def test_writes_at_any_offset_truncate_and_append(tree: Spool) -> None:
    put(tree, "a", b"0123456789")
    inode = resolve(tree, "a")
    handle = tree.open(inode, os.O_RDWR)
    tree.write(handle, 4, b"xx")
    tree.write(handle, 12, b"y")
    assert tree.read(handle, 0, 100) == b"0123xx6789\0\0y"
    assert tree.attributes(inode).size == 13
    assert tree.truncate(inode, 3).size == 3
    tree.truncate(inode, 5)
    append = tree.open(inode, os.O_WRONLY | os.O_APPEND)
    tree.write(append, 0, b"end")
    assert tree.read(handle, 0, 100) == b"012\0\0end"
    refuses(errno.EBADF, tree.read, append, 0, 1)
    for each in (handle, append):
        tree.flush(each)
        tree.release(each)
    refuses(errno.EBADF, tree.write, handle, 0, b"late")
    assert get(tree, "a") == b"012\0\0end"


def test_the_checkpoint_pattern_costs_one_upload(tmp_path: Path, url: str) -> None:
    steps: list[str] = []
    with outputs.spool(tmp_path / "spool", url, step=steps.append, settle_s=LONG_S) as tree:
        for number in range(3):
            put(tree, "checkpoint.tmp", b"%d" % number)
            move(tree, "checkpoint.tmp", "checkpoint")
        tree.commit("run")
    assert outputs.stored(url) == {"checkpoint": b"2"}
    assert [step for step in steps if step.startswith("before write ") and "json" not in step] == [
        "before write checkpoint"
    ]


def test_names_are_changed_and_refused_as_posix_says(tree: Spool) -> None:
    tree.mkdir(ROOT, b"d", 0o700)
    tree.mkdir(ROOT, b"e", 0o755)
    put(tree, "d/a", b"1")
    refuses(errno.EEXIST, tree.mkdir, ROOT, b"d", 0o755)
    refuses(errno.ENOTEMPTY, tree.rmdir, ROOT, b"d")
    refuses(errno.EISDIR, tree.unlink, ROOT, b"d")
    refuses(errno.ENOTDIR, tree.rmdir, resolve(tree, "d"), b"a")
    refuses(errno.ENOENT, tree.unlink, ROOT, b"none")
    refuses(errno.ENOTDIR, tree.lookup, resolve(tree, "d/a"), b"x")
    refuses(errno.EISDIR, tree.open, resolve(tree, "d"), os.O_RDONLY)
    refuses(errno.EINVAL, tree.rename, ROOT, b"d", resolve(tree, "d"), b"x")
    refuses(errno.ENOTEMPTY, tree.rename, ROOT, b"e", ROOT, b"d")
    refuses(errno.EISDIR, tree.rename, resolve(tree, "d"), b"a", ROOT, b"e")
    refuses(errno.EEXIST, tree.rename, ROOT, b"d", ROOT, b"e", RENAME_NOREPLACE)
    refuses(errno.EINVAL, tree.rename, ROOT, b"d", ROOT, b"e", 1 << 20)
    tree.rename(ROOT, b"d", ROOT, b"e")
    assert names(tree) == [b"e"]
    assert get(tree, "e/a") == b"1"
    assert stat.S_ISDIR(tree.lookup(ROOT, b"e").st_mode)
    tree.unlink(resolve(tree, "e"), b"a")
    tree.rmdir(ROOT, b"e")
    assert names(tree) == []


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (b"x" * 256, errno.ENAMETOOLONG),
        (b"\xff", errno.EILSEQ),
        (b".moorage-1.partial", errno.EPERM),
    ],
)
def test_a_name_that_no_store_keeps_is_refused_at_once(tree: Spool, name: bytes, number: int) -> None:
    refuses(number, tree.create, ROOT, name, 0o644)
    refuses(number, tree.mkdir, ROOT, name, 0o755)


def test_a_file_that_was_unlinked_goes_on_until_it_is_closed(tree: Spool, url: str) -> None:
    put(tree, "a", b"first")
    tree.commit("run")
    inode = resolve(tree, "a")
    handle = tree.open(inode, os.O_RDWR)
    tree.unlink(ROOT, b"a")
    refuses(errno.ENOENT, tree.lookup, ROOT, b"a")
    tree.write(handle, 5, b"more")
    assert tree.read(handle, 0, 20) == b"firstmore"
    assert tree.attributes(inode).size == 9
    tree.commit("run")
    assert tree.read(handle, 0, 20) == b"firstmore"
    tree.release(handle)
    refuses(errno.ENOENT, tree.attributes, inode)
    assert outputs.stored(url) == {}
    assert tree.status()["staged_bytes"] == 0


def test_what_lies_there_is_seen_read_and_brought_here_by_the_first_write(tmp_path: Path, url: str) -> None:
    there = tmp_path / "store/out/d"
    there.mkdir(parents=True)
    (there / "old").write_bytes(content("old", 0, 5000))
    (there / "kept").write_bytes(b"kept")
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        assert get(tree, "d/old") == content("old", 0, 5000)
        handle = tree.open(resolve(tree, "d/old"), os.O_RDWR)
        tree.write(handle, 10, b"new")
        tree.release(handle)
        done = tree.commit("run")
    assert outputs.stored(url) == {
        "d/old": content("old", 0, 10) + b"new" + content("old", 13, 4987),
        "d/kept": b"kept",
    }
    assert set(done.etags) == {"d/old"}  # what was there before is no work of this run


def test_what_changed_in_the_store_is_estale_and_never_other_bytes(tmp_path: Path, url: str) -> None:
    there = tmp_path / "store/out"
    there.mkdir(parents=True)
    (there / "old").write_bytes(b"before")
    with outputs.spool(tmp_path / "spool", url) as tree:
        (there / "old").write_bytes(b"after!")
        refuses(errno.ESTALE, get, tree, "old")


@pytest.mark.parametrize("staged", [True, False])
def test_a_rename_after_the_upload_moves_the_object(tmp_path: Path, url: str, staged: bool) -> None:  # noqa: FBT001
    if not staged:
        (tmp_path / "store/out/d").mkdir(parents=True)
        (tmp_path / "store/out/d/a").write_bytes(b"1")
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        if staged:
            tree.mkdir(ROOT, b"d", 0o755)
            put(tree, "d/a", b"1")
            tree.commit("run")
        move(tree, "d", "e")
        assert get(tree, "e/a") == b"1"
        tree.commit("run")
    assert outputs.stored(url) == {"e/a": b"1"}


def test_a_file_becomes_a_folder_and_a_folder_a_file(tree: Spool, url: str) -> None:
    put(tree, "a", b"file")
    tree.mkdir(ROOT, b"b", 0o755)
    put(tree, "b/x", b"below")
    tree.commit("run")
    tree.unlink(ROOT, b"a")
    tree.mkdir(ROOT, b"a", 0o755)
    move(tree, "b/x", "a/x")
    tree.rmdir(ROOT, b"b")
    put(tree, "b", b"now a file")
    tree.commit("run")
    assert outputs.stored(url) == {"a/x": b"below", "b": b"now a file"}


def test_two_files_change_places_in_the_store(tree: Spool, url: str) -> None:
    put(tree, "a", b"A")
    put(tree, "b", b"B")
    tree.commit("run")
    move(tree, "a", "c")
    move(tree, "b", "a")
    move(tree, "c", "b")
    tree.commit("run")
    assert outputs.stored(url) == {"a": b"B", "b": b"A"}


def test_one_process_at_a_time_has_a_spool_and_one_spool_a_place(tmp_path: Path, url: str, tree: Spool) -> None:
    del tree
    with pytest.raises(BadInputError, match=f"spool: process {os.getpid()} has this spool"):
        open_spool(outputs.destination(url), tmp_path / "spool")
    with pytest.raises(BadInputError, match=f"out/: process {os.getpid()} on .* writes there"):
        open_spool(outputs.destination(url), tmp_path / "another")
    with outputs.spool(tmp_path / "third", url, "elsewhere/"):
        pass
    with pytest.raises(BadInputError, match="a journal with destination"):
        open_spool(outputs.destination(url), tmp_path / "third")


@pytest.mark.warns
def test_a_refused_upload_is_eio_at_the_next_open_or_fsync_and_named_by_the_commit(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        with monkeypatch.context() as patch:
            patch.setattr("mountd.stores.local.LocalStore.write", _refusing("a"))
            put(tree, "a", b"1")
            put(tree, "b", b"2")
            with pytest.raises(AccessDeniedError, match=r"not stored: a: .*no rights"):
                tree.commit("run")
            refuses(errno.EIO, get, tree, "a")
            assert get(tree, "a") == b"1"  # it is told once
            assert tree.status()["refused"] == 1
        tree.commit("run")
    assert outputs.stored(url) == {"a": b"1", "b": b"2"}


def _refusing(name: str) -> Callable[..., object]:
    from mountd.stores.local import LocalStore

    write = LocalStore.write

    def refusing(store: LocalStore, key: str, source: Path | bytes, *, overwrite: bool = False) -> object:
        if key.endswith(f"/{name}"):
            raise AccessDeniedError(f"{key}: no rights")
        return write(store, key, source, overwrite=overwrite)

    return refusing


@pytest.mark.warns
def test_what_somebody_else_wrote_meanwhile_is_not_replaced(tmp_path: Path, tree: Spool) -> None:
    put(tree, "a", b"ours")
    (tmp_path / "store/out").mkdir()
    (tmp_path / "store/out/a").write_bytes(b"theirs")
    with pytest.raises(DestinationExistsError, match="not stored: a:"):
        tree.commit("run")
    assert (tmp_path / "store/out/a").read_bytes() == b"theirs"


def test_fsync_remote_returns_when_the_file_is_in_the_store(tmp_path: Path, url: str) -> None:
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S, remote=True) as tree:
        _, handle = tree.create(ROOT, b"a", 0o644)
        tree.write(handle, 0, b"one")
        tree.fsync(handle)
        assert outputs.stored(url) == {"a": b"one"}
        tree.write(handle, 3, b"two")
        assert outputs.stored(url) == {"a": b"one"}
        tree.fsync(handle)
        assert outputs.stored(url) == {"a": b"onetwo"}
        tree.release(handle)


def test_what_is_written_while_it_is_sent_is_another_version(tmp_path: Path, url: str) -> None:
    """The upload hangs at its start; the file is written again meanwhile; both versions come whole, the last one stays."""
    seen: list[bytes] = []

    def step(name: str) -> None:
        if name == "before write a" and not seen:
            seen.append(b"")
            handle = opened.open(resolve(opened, "a"), os.O_WRONLY)
            opened.write(handle, 0, b"B" * 5)
            opened.flush(handle)
            opened.release(handle)
        elif name == "after write a" and len(seen) < 3:
            seen.append(outputs.stored(url)["a"])

    with outputs.spool(tmp_path / "spool", url, step=step, settle_s=LONG_S) as opened:
        put(opened, "a", b"A" * 10)
        opened.commit("run")
    assert seen == [b"", b"A" * 10, b"B" * 5 + b"A" * 5]


def test_after_a_sudden_end_what_was_closed_is_sent_and_what_was_open_is_named(tmp_path: Path, url: str) -> None:
    process = os.fork()
    if not process:  # the child never returns
        tree = open_spool(outputs.destination(url), tmp_path / "spool", settle_s=LONG_S)
        put(tree, "closed", b"whole")
        _, handle = tree.create(ROOT, b"flushed", 0o644)
        tree.write(handle, 0, b"whole too")
        tree.flush(handle)
        torn, handle = tree.create(ROOT, b"torn", 0o644)
        tree.write(handle, 0, b"half")
        tree.truncate(torn.inode, 3)
        os.kill(os.getpid(), 9)
    os.waitpid(process, 0)
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        assert get(tree, "torn") == b"hal"
        with pytest.raises(BadInputError, match=r"^torn: was not closed"):
            tree.commit("run")
        assert outputs.stored(url) == {"closed": b"whole", "flushed": b"whole too"}
        put(tree, "torn", b"half")
        assert tree.commit("run").files == 3
    assert outputs.stored(url)["torn"] == b"half"


def test_the_commit_is_written_last_lists_every_file_and_goes_when_the_place_is_written_again(
    tmp_path: Path, tree: Spool
) -> None:
    put(tree, "a", b"1")
    done = tree.commit("run")
    (found,) = (tmp_path / "store/.moorage").rglob("commit.json")
    told = json.loads(found.read_text())
    assert [(each["path"], each["etag"], each["size"]) for each in told["list"]] == [("a", done.etags["a"], 1)]
    put(tree, "b", b"2")
    tree.commit("run")
    assert json.loads(found.read_text())["files"] == 2


@pytest.mark.azurite
def test_it_works_the_same_on_blobs(tmp_path: Path, azurite: Azurite) -> None:
    url = azurite.make_container("spool-blobs")
    azurite.put("spool-blobs", "out/old", b"old")
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        tree.mkdir(ROOT, b"d", 0o755)
        put(tree, "d/big", content("big", 0, 9 << 20))
        put(tree, "d/small", b"1")
        move(tree, "old", "new")
        assert get(tree, "new") == b"old"
        tree.commit("run")
        move(tree, "d/small", "small")
        tree.commit("run")
    assert outputs.stored(url) == {"d/big": content("big", 0, 9 << 20), "small": b"1", "new": b"old"}


@pytest.mark.warns
def test_a_file_that_comes_back_before_its_old_object_is_removed_is_committed(
    tree: Spool, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tree, "a", b"1")
    tree.commit("run")
    move(tree, "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr("mountd.uploading.sending.Sender.remove", _no_rights)
        with pytest.raises(AccessDeniedError, match="not stored: a: no rights"):
            tree.commit("run")
    move(tree, "b", "a")
    assert set(tree.commit("run").etags) == {"a"}
    assert outputs.stored(url) == {"a": b"1"}


def _no_rights(*_: object) -> None:
    raise AccessDeniedError("no rights")
