import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from mountd.cache import disk, trim
from mountd.cache.disk import DiskCache
from mountd.cache.folder import exclusive
from tests.support.caches import (
    MIB,
    QUEUE_BYTES,
    data_of,
    file_id,
    found,
    open_files,
    opened,
    put,
    segments,
    used_bytes,
)
from tests.support.waiting import until

LIMIT = 8 * MIB
SEGMENT = MIB
SIZE = 500_000  # two fill a segment
FULL = [f"{number}" for number in range(8)]  # files of two extents; there is no room for a ninth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fill(folder: Path, names: list[str]) -> None:
    """Put two extents of each file, in a segment of its own, each warmer than those before it."""
    for age, name in enumerate(names):
        with opened(folder, LIMIT) as cache:
            put(cache, name, 0, SIZE)
            put(cache, name, SIZE, SIZE)
        os.utime(segments(folder)[-1], (1000 + age, 1000 + age))


def all_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def test_the_folder_stays_below_its_limit_and_the_coldest_go_first(folder: Path) -> None:
    with opened(folder, LIMIT) as cache:
        for number in range(60):
            put(cache, "a", number * SIZE, SIZE)
            assert found(cache, "a", number * SIZE, SIZE) == SIZE
            assert all_bytes(folder) <= LIMIT
            assert used_bytes(folder) <= cache.status().used_bytes <= LIMIT
        kept = [bool(found(cache, "a", number * SIZE, SIZE)) for number in range(60)]
        assert kept == sorted(kept)  # the last ones
        assert sum(kept) * SIZE > LIMIT * 0.8
        assert cache.status().corrupt == 0


def test_processes_that_share_a_folder_exceed_its_limit_by_an_open_segment_each_at_most(folder: Path) -> None:
    with ExitStack() as stack:
        caches = [stack.enter_context(opened(folder, LIMIT)) for _ in range(4)]
        for number in range(25):
            for which, cache in enumerate(caches):
                put(cache, str(which), number * SIZE, SIZE)
            assert all_bytes(folder) <= LIMIT + 3 * SEGMENT
        assert used_bytes(folder) > LIMIT * 0.8


def test_an_extent_larger_than_the_limit_costs_nothing_that_is_there(folder: Path) -> None:
    fill(folder, ["a"])
    with opened(folder, 2 * MIB) as cache:
        put(cache, "b", 0, 3 * MIB)
        assert found(cache, "b", 0, 3 * MIB) == 0
        assert found(cache, "a", 0, SIZE) == SIZE


def test_reading_warms(folder: Path) -> None:
    fill(folder, FULL)
    with opened(folder, LIMIT) as cache:
        assert found(cache, "0", 0, 1000) == 1000
        for number in range(6):
            put(cache, "new", number * SIZE, SIZE)
        kept = [name for name in FULL if found(cache, name, 0, SIZE)]
    assert kept == ["0", "4", "5", "6", "7"]


def test_other_processes_see_what_was_read_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_TICK_S", 0.02)
    fill(folder, ["a", "b"])
    coldest = segments(folder)[0]
    with opened(folder, LIMIT) as cache:
        assert found(cache, "a", 0, 1) == 1
        until(lambda: segments(folder)[-1] == coldest)


def test_nobody_trims_what_a_living_process_appends_to(folder: Path) -> None:
    fill(folder, ["a", "b"])
    with opened(folder, LIMIT) as cache:
        put(cache, "c", 0, SIZE)
        assert trim.trim(folder, 0) == 2
        with opened(folder, LIMIT) as other:
            assert found(other, "c", 0, SIZE) == SIZE
            assert found(other, "a", 0, SIZE) == 0
    assert trim.trim(folder, 0) == 1
    assert segments(folder) == []


def test_whoever_has_a_dropped_segment_open_reads_on_and_then_lets_go(
    folder: Path,
) -> None:
    fill(folder, ["a"])
    [path] = segments(folder)
    with opened(folder, LIMIT) as cache:
        assert found(cache, "a", 0, 1) == 1
        assert trim.trim(folder, 0) == 1
        assert found(cache, "a", 0, SIZE) == SIZE
        cache._segments.forget_unlinked()
        assert not any(name.startswith(str(path)) for name in open_files())
        assert found(cache, "a", 0, SIZE) == 0
        assert cache.status().corrupt == 0


def test_what_a_plan_needs_is_spared(folder: Path) -> None:
    fill(folder, FULL)
    needed = {file_id(name) for name in FULL[:4]}
    cache = DiskCache(folder, LIMIT, QUEUE_BYTES, spare=needed.__contains__)
    for number in range(4):
        put(cache, "new", number * SIZE, SIZE)
    assert [found(cache, name, 0, 2 * SIZE) for name in FULL] == [2 * SIZE] * 4 + [0] * 2 + [2 * SIZE] * 2
    assert found(cache, "new", 0, 4 * SIZE) == 4 * SIZE
    cache.close()


def test_new_extents_are_declined_when_a_plan_needs_all_that_is_there(folder: Path) -> None:
    fill(folder, FULL)
    cache = DiskCache(folder, LIMIT, QUEUE_BYTES, spare=lambda _: True)
    put(cache, "new", 0, SIZE)
    assert not cache.put(file_id("new"), 0, data_of("new", 0, SIZE), lambda: None)  # for a second nothing is tried
    assert sum(found(cache, name, 0, 2 * SIZE) for name in FULL) == len(FULL) * 2 * SIZE
    assert found(cache, "new", 0, SIZE) == 0
    assert used_bytes(folder) <= LIMIT
    cache.close()


def test_one_process_trims_at_a_time_and_the_others_do_not_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_PAUSE_S", 0.0)
    fill(folder, FULL)
    with opened(folder, LIMIT) as cache:
        with exclusive(folder / "trim.lock") as is_ours:
            assert is_ours
            assert trim.trim(folder, 0) == 0
            put(cache, "new", 0, SIZE)
            assert found(cache, "new", 0, SIZE) == 0
        put(cache, "new", 0, SIZE)
        assert found(cache, "new", 0, SIZE) == SIZE


def test_a_disk_that_is_short_of_space_is_left_some(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = FULL[:6]
    fill(folder, names)
    total = 100 * MIB
    least = total // 20
    mine = used_bytes(folder) + least + SEGMENT // 2  # so half a segment is free of what may be used

    def usage(_: Path) -> object:
        return shutil._ntuple_diskusage(total, 0, mine - used_bytes(folder))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with opened(folder, LIMIT) as cache:
        put(cache, "new", 0, SIZE)
        assert found(cache, "new", 0, SIZE) == SIZE
        assert mine - used_bytes(folder) >= least
        assert [bool(found(cache, name, 0, SIZE)) for name in names] == [False] + [True] * 5


def test_a_segment_that_is_younger_than_the_listing_is_not_taken_for_gone(folder: Path) -> None:
    with opened(folder, LIMIT) as cache:
        put(cache, "a", 0, SIZE)
        [extent] = cache._find(file_id("a"), 0, 1)
        now = int(time.time())
        assert cache._is_gone(1, now - 5)
        assert not cache._is_gone(1, now + 1)
        assert not cache._is_gone(extent.segment, now - 5)


def test_clear_removes_all_and_mounts_go_on(folder: Path) -> None:
    with opened(folder, LIMIT) as cache:
        put(cache, "a", 0, SIZE)
        assert trim.clear(folder) == 1
        assert trim.used_bytes(folder) == 0
        put(cache, "b", 0, SIZE)
        with opened(folder, LIMIT) as other:
            assert found(other, "b", 0, SIZE) == SIZE
            assert found(other, "a", 0, SIZE) == 0


def test_strange_files_among_the_segments_are_let_be(folder: Path) -> None:
    fill(folder, ["a"])
    for name in ("notes.txt", "zz.segment"):
        (folder / "segments" / name).write_text("not ours")
    with opened(folder, LIMIT) as cache:
        put(cache, "b", 0, SIZE)
    trim.trim(folder, 0)
    assert {path.name for path in (folder / "segments").iterdir()} == {"notes.txt", "zz.segment"}


def test_a_segment_that_cannot_be_removed_keeps_no_other(folder: Path) -> None:
    fill(folder, ["a"])
    segments = trim.segments_folder(folder)
    (segments / f"{1:016x}.segment").mkdir()
    os.utime(segments / f"{1:016x}.segment", (1, 1))  # the coldest
    assert trim.trim(folder, 0) == 1
    assert [each.number for each in trim.list_segments(folder)] == [1]


@pytest.mark.warns
def test_a_disk_without_room_is_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = shutil.disk_usage(folder.parent)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with opened(folder, LIMIT) as cache:
        put(cache, "a", 0, SIZE)
        until(lambda: cache.put(file_id("b"), 0, data_of("b", 0, SIZE), lambda: None), what="the end of the pause")
        assert cache.drain(20)
    [record] = caplog.records
    assert record.getMessage().endswith("the disk has no room left for the cache; reads go on without it")
