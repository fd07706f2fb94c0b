import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mountd.cache import segments as segments_module
from mountd.cache.checksums import GRANULE_BYTES
from mountd.cache.disk import DiskCache
from mountd.cache.index import Extent, Index
from mountd.cache.segments import LONGEST_BYTES, head_bytes
from mountd.errors import BadInputError
from tests.support.caches import (
    LIMIT_BYTES,
    MIB,
    QUEUE_BYTES,
    data_of,
    file_id,
    found,
    open_files,
    opened,
    put,
    segments,
)
from tests.support.waiting import until

SIZE = 100_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> Iterator[DiskCache]:
    with opened(folder) as cache:
        yield cache


def ignore() -> None:
    pass


def test_what_was_put_is_there_after_a_restart(folder: Path) -> None:
    with opened(folder) as cache:
        put(cache, "a", 0, SIZE)
    assert found(cache, "a", 0, SIZE) == 0  # closed
    with opened(folder) as again:
        assert found(again, "a", 0, SIZE) == SIZE
        assert again.status().used_bytes >= SIZE


def test_what_was_queued_is_written_at_the_end(folder: Path) -> None:
    with opened(folder) as cache:
        for number in range(50):
            assert cache.put(file_id("a"), number * SIZE, data_of("a", number * SIZE, SIZE), ignore)
    with opened(folder) as again:
        assert found(again, "a", 0, 50 * SIZE) == 50 * SIZE


def test_another_process_has_an_extent_as_soon_as_it_is_written(folder: Path, cache: DiskCache) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.support.caches import *\n"
        "with opened(Path(sys.argv[1])) as cache:\n"
        "    for line in sys.stdin:\n"
        "        print(found(cache, 'a', int(line), 100_000), flush=True)\n"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for offset in (0, MIB, 3 * SIZE):
            put(cache, "a", offset, SIZE)
            print(offset, file=other.stdin, flush=True)
            assert other.stdout.readline() == f"{SIZE}\n"
        other.stdin.close()
        assert other.wait(20) == 0


def test_the_pieces_of_a_range_are_clipped_and_overlap_nowhere(cache: DiskCache) -> None:
    put(cache, "a", 0, 1000)
    put(cache, "a", 500, 1000)
    put(cache, "a", 2000, 10)
    pieces = [(start, len(piece)) for start, piece in cache.read(file_id("a"), 100, 1905)]
    assert pieces == [(100, 900), (1000, 500), (2000, 5)]
    assert found(cache, "a", 1500, 500) == 0
    assert cache.holds(file_id("a"), 100, 1400)
    assert not cache.holds(file_id("a"), 100, 1401)
    assert not cache.holds(file_id("b"), 100, 1)


@pytest.mark.parametrize("size", [1, GRANULE_BYTES, GRANULE_BYTES + 1, MIB - 1, 3 * MIB + 5, LONGEST_BYTES])
@pytest.mark.parametrize("offset", [0, MIB - 1, 32 * 1024])
def test_an_extent_of_any_size_is_read_whole_and_by_its_ends(cache: DiskCache, offset: int, size: int) -> None:
    data = put(cache, "a", offset, size)
    assert b"".join(piece for _, piece in cache.read(file_id("a"), offset, size)) == data
    assert found(cache, "a", offset + size - 1, 2) == 1
    assert found(cache, "a", max(0, offset - 1), 2) == (2 if offset == 0 and size > 1 else 1)
    assert cache.holds(file_id("a"), offset, size)
    assert cache.status().corrupt == 0


def test_what_is_empty_or_too_long_is_declined(cache: DiskCache) -> None:
    assert not cache.put(file_id("a"), 0, b"", ignore)
    assert not cache.put(file_id("a"), 0, bytes(LONGEST_BYTES + 1), ignore)
    assert cache.read(file_id("a"), 0, 0) == []


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_an_extent_may_come_in_any_buffer(cache: DiskCache, kind: Any) -> None:
    assert cache.put(file_id("a"), 0, kind(data_of("a", 0, SIZE)), ignore)
    assert cache.drain(20)
    assert found(cache, "a", 0, SIZE) == SIZE


def test_what_is_here_already_is_not_written_again(folder: Path, cache: DiskCache) -> None:
    put(cache, "a", 0, SIZE)
    before = [path.stat().st_size for path in segments(folder)]
    with opened(folder) as other:
        put(other, "a", 1000, SIZE - 1000)
    assert [path.stat().st_size for path in segments(folder)] == before


HEAD = head_bytes(SIZE)
DAMAGE = {"magic": 5, "file": 10, "CRC of the head": 0, "table": HEAD - 1, "first": HEAD, "last": HEAD + SIZE - 1}


@pytest.mark.parametrize("damage", [*DAMAGE, "cut in the head", "cut in the data", "cut to nothing", "moved"])
def test_a_damaged_extent_is_a_miss_counted_and_removed(folder: Path, cache: DiskCache, damage: str) -> None:
    put(cache, "a", 0, SIZE)
    [path] = segments(folder)
    data = bytearray(path.read_bytes())
    if damage in DAMAGE:
        data[DAMAGE[damage]] ^= 1
    else:
        cuts = {"cut in the head": 30, "cut in the data": len(data) - 1, "cut to nothing": 0}
        data = bytearray(1) + data if damage == "moved" else data[: cuts[damage]]
    path.write_bytes(data)
    assert cache.holds(file_id("a"), 0, SIZE)
    assert found(cache, "a", 0, SIZE) == 0
    assert not cache.holds(file_id("a"), 0, SIZE)
    assert found(cache, "a", 0, SIZE) == 0
    assert cache.status().corrupt == 1
    put(cache, "a", 0, SIZE)
    assert found(cache, "a", 0, SIZE) == SIZE


def test_a_slot_that_points_to_another_extent_is_a_miss(folder: Path, cache: DiskCache) -> None:
    put(cache, "a", 0, SIZE)
    index = Index.look(folder)
    assert index is not None
    [extent] = index.find(file_id("a"), 0, SIZE)
    for wrong in ((file_id("b"), 0, SIZE), (file_id("a"), MIB, SIZE), (file_id("c"), 0, SIZE - 1)):
        index.enter(Extent(*wrong, extent.segment, extent.position), lambda *_: False)
        assert cache.read(*wrong) == []
    assert cache.status().corrupt == 3
    assert found(cache, "a", 0, SIZE) == SIZE


def test_damage_costs_only_the_granules_that_are_asked_for(folder: Path, cache: DiskCache) -> None:
    put(cache, "a", 0, MIB)
    [path] = segments(folder)
    with path.open("r+b") as stream:
        stream.seek(head_bytes(MIB) + 5 * GRANULE_BYTES)
        stream.write(b"damage")
    assert found(cache, "a", 0, 5 * GRANULE_BYTES) == 5 * GRANULE_BYTES
    assert found(cache, "a", 6 * GRANULE_BYTES, 1000) == 1000
    assert found(cache, "a", 5 * GRANULE_BYTES + 1000, 1) == 0
    assert cache.status().corrupt == 1


def test_a_small_read_of_a_big_extent_reads_little(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache, "a", 0, 4 * MIB)
    asked: list[int] = []
    pread = os.pread

    def counted(descriptor: int, size: int, at: int) -> bytes:
        asked.append(size)
        return pread(descriptor, size, at)

    monkeypatch.setattr(os, "pread", counted)
    assert found(cache, "a", 3 * MIB, 4096) == 4096
    assert sum(asked) <= GRANULE_BYTES + 4096


def test_a_disk_slower_than_the_network_declines_extents_and_blocks_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    pwrite = os.pwrite

    def slow(*arguments: Any) -> int:
        may_write.wait(20)
        return pwrite(*arguments)

    told: list[int] = []
    with opened(folder, queue_bytes=3 * SIZE) as cache:
        monkeypatch.setattr(os, "pwrite", slow)
        taken = [
            cache.put(file_id("a"), number * SIZE, data_of("a", number * SIZE, SIZE), lambda n=number: told.append(n))  # type: ignore[misc]
            for number in range(10)
        ]
        assert taken == [True] * 3 + [False] * 7
        assert not cache.drain(0)
        may_write.set()
        assert cache.drain(20)
        assert told == [0, 1, 2]
        assert found(cache, "a", 0, 10 * SIZE) == 3 * SIZE


@pytest.mark.parametrize("failure", [None, OSError, MemoryError])
@pytest.mark.warns
def test_whoever_put_is_told_once_when_the_bytes_are_free_again(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, failure: type[Exception] | None
) -> None:
    def fail(*_: object) -> None:
        assert failure is not None
        raise failure

    if failure is not None:
        monkeypatch.setattr(os, "pwrite", fail)
    data = bytearray(data_of("a", 0, SIZE))
    told: list[str] = []

    def written() -> None:
        data.append(0)  # a BufferError while anybody refers to it
        told.append(threading.current_thread().name)

    assert cache.put(file_id("a"), 0, data, written)
    assert cache.drain(20)
    assert told == ["cache-writer"]


def test_nothing_is_taken_after_the_end(folder: Path) -> None:
    with opened(folder) as cache:
        pass
    assert not cache.put(file_id("a"), 0, b"x", ignore)
    assert cache.drain(1)
    cache.close()


def test_nothing_is_left_after_the_end(folder: Path) -> None:
    before = open_files()
    with opened(folder) as cache:
        for number in range(20):
            put(cache, "a", number * MIB, MIB)
        assert found(cache, "a", 0, 20 * MIB) == 20 * MIB
        assert len(open_files()) > len(before)
    assert open_files() == before
    assert not cache._writer.is_alive()


def test_segments_are_closed_under_no_reader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments_module, "_OPEN_SEGMENTS", 2)
    with opened(folder) as cache:
        for number in range(12):
            put(cache, "a", number * 4 * MIB, 4 * MIB)
        assert len(segments(folder)) >= 10
        wrong: list[BaseException] = []

        def read(step: int) -> None:
            try:
                for number in range(300):
                    assert found(cache, "a", number * step % 12 * 4 * MIB, 5000) == 5000
            except BaseException as error:  # noqa: BLE001  # told to the test
                wrong.append(error)

        threads = [threading.Thread(target=read, args=(step,)) for step in (1, 5, 7, 11)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len([name for name in open_files() if str(folder / "segments") in name]) <= 4


@pytest.mark.parametrize("takes", [True, False])
def test_big_extents_bypass_the_page_cache_where_that_is_taken(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, *, takes: bool
) -> None:
    import fcntl

    direct: list[int] = []
    pwrite = os.pwrite

    def watched(descriptor: int, data: memoryview, at: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            direct.append(len(data) | at)
            if not takes:
                raise OSError(errno.EINVAL, "not aligned")
        return pwrite(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", watched)
    for number in range(3):
        put(cache, "a", number * MIB, MIB)
        put(cache, "b", number * SIZE, SIZE)
    assert found(cache, "a", 0, 3 * MIB) == 3 * MIB
    assert found(cache, "b", 0, 3 * SIZE) == 3 * SIZE
    assert len(direct) == (3 if takes else 1)
    assert all(aligned % 4096 == 0 for aligned in direct)


def test_an_index_that_was_removed_or_replaced_is_noticed(folder: Path, cache: DiskCache) -> None:
    put(cache, "a", 0, SIZE)
    (folder / "index").unlink()
    put(cache, "b", 0, SIZE)
    with opened(folder) as other:
        assert found(other, "b", 0, SIZE) == SIZE
        (folder / "index").write_bytes(b"no index")
        with opened(folder) as third:
            put(other, "c", 0, SIZE)
            assert found(third, "c", 0, SIZE) == SIZE


def test_a_segment_that_was_removed_is_not_appended_to(folder: Path, cache: DiskCache) -> None:
    put(cache, "a", 0, SIZE)
    segments(folder)[0].unlink()
    put(cache, "a", MIB, SIZE)
    with opened(folder) as other:
        assert found(other, "a", 0, SIZE) == 0
        assert found(other, "a", MIB, SIZE) == SIZE
        assert other.status().corrupt == 0


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for name, reason in (("open", "another user"), ("link", "a link or a file")):
        with pytest.raises(BadInputError, match=reason):
            DiskCache(tmp_path / name, LIMIT_BYTES, QUEUE_BYTES)


def test_nobody_else_may_look_into_the_cache(folder: Path, cache: DiskCache) -> None:
    put(cache, "a", 0, SIZE)
    assert {path.stat().st_mode & 0o077 for path in (folder, folder / "index", *segments(folder))} == {0}
    until(lambda: cache.status().used_bytes >= SIZE)


@pytest.mark.warns
def test_a_defect_of_the_writer_costs_an_extent_and_not_the_writer(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Index, "enter", lambda *_: 1 // 0)
        put(cache, "lost", 0, 1000)  # waits until it is settled
    assert found(cache, "lost", 0, 1000) == 0
    until(lambda: cache.put(file_id("kept"), 0, data_of("kept", 0, 1000), ignore), what="the end of the pause")
    assert cache.drain(20)
    assert found(cache, "kept", 0, 1000) == 1000
