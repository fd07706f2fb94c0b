"""Files brought to the disk before anybody reads them."""

import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mountd.cache import memory, trim
from mountd.cache.disk import DiskCache
from mountd.dataset.extents import FileKey
from mountd.errors import StoreUnreachableError
from mountd.reading import warming as warming_module
from mountd.reading.warming import Warming
from mountd.stores.memory import MemoryStore
from tests.support.content import content
from tests.support.reading import Reading, open_reading

SIZES = {"small": 1000, "zero": 0, "large": 13 * (1 << 20) + 7, "other": 3 << 20}


class Store(MemoryStore):
    """Fails for chosen keys, and counts."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.broken: set[str] = set()
        self.requests = 0

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        self.requests += 1
        if key in self.broken:
            raise StoreUnreachableError(f"{key}: down")
        return bytes(super().read(key, offset, size, etag))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    for key, size in SIZES.items():
        store.put(key, content(key, 0, size))
    return store


def keys(store: Store) -> list[FileKey]:
    return [
        FileKey.of(store.url, number, 0, each.key, each.etag, each.size) for number, each in enumerate(store.list())
    ]


def warming(reading: Reading, disk: DiskCache) -> Warming:
    return Warming(reading.fetcher, reading.cache.memory, disk)


@pytest.mark.parametrize(
    "queue_bytes", [64 << 20, 4 << 20]
)  # the second holds one flight: its disk declines the others
def test_all_of_it_is_on_the_disk_at_the_end_and_is_not_fetched_again(
    store: Store, tmp_path: Path, queue_bytes: int
) -> None:
    disk = DiskCache(tmp_path / "cache", 256 << 20, queue_bytes)
    with open_reading(store, disk=disk, memory_bytes=32 << 20) as reading:
        first = warming(reading, disk).run(partial(keys, store))
        assert (first.files, first.bytes, first.fetched_bytes) == (4, sum(SIZES.values()), sum(SIZES.values()))
        assert first.failure is None
        for file in keys(store):
            assert disk.holds(file.digest, 0, file.size)
            pieces = disk.read(file.digest, 0, file.size) if file.size else []
            assert b"".join(bytes(data) for _, data in pieces) == content(file.key, 0, file.size)
        requests = store.requests
        again = warming(reading, disk).run(partial(keys, store))
        assert (again.files, again.fetched_bytes, store.requests) == (4, 0, requests)
    disk.close()


def test_one_file_that_fails_is_told_and_the_others_are_brought(store: Store, tmp_path: Path) -> None:
    store.broken.add("large")
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    with open_reading(store, disk=disk) as reading:
        done = warming(reading, disk).run(partial(keys, store))
        assert str(done.failure) == "large: down"
        assert {each.key for each in keys(store) if disk.holds(each.digest, 0, each.size)} == {"small", "zero", "other"}
    disk.close()


def test_what_only_the_memory_has_is_put_on_the_disk_and_not_fetched_again(store: Store, tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    with open_reading(store, disk=disk) as reading:
        warming(reading, disk).run(partial(keys, store))
        trim.clear(tmp_path / "cache")
        disk.put(bytes(16), 0, b"the writer takes note of the new index", lambda: None)
        assert disk.drain(20)
        assert not any(disk.holds(each.digest, 0, each.size) for each in keys(store) if each.size)
        done = warming(reading, disk).run(partial(keys, store))
        assert (done.failure, done.fetched_bytes) == (None, 0)
        assert all(disk.holds(each.digest, 0, each.size) for each in keys(store))
    disk.close()


def _lose_the_folder(disk: DiskCache, folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"in the way")
    del disk


def _drop_what_was_written(disk: DiskCache, folder: Path) -> None:
    written = disk.drain

    def drain(timeout_s: float) -> bool:
        done = written(timeout_s)
        trim.clear(folder)
        return done

    disk.drain = drain  # type: ignore[method-assign]


@pytest.mark.warns
@pytest.mark.parametrize("harm", [_lose_the_folder, _drop_what_was_written])
def test_what_does_not_stay_on_the_disk_is_told(
    store: Store, tmp_path: Path, harm: Callable[[DiskCache, Path], None]
) -> None:
    folder = tmp_path / "cache"
    disk = DiskCache(folder, 256 << 20, 64 << 20)
    with open_reading(store, disk=disk) as reading:
        harm(disk, folder)
        done = warming(reading, disk).run(lambda: [each for each in keys(store) if each.key == "small"])
        assert str(done.failure).startswith("1000 B did not stay in the cache")
    disk.close()


def test_stopping_ends_it_early_and_waits_for_what_is_under_way(store: Store, tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    with open_reading(store, disk=disk) as reading:
        run = warming(reading, disk)
        threads = threading.active_count()
        run.stop()
        done = run.run(partial(keys, store))
        assert (done.files, done.fetched_bytes, store.requests) == (0, 0, 0)
        assert threading.active_count() == threads
    disk.close()


@pytest.mark.parametrize("memory_bytes", [4 << 20, 8 << 20])
def test_more_than_the_memory_holds_is_warmed_although_nobody_comes_for_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int
) -> None:
    monkeypatch.setattr(memory, "_STALE_S", 3600.0)  # it must not depend on unread bytes becoming old
    disk = DiskCache(tmp_path / "cache", 256 << 20, memory_bytes // 8)
    with open_reading(store, disk=disk, memory_bytes=memory_bytes) as reading:
        run = warming(reading, disk)
        running = threading.Thread(target=lambda: run.run(partial(keys, store)))
        running.start()
        running.join(20)
        run.stop()
        running.join()
        assert run.progress.failure is None
        assert all(disk.holds(each.digest, 0, each.size) for each in keys(store))
        assert reading.cache.memory.status().ahead_wasted_bytes == 0
    disk.close()


def test_what_the_disk_declined_and_memory_has_is_given_to_the_disk_and_not_fetched_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    with open_reading(store, disk=disk) as reading:
        with monkeypatch.context() as declining:
            declining.setattr(disk, "put", lambda *_: False)
            for file in keys(store):
                reading.read(file, 0, file.size)
        requests = store.requests
        done = warming(reading, disk).run(partial(keys, store))
        assert (done.failure, store.requests) == (None, requests)
        assert all(disk.holds(each.digest, 0, each.size) for each in keys(store))
    disk.close()


def test_what_is_damaged_while_it_waits_for_room_in_the_queue_is_a_miss_on_the_disk(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    file = next(each for each in keys(store) if each.key == "small")
    data, drain = bytearray(content(file.key, 0, file.size)), disk.drain

    def damaging(timeout_s: float) -> bool:
        data[500] = content(file.key, 500, 1)[0] ^ 1
        return drain(timeout_s)

    with open_reading(store, disk=disk) as reading:
        assert reading.cache.memory.reserve(file.size, 0)
        reading.cache.memory.unpin(reading.cache.memory.put(file.digest, 0, data, ahead=False))
        monkeypatch.setattr(disk, "drain", damaging)
        assert warming(reading, disk).run(lambda: [file]).failure is None
        assert disk.read(file.digest, 0, file.size) == []
        assert (disk.status().corrupt, store.requests) == (1, 0)
    disk.close()


def test_a_disk_that_takes_nothing_ends_it_with_one_line(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming_module, "_DISK_WAIT_S", 0.2)
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    monkeypatch.setattr(disk, "put", lambda *_: False)
    with open_reading(store, disk=disk) as reading:
        done = warming(reading, disk).run(partial(keys, store))
    assert "the cache's disk does not take it" in str(done.failure)
    disk.close()
