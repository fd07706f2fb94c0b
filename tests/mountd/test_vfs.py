"""The file system over a store that fails."""

import logging
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mountd.dataset.manifest import ROOT, FrozenFile, Manifest, write_manifest
from mountd.errors import BadInputError, DataChangedError, MountdError, NotFoundError, StoreUnreachableError
from mountd.vfs import FileSystem
from tests.support.reading import URL, FakeStore, data_of, joined, never, open_reading

if TYPE_CHECKING:
    from mountd.reading.reader import Parts

SIZES = {"a": 5, "b": 70_000, "folder/c": 9}
CHANGED = "test://store/a: changed since it was frozen"


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def tree(tmp_path: Path, store: FakeStore) -> Iterator[FileSystem]:
    files = [FrozenFile(name, size, f"tag {name}", 0) for name, size in SIZES.items()]
    write_manifest(tmp_path / "m", [URL], files)
    with Manifest.open(tmp_path / "m") as manifest, open_reading(store) as reading:
        yield reading.files(manifest)


def inode(tree: FileSystem, name: str) -> int:
    return tree.lookup(ROOT, name.encode()).inode


@pytest.mark.warns
def test_a_changed_file_is_logged_once_however_often_it_is_read(
    tree: FileSystem, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.failure = DataChangedError(CHANGED)
    for _ in range(3):
        with pytest.raises(DataChangedError):
            tree.read(inode(tree, "a"), 0, 5)
    assert [record.getMessage() for record in caplog.records] == [f"read failed: {CHANGED}"]


@pytest.mark.warns
def test_an_error_that_comes_later_is_logged_once_too_and_answers_everybody(
    tree: FileSystem, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    answers: queue.SimpleQueue[Parts | MountdError] = queue.SimpleQueue()
    store.failure = DataChangedError(CHANGED)
    store.gate.clear()
    assert [tree.start_read(inode(tree, "a"), 0, 5, answers.put) for _ in range(3)] == [None] * 3
    store.gate.set()
    assert [type(answers.get(timeout=10)) for _ in range(3)] == [DataChangedError] * 3
    assert len(caplog.records) == 1
    with pytest.raises(DataChangedError):  # remembered, so known at once
        tree.start_read(inode(tree, "a"), 0, 5, answers.put)
    assert answers.empty()
    assert [record.getMessage() for record in caplog.records] == [f"read failed: {CHANGED}"]


@pytest.mark.warns
def test_another_trouble_and_another_file_are_logged_of_their_own(
    tree: FileSystem, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.failure = DataChangedError("one")
    with pytest.raises(DataChangedError):
        tree.read(inode(tree, "a"), 0, 5)
    store.failure = StoreUnreachableError("two")
    with pytest.raises(StoreUnreachableError):
        tree.read(inode(tree, "b"), 0, 5)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "read failed: one"),
        (logging.WARNING, "read failed: two"),
    ]


def test_a_read_ends_where_the_file_ends(tree: FileSystem) -> None:
    answers: queue.SimpleQueue[Parts | MountdError] = queue.SimpleQueue()
    file = inode(tree, "b")
    assert tree.start_read(file, 60_000, 20_000, answers.put) is None
    told = answers.get(timeout=10)
    assert not isinstance(told, MountdError)
    assert joined(told) == data_of("b", 60_000, 10_000)
    here = tree.start_read(file, 60_000, 20_000, answers.put)
    assert here is not None
    assert joined(here) == data_of("b", 60_000, 10_000)
    for offset in (70_000, 1 << 40):
        assert tree.start_read(file, offset, 20_000, answers.put) == ()
        assert tree.read(file, offset, 20_000) == ()
    assert answers.empty()


def test_a_read_of_a_folder_or_of_nothing_is_an_error(tree: FileSystem, store: FakeStore) -> None:
    folder = inode(tree, "folder")
    for node, error in ((folder, BadInputError), (99, NotFoundError)):
        with pytest.raises(error, match=f"inode {node}: (a directory, which has no bytes to read|not in the dataset)"):
            tree.read(node, 0, 5)
        with pytest.raises(error):
            tree.start_read(node, 0, 5, never)
    assert store.asked == []


def test_a_listing_of_a_file_is_an_error(tree: FileSystem) -> None:
    with pytest.raises(BadInputError, match="not a directory"):
        tree.children(inode(tree, "a"), 0, 10)
