"""Read-ahead across files, and what it spares from trimming."""

import threading
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.cache.disk import DiskCache
from mountd.dataset.extents import FileKey
from mountd.dataset.manifest import FrozenFile, Manifest, write_manifest
from mountd.errors import NotFoundError
from mountd.reading.needed import Needed
from mountd.stores.memory import MemoryStore
from mountd.vfs import FileSystem
from tests.support.content import content
from tests.support.reading import Reading, open_reading
from tests.support.waiting import until

SIZE = 10_000
COUNT = 400


class CountingStore(MemoryStore):
    """Remembers what it was asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[str] = []

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        self.asked.append(key)
        return bytes(super().read(key, offset, size, etag))


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    store = CountingStore(str(tmp_path))
    files = [store.put(f"{n:04}", content(f"{n:04}", 0, SIZE)) for n in range(COUNT)]
    write_manifest(tmp_path / "m", [store.url], [FrozenFile(each.key, each.size, each.etag, 0) for each in files])
    return store


@pytest.fixture
def manifest(store: CountingStore, tmp_path: Path) -> Iterator[Manifest]:  # noqa: ARG001  # the fixture writes it
    with Manifest.open(tmp_path / "m") as opened:
        yield opened


def shuffled(files: FileSystem) -> "array[int]":
    """Every file, in an order that no listing has."""
    inodes = [files.lookup(1, f"{n:04}".encode()).inode for n in range(COUNT)]
    return array("I", inodes[::-7] + [each for at, each in enumerate(inodes[::-1]) if at % 7])


def read_whole(files: FileSystem, inode: int) -> bytes:
    return b"".join(map(bytes, files.read(inode, 0, SIZE)))


def test_files_are_fetched_in_the_order_of_the_plan_before_anybody_reads(
    store: CountingStore, manifest: Manifest
) -> None:
    with open_reading(store, ahead_limit=1) as reading:
        files = reading.files(manifest)
        order = shuffled(files)
        reading.plan.follow(order, files.file)
        until(lambda: len(store.asked) == COUNT, what="the whole plan")
        assert store.asked == [files.file(inode).key for inode in order]
        assert all(read_whole(files, inode) == content(files.file(inode).key, 0, SIZE) for inode in order)
        assert len(store.asked) == COUNT
        assert reading.plan.status() == {"position": COUNT, "length": COUNT}


def test_no_more_is_fetched_than_half_the_memory_holds_until_it_is_read(
    store: CountingStore, manifest: Manifest
) -> None:
    with open_reading(store, memory_bytes=100 * SIZE) as reading:
        files = reading.files(manifest)
        order = shuffled(files)
        reading.plan.follow(order, files.file)
        for place, inode in enumerate(order):
            ahead = min(COUNT, place + 45)  # it goes on for several files at once, not for each
            until(lambda ahead=ahead: len(store.asked) >= ahead, what=f"{ahead} files")  # type: ignore[misc]
            assert len(store.asked) <= place + 51
            assert read_whole(files, inode) == content(files.file(inode).key, 0, SIZE)
        assert reading.metrics.snapshot()["cache"]["misses"] == 0
        assert len(store.asked) == COUNT


def test_a_reader_far_ahead_of_the_plan_takes_it_with_him(tmp_path: Path) -> None:
    many = 5000
    store = CountingStore(str(tmp_path / "far"))
    infos = [store.put(f"{n:04}", bytes(4096)) for n in range(many)]
    write_manifest(tmp_path / "far", [store.url], [FrozenFile(each.key, each.size, each.etag, 0) for each in infos])
    with Manifest.open(tmp_path / "far") as manifest, open_reading(store, memory_bytes=200 * 4096) as reading:
        files = reading.files(manifest)
        order = array("I", (files.lookup(1, f"{n:04}".encode()).inode for n in range(many)))
        reading.plan.follow(order, files.file)
        until(lambda: len(store.asked) >= 100, what="the first files")
        files.read(order[4000], 0, 4096)
        until(lambda: "4050" in store.asked, what="the files after the reader")
        assert "3000" not in store.asked


def test_what_was_read_before_the_plan_came_to_it_is_not_fetched_and_holds_nothing_up(
    store: CountingStore, manifest: Manifest
) -> None:
    gate = threading.Event()
    with open_reading(store, memory_bytes=100 * SIZE) as reading:
        files = reading.files(manifest)
        order = shuffled(files)

        def late(inode: int) -> FileKey:
            assert gate.wait(20)
            return files.file(inode)

        reading.plan.follow(order, late)
        for inode in order[:200]:
            read_whole(files, inode)
        gate.set()
        until(lambda: len(store.asked) >= 240, what="the files after the reader")
        again = {files.file(inode).key for inode in order[:200]} & set(store.asked[200:])
        assert len(again) <= 1  # the file that the walk waits at may be fetched again


def test_what_is_on_the_disk_is_not_fetched_and_holds_nothing_up(
    store: CountingStore, manifest: Manifest, tmp_path: Path
) -> None:
    def run(reading: Reading) -> None:
        files = reading.files(manifest)
        reading.plan.follow(shuffled(files), files.file)
        for inode in shuffled(files):
            read_whole(files, inode)

    for expected in (COUNT, COUNT):
        disk = DiskCache(tmp_path / "cache", 64 << 20, 16 << 20)
        with open_reading(store, memory_bytes=100 * SIZE, disk=disk) as reading:
            run(reading)
            assert disk.drain(10)
        disk.close()
        assert len(store.asked) == expected


@pytest.mark.warns
def test_a_name_that_is_no_file_is_passed_over(store: CountingStore, manifest: Manifest) -> None:
    with open_reading(store) as reading:
        files = reading.files(manifest)
        good = shuffled(files)[:3]
        order = array("I", [1, good[0], 4_000_000, good[1], good[1], good[2]])
        reading.plan.follow(order, files.file)
        until(lambda: len(store.asked) == 3, what="the three files")


@pytest.mark.warns
def test_a_defect_gives_the_plan_up_and_harms_no_reader(store: CountingStore, manifest: Manifest) -> None:
    def file_of(_: int) -> FileKey:
        raise ZeroDivisionError

    with open_reading(store) as reading:
        files = reading.files(manifest)
        order = shuffled(files)
        reading.plan.follow(order, file_of)
        until(lambda: reading.plan.status()["length"] == 0, what="the end of the plan")
        assert read_whole(files, order[0]) == content(files.file(order[0]).key, 0, SIZE)
        reading.plan.follow(order, files.file)
        until(lambda: len(store.asked) == COUNT, what="the next plan")


def test_trimming_is_told_what_the_plan_has_still_to_come(store: CountingStore, manifest: Manifest) -> None:
    needed = Needed()
    with open_reading(store, needed=needed) as reading:
        files = reading.files(manifest)
        order = shuffled(files)
        digests = [files.file(inode).digest for inode in order]
        reading.plan.follow(order, files.file)
        assert not needed.has(digests[0])  # from now on it is wanted
        until(lambda: (read_whole(files, order[0]), needed.has(digests[-1]))[1], what="the table")
        for inode in order[: COUNT // 2]:
            read_whole(files, inode)
        assert [needed.has(each) for each in digests] == [place >= COUNT // 2 for place in range(COUNT)]
        reading.plan.follow(array("I"), files.file)
        assert not needed.has(digests[-1])


class AskedAtOnce(Needed):
    """As when trimming asks the moment a plan comes."""

    def drop(self) -> None:
        super().drop()
        self.is_asked = True


def test_the_plan_goes_on_while_what_it_needs_is_looked_up_for_trimming(
    store: CountingStore, manifest: Manifest
) -> None:
    with open_reading(store, needed=AskedAtOnce()) as reading:
        files = reading.files(manifest)
        order = shuffled(files)
        waited: list[bool] = []

        def slow_at_the_end(inode: int) -> FileKey:
            if inode == order[-1] and not waited:
                until(lambda: bool(store.asked), what="the first file")
                waited.append(True)
            return files.file(inode)

        reading.plan.follow(order, slow_at_the_end)
        until(lambda: len(store.asked) == COUNT, what="the whole plan")
        assert waited == [True]


def test_what_another_plan_needed_is_forgotten_although_it_was_being_looked_up(
    store: CountingStore, manifest: Manifest
) -> None:
    needed = AskedAtOnce()
    at_work, gate = threading.Event(), threading.Event()
    with open_reading(store, needed=needed) as reading:
        files = reading.files(manifest)
        order = shuffled(files)
        digests = [files.file(inode).digest for inode in order]

        def gated(inode: int) -> FileKey:
            at_work.set()
            assert gate.wait(20)
            return files.file(inode)

        reading.plan.follow(order[:200], gated)
        assert at_work.wait(20)
        reading.plan.follow(order[200:], files.file)
        gate.set()
        until(lambda: needed.has(digests[-1]), what="the table of the second plan")
        assert not any(needed.has(each) for each in digests[:200])


@given(
    st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 1000)), max_size=40), st.integers(0, 1000)
)
def test_needed_is_what_has_a_place_not_yet_passed(files: list[tuple[bytes, int]], place: int) -> None:
    needed = Needed()
    needed.fill(files)
    needed.pass_to(place)
    for file, _ in files:
        prefix = file[:5]
        assert needed.has(file) == any(each[:5] == prefix and at >= place for each, at in files)


def test_an_inode_that_is_not_in_the_dataset_is_an_error_of_its_own(store: CountingStore, manifest: Manifest) -> None:
    with open_reading(store) as reading, pytest.raises(NotFoundError):
        reading.files(manifest).file(4_000_000)
