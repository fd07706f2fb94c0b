import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.cache.index import Extent, Index
from tests.support.caches import MIB, file_id

A = file_id("a")
SLOTS = 42
GIB = 1 << 30


def is_there(*_: int) -> bool:
    return False


def enter(index: Index, *extents: Extent) -> None:
    for extent in extents:
        index.enter(extent, is_there)


def inode(folder: Path) -> int:
    return (folder / "index").stat().st_ino


@pytest.mark.parametrize("length", [1, 100, MIB, 3 * MIB, 8 * MIB])
@pytest.mark.parametrize("start", [0, MIB - 1, 5 * MIB + 7])
def test_an_extent_is_found_from_each_of_its_bytes_and_no_other(tmp_path: Path, start: int, length: int) -> None:
    index = Index.open(tmp_path, GIB)
    extent = Extent(A, start, length, 7, 9)
    enter(index, extent)
    for at in {start, start + length // 2, start + length - 1}:
        assert index.find(A, at, 1) == [extent]
    assert index.find(A, start + length, 1) == []
    assert start == 0 or index.find(A, start - 1, 1) == []
    assert index.find(A, 0, 20 * MIB) == [extent]
    assert index.find(file_id("b"), 0, 20 * MIB) == []
    index.remove(extent)
    assert index.find(A, 0, 20 * MIB) == []


EXTENTS = st.builds(
    Extent,
    st.sampled_from([A, file_id("b"), bytes(16), b"\xff" * 16]),
    st.integers(0, 40).map(lambda number: number * 300_000),
    st.integers(1, 8 * MIB),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=60, deadline=None)
@given(extents=st.lists(EXTENTS, max_size=30), gone=st.sets(st.integers(0, 29)))
def test_an_index_that_is_not_full_forgets_nothing(
    tmp_path_factory: pytest.TempPathFactory, extents: list[Extent], gone: set[int]
) -> None:
    index = Index.open(tmp_path_factory.mktemp("index"), GIB)
    kept: dict[tuple[bytes, int], Extent] = {}
    for extent in extents:
        index.remove(
            kept.get((extent.file, extent.start), extent)
        )  # a longer one would be left beyond the new one's end
        enter(index, extent)
        kept[extent.file, extent.start] = extent
    for number, key in enumerate(list(kept)):
        if number in gone:
            index.remove(kept.pop(key))
    for file in {extent.file for extent in extents}:
        ours = sorted((each for each in kept.values() if each.file == file), key=lambda each: each.start)
        assert index.find(file, 0, 30 * MIB) == ours


def test_a_full_bucket_gives_up_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.open(tmp_path, GIB)
    extents = [Extent(A, number * 1000, 1000, number, 0) for number in range(SLOTS + 5)]
    for age, extent in enumerate(extents):
        monkeypatch.setattr("time.time", lambda age=age: 5000.0 + (age * 7) % 100)
        enter(index, extent)
        assert extent in index.find(A, 0, MIB)
    assert len(index.find(A, 0, MIB)) == SLOTS
    assert extents[0] not in index.find(A, 0, MIB)


def test_a_full_bucket_gives_up_first_what_is_gone(tmp_path: Path) -> None:
    index = Index.open(tmp_path, GIB)
    enter(index, *(Extent(A, number * 1000, 1000, number, 0) for number in range(SLOTS)))
    index.enter(Extent(A, 500_000, 1, 99, 0), lambda segment, _: segment == 17)
    assert {each.segment for each in index.find(A, 0, MIB)} == {*range(SLOTS), 99} - {17}


def test_the_same_start_takes_the_same_slot(tmp_path: Path) -> None:
    index = Index.open(tmp_path, GIB)
    enter(index, *(Extent(A, 1000, length, length, 0) for length in range(1, 200)))
    assert index.find(A, 0, MIB) == [Extent(A, 1000, 199, 199, 0)]


def test_a_slot_with_any_wrong_byte_is_empty(tmp_path: Path) -> None:
    index = Index.open(tmp_path, GIB)
    extent = Extent(A, 1, 2, 3, 4)
    enter(index, extent)
    path = tmp_path / "index"
    whole = path.read_bytes()
    place = whole.index(A)
    for at in range(place, place + 48):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert index.find(A, 0, MIB) == []
    path.write_bytes(whole)
    assert index.find(A, 0, MIB) == [extent]


@pytest.mark.parametrize("length", [0, 4096, 5000])
def test_an_index_that_was_cut_short_is_empty_and_can_be_filled_again(tmp_path: Path, length: int) -> None:
    index = Index.open(tmp_path, GIB)
    extent = Extent(A, 0, 3 * MIB, 3, 4)
    enter(index, extent)
    os.truncate(tmp_path / "index", length)
    assert index.find(A, 0, 3 * MIB) == []
    enter(index, extent)
    assert index.find(A, 0, 3 * MIB) == [extent]


@pytest.mark.parametrize("damage", ["empty", "magic", "version", "count", "text"])
def test_what_is_no_index_is_replaced_and_who_has_it_open_sees_that(tmp_path: Path, damage: str) -> None:
    old = Index.open(tmp_path, GIB)
    path = tmp_path / "index"
    before = inode(tmp_path)
    data = bytearray(path.read_bytes())
    at = {"magic": 0, "version": 8, "count": 13}.get(damage)
    if at is not None:
        data[at] ^= 1
    path.write_bytes(data if at is not None else {"empty": b"", "text": b"hello" * 1000}[damage])
    assert Index.look(tmp_path) is None
    assert not old.is_unlinked()
    enter(Index.open(tmp_path, GIB), Extent(A, 0, 1, 2, 3))
    assert inode(tmp_path) != before
    assert old.is_unlinked()
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_index_is_replaced_only_when_it_is_far_too_small(tmp_path: Path) -> None:
    small = Index.open(tmp_path, 0)
    assert small.slots == 256 * SLOTS
    first = inode(tmp_path)
    assert Index.open(tmp_path, 600 << 20).slots == small.slots
    assert inode(tmp_path) == first
    large = Index.open(tmp_path, 100 * GIB)
    assert large.slots >= 100 * GIB // (16 << 10) - SLOTS
    assert small.is_unlinked()
    assert Index.open(tmp_path, 0).slots == large.slots
    assert (tmp_path / "index").stat().st_blocks * 512 <= 16 << 10  # it takes what is used of it


def test_all_who_open_a_new_folder_at_once_have_one_index(tmp_path: Path) -> None:
    ready = threading.Barrier(8)
    opened: list[Index] = []

    def open_one() -> None:
        ready.wait(20)
        opened.append(Index.open(tmp_path, GIB))

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [index.is_unlinked() for index in opened] == [False] * 8
    enter(opened[0], Extent(A, 0, 1, 2, 3))
    assert all(index.find(A, 0, 1) for index in opened)


def test_many_files_spread_over_the_buckets(tmp_path: Path) -> None:
    index = Index.open(tmp_path, 0)
    count = index.slots // 2
    for number in range(count):
        enter(index, Extent(file_id(str(number % 50)), number * MIB, 100, number, 0))
    lost = sum(not index.find(file_id(str(number % 50)), number * MIB, 1) for number in range(count))
    assert lost < count / 500
