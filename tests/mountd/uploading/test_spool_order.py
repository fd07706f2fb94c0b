import errno
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from mountd.errors import BadInputError, CorruptDataError, DestinationExistsError, StoreUnreachableError
from mountd.stores.base import ObjectInfo
from mountd.uploading.delivery import deliver
from mountd.uploading.destination import Destination
from mountd.uploading.journal import Journal
from mountd.uploading.stages import Stages
from mountd.uploading.tree import ROOT
from tests.support import outputs
from tests.support.content import content
from tests.support.outputs import get, move, put, resolve

LONG_S = 3600.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return outputs.local_url(tmp_path / "store")


def plant(tmp_path: Path, name: str, data: bytes) -> None:
    place = tmp_path / "store" / "out" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def test_a_new_file_waits_until_a_moved_one_needs_its_old_object_no_more(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that is rotated: the bytes of the old one are in the store only, under the name that the new one takes."""
    plant(tmp_path, "log", b"old" * 1000)
    overtaken = threading.Event()
    copy = Destination.copy

    def slow(self: Destination, info: ObjectInfo, target: Path) -> None:
        overtaken.wait(0.5)  # it is not to be overtaken, so this is how long nobody does
        copy(self, info, target)

    def step(name: str) -> None:
        if name == "after write log":
            overtaken.set()

    monkeypatch.setattr(Destination, "copy", slow)
    with outputs.spool(tmp_path / "spool", url, step=step, settle_s=LONG_S) as tree:
        put(tree, "fresh", b"new")
        move(tree, "log", "log.1")
        move(tree, "fresh", "log")
        tree.commit("run")
        assert get(tree, "log.1") == b"old" * 1000
    assert outputs.stored(url) == {"log": b"new", "log.1": b"old" * 1000}


def test_an_open_file_is_read_on_when_it_was_moved_and_its_name_taken(tmp_path: Path, url: str) -> None:
    data = content("log", 0, 5000)
    plant(tmp_path, "log", data)
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        handle = tree.open(resolve(tree, "log"), os.O_RDWR)
        move(tree, "log", "log.1")
        put(tree, "log", b"new")
        tree.drain()
        assert tree.read(handle, 1000, 100) == data[1000:1100]
        tree.write(handle, len(data), b"end")
        tree.release(handle)
        tree.commit("run")
    assert outputs.stored(url) == {"log": b"new", "log.1": data + b"end"}


def test_a_file_that_comes_back_while_its_object_is_removed_is_sent_again(tmp_path: Path, url: str) -> None:
    back: list[bool] = []

    def step(name: str) -> None:
        if name == "after delete a" and back:
            back.pop()
            move(tree, "b", "a")

    with outputs.spool(tmp_path / "spool", url, step=step, settle_s=LONG_S) as tree:
        put(tree, "a", b"1")
        tree.drain()
        move(tree, "a", "b")
        back.append(True)
        tree.drain()
        assert not back
        assert set(tree.commit("run").etags) == {"a"}
    assert outputs.stored(url) == {"a": b"1"}


@pytest.mark.parametrize("dropped", [False, True])
def test_a_commit_never_passes_over_a_file_that_the_store_has_lost(
    tmp_path: Path,
    url: str,
    dropped: bool,  # noqa: FBT001 # a parameter
) -> None:
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S, limit_bytes=1000) as tree:
        put(tree, "a", b"a" * 800)
        put(tree, "b", b"b" * (800 if dropped else 8))
        tree.drain()
        (tmp_path / "store" / "out" / "a").unlink()
        for _ in range(2 if dropped else 1):
            with pytest.raises(CorruptDataError, match="sent, but not in the store as sent: a"):
                tree.commit("run")
        if dropped:
            tree.unlink(ROOT, b"a")
        assert set(tree.commit("run").etags) == ({"b"} if dropped else {"a", "b"})


def test_an_attempt_that_finds_a_file_lost_before_the_commit_has_the_next_one_send_it(tmp_path: Path, url: str) -> None:
    files = [(tmp_path / name, name) for name in ("a", "b")]
    for path, name in files:
        path.write_bytes(name.encode() * 10)

    def step(name: str) -> None:
        if name == "before write commit.json":
            raise StoreUnreachableError("cut short")

    with pytest.raises(StoreUnreachableError, match="cut short"):
        deliver(files, outputs.destination(url, step=step), tmp_path / "journal", "run")
    (tmp_path / "store" / "out" / "a").unlink()
    with pytest.raises(CorruptDataError, match="sent, but not in the store as sent: a"):
        deliver(files, outputs.destination(url), tmp_path / "journal", "run")
    assert set(deliver(files, outputs.destination(url), tmp_path / "journal", "run").etags) == {"a", "b"}
    assert outputs.stored(url) == {"a": b"a" * 10, "b": b"b" * 10}


@pytest.mark.parametrize("of", ["run", "another"])
def test_what_was_being_committed_when_it_was_killed_replaces_its_own_commit_alone(
    tmp_path: Path, url: str, of: str
) -> None:
    (tmp_path / "a").write_bytes(b"a" * 10)
    files = [(tmp_path / "a", "a")]

    def step(name: str) -> None:
        if name == "after write commit.json":
            raise StoreUnreachableError("cut short")

    with pytest.raises(StoreUnreachableError, match="cut short"):
        deliver(files, outputs.destination(url, step=step), tmp_path / "journal", "run")
    place = outputs.destination(url)
    place.write_control("commit.json", json.dumps({"run_id": of}).encode(), overwrite=True)
    if of == "run":
        assert set(deliver(files, place, tmp_path / "journal", "run").etags) == {"a"}
    else:
        with pytest.raises(DestinationExistsError, match="another run has committed an output there"):
            deliver(files, place, tmp_path / "journal", "run")
        (found,) = place.controls("commit")
        assert json.loads(place.read_control(found.key, found.size))["run_id"] == "another"


@pytest.mark.parametrize("how", ["changed", "unheard"])
def test_what_an_attempt_of_ours_left_is_in_nobody_s_way(tmp_path: Path, url: str, how: str) -> None:
    """The file changed while it was sent, or the store took it and its answer was lost."""
    source = tmp_path / "a"
    source.write_bytes(b"one")

    def step(name: str) -> None:
        if name == "before write a" and how == "changed":
            source.write_bytes(b"two!")
        if name == "after write a" and how == "unheard":
            raise StoreUnreachableError("no answer")

    with pytest.raises(CorruptDataError if how == "changed" else StoreUnreachableError):
        deliver([(source, "a")], outputs.destination(url, step=step), tmp_path / "journal", "run")
    deliver([(source, "a")], outputs.destination(url), tmp_path / "journal", "run")
    assert outputs.stored(url) == {"a": source.read_bytes()}


@pytest.mark.warns
def test_an_upload_whose_answer_was_lost_is_found_in_the_store_by_the_same_process(tmp_path: Path, url: str) -> None:
    lost = ["a"]

    def step(name: str) -> None:
        if lost and name == f"after write {lost[0]}":
            lost.pop()
            raise StoreUnreachableError("no answer")

    with outputs.spool(tmp_path / "spool", url, step=step, settle_s=LONG_S) as tree:
        put(tree, "a", b"1")
        with pytest.raises(StoreUnreachableError, match="no answer"):
            tree.commit("run")
        assert set(tree.commit("run").etags) == {"a"}
    assert outputs.stored(url) == {"a": b"1"}


def test_a_power_cut_that_takes_steps_back_leaves_a_spool_that_opens(tmp_path: Path, url: str) -> None:
    """Stages were removed, and the journal does not know it any more."""
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        put(tree, "sent", b"1")
        tree.drain()
        put(tree, "closed", b"2")
        _, handle = tree.create(ROOT, b"open", 0o644)
        tree.write(handle, 0, b"3")
    shutil.rmtree(tmp_path / "spool" / "stages")
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        assert get(tree, "sent") == b"1"
        with pytest.raises(BadInputError, match="closed, open: was not closed by whoever wrote it"):
            tree.commit("run")
        put(tree, "closed", b"22")
        tree.unlink(ROOT, b"open")
        tree.commit("run")
    assert outputs.stored(url) == {"sent": b"1", "closed": b"22"}


def test_a_write_that_had_no_room_for_a_copy_never_goes_into_what_is_being_sent(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[int | None] = []

    def step(name: str) -> None:
        if name != "before write a" or errors:
            return
        handle = tree.open(resolve(tree, "a"), os.O_WRONLY)
        with monkeypatch.context() as patch:
            patch.setattr(Stages, "copy", _full)
            for _ in range(2):
                with pytest.raises(OSError) as caught:  # noqa: PT011 # the errno is what counts
                    tree.write(handle, 0, b"X")
                errors.append(caught.value.errno)
        tree.write(handle, 1, b"Y")
        tree.release(handle)

    with outputs.spool(tmp_path / "spool", url, step=step, settle_s=LONG_S) as tree:
        put(tree, "a", b"123")
        tree.drain()
        assert errors == [errno.ENOSPC, errno.ENOSPC]
        tree.commit("run")
    assert outputs.stored(url) == {"a": b"1Y3"}


def _full(*_: object) -> tuple[int, int]:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_step_for_which_the_disk_has_no_room_is_enospc(tmp_path: Path) -> None:
    """SQLite takes such a transaction back by itself."""
    journal = Journal.open(tmp_path / "journal", "there")
    pages = journal.rows("PRAGMA page_count")[0][0]
    journal.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError) as caught, journal.transaction("much") as connection:  # noqa: PT011 # as above
        connection.execute("INSERT INTO facts VALUES ('much', ?)", ("x" * 1_000_000,))
    assert caught.value.errno == errno.ENOSPC
    journal.tell("little", "1")
    assert journal.fact("little") == "1"
    journal.close()


def test_that_a_closed_file_is_written_again_is_durable_before_its_first_byte(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, bool]] = []
    transaction = Journal.transaction

    def spied(journal: Journal, name: str, *, durable: bool = False) -> object:
        told.append((name, durable))
        return transaction(journal, name, durable=durable)

    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        put(tree, "a", b"123")
        handle = tree.open(resolve(tree, "a"), os.O_WRONLY)
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "transaction", spied)
            tree.write(handle, 0, b"X")
            tree.write(handle, 1, b"Y")
        tree.release(handle)
    assert told == [("changed", True)]


@pytest.mark.parametrize(
    ("step", "writes"), [("before dropped", "at once"), ("before dropped", "later"), ("after dropped", "later")]
)
def test_a_file_that_is_opened_while_its_stage_is_dropped_keeps_its_bytes(
    tmp_path: Path, url: str, step: str, writes: str
) -> None:
    handles: list[int] = []

    def write() -> None:
        tree.write(handles[0], 0, b"X")
        tree.release(handles[0])

    def tell(name: str) -> None:
        if name == step and not handles:
            handles.append(tree.open(resolve(tree, "a"), os.O_RDWR))
            assert tree.read(handles[0], 0, 1) == b"a"
            if writes == "at once":
                write()

    with outputs.spool(tmp_path / "spool", url, step=tell, settle_s=LONG_S, limit_bytes=1000) as tree:
        for name in ("a", "b"):
            put(tree, name, name.encode() * 300)
        tree.drain()
        put(tree, "c", b"c" * 600)  # one of the two has to go
        if writes == "later":
            write()
        tree.commit("run")
    assert outputs.stored(url) == {"a": b"X" + b"a" * 299, "b": b"b" * 300, "c": b"c" * 600}
