"""Files brought to the disk before anybody reads them."""

import threading
from pathlib import Path

import pytest

from mountd.cache import memory
from mountd.cache.disk import DiskCache
from mountd.dataset.extents import FileKey
from mountd.errors import StoreUnreachableError
from mountd.reading import warming as warming_module
from mountd.reading.warming import Warming
from mountd.stores.memory import MemoryStore
from tests.support.content import content
from tests.support.reading import open_reading

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


@pytest.mark.parametrize(
    "queue_bytes", [64 << 20, 4 << 20]
)  # the second holds one flight: its disk declines the others
def test_all_of_it_is_on_the_disk_at_the_end_and_is_not_fetched_again(
    store: Store, tmp_path: Path, queue_bytes: int
) -> None:
    disk = DiskCache(tmp_path / "cache", 256 << 20, queue_bytes)
    with open_reading(store, disk=disk, memory_bytes=32 << 20) as reading:
        first = Warming(reading.fetcher, reading.cache.memory, disk).run(keys(store))
        assert (first.files, first.bytes, first.fetched_bytes) == (4, sum(SIZES.values()), sum(SIZES.values()))
        assert first.failure is None
        for file in keys(store):
            assert disk.holds(file.digest, 0, file.size)
            pieces = disk.read(file.digest, 0, file.size) if file.size else []
            assert b"".join(bytes(data) for _, data in pieces) == content(file.key, 0, file.size)
        requests = store.requests
        again = Warming(reading.fetcher, reading.cache.memory, disk).run(keys(store))
        assert (again.files, again.fetched_bytes, store.requests) == (4, 0, requests)
    disk.close()


def test_one_file_that_fails_is_told_and_the_others_are_brought(store: Store, tmp_path: Path) -> None:
    store.broken.add("large")
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    with open_reading(store, disk=disk) as reading:
        done = Warming(reading.fetcher, reading.cache.memory, disk).run(keys(store))
        assert str(done.failure) == "large: down"
        assert {each.key for each in keys(store) if disk.holds(each.digest, 0, each.size)} == {"small", "zero", "other"}
    disk.close()


def test_stopping_ends_it_early_and_waits_for_what_is_under_way(store: Store, tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    with open_reading(store, disk=disk) as reading:
        warming = Warming(reading.fetcher, reading.cache.memory, disk)
        threads = threading.active_count()
        warming.stop()
        done = warming.run(keys(store))
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
        warming = Warming(reading.fetcher, reading.cache.memory, disk)
        running = threading.Thread(target=lambda: warming.run(keys(store)))
        running.start()
        running.join(20)
        warming.stop()
        running.join()
        assert warming.progress.failure is None
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
        done = Warming(reading.fetcher, reading.cache.memory, disk).run(keys(store))
        assert (done.failure, store.requests) == (None, requests)
        assert all(disk.holds(each.digest, 0, each.size) for each in keys(store))
    disk.close()


def test_a_disk_that_takes_nothing_ends_it_with_one_line(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming_module, "_DISK_WAIT_S", 0.2)
    disk = DiskCache(tmp_path / "cache", 256 << 20, 64 << 20)
    monkeypatch.setattr(disk, "put", lambda *_: False)
    with open_reading(store, disk=disk) as reading:
        done = Warming(reading.fetcher, reading.cache.memory, disk).run(keys(store))
    assert "the cache's disk does not take it" in str(done.failure)
    disk.close()
