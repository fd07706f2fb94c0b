import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from mountd.cache.files import FileCache
from mountd.cache.memory import MemoryCache
from mountd.cache.tiers import TieredCache
from mountd.dataset.extents import ExtentKey
from mountd.errors import BadInputError
from tests.support.content import content
from tests.support.waiting import until

SIZE = 10_000
LIMIT = 10 << 20


def key(name: str, size: int = SIZE, etag: str = "e") -> ExtentKey:
    return ExtentKey("https://x/", name, etag, 0, size)


def put(cache: FileCache, name: str) -> bytes:
    data = content(name, 0, SIZE)
    cache.put(key(name), data)
    until(lambda: cache.get(key(name)) == data, what="the write")
    return data


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FileCache]:
    opened = FileCache(tmp_path / "cache", LIMIT, 1 << 20)
    yield opened
    opened.close()


def extents(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "extents").glob("??/*"))


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", LIMIT, 1 << 20)
    cache.put(key("a"), content("a", 0, SIZE))
    cache.close()
    again = FileCache(tmp_path / "cache", LIMIT, 1 << 20)
    assert again.get(key("a")) == content("a", 0, SIZE)
    assert again.status().used_bytes >= SIZE
    again.close()


def test_another_etag_store_or_size_is_another_extent(cache: FileCache) -> None:
    put(cache, "a")
    assert cache.get(key("a", etag="f")) is None
    assert cache.get(key("a", size=SIZE - 1)) is None
    assert cache.get(ExtentKey("https://y/", "a", "e", 0, SIZE)) is None


@pytest.mark.parametrize("damage", ["flip first", "flip last", "flip middle", "truncate", "empty", "append", "header"])
def test_a_damaged_extent_is_a_miss_counted_and_removed(tmp_path: Path, cache: FileCache, damage: str) -> None:
    put(cache, "a")
    [path] = extents(tmp_path)
    data = bytearray(path.read_bytes())
    flips = {"flip first": 48, "flip last": len(data) - 1, "flip middle": len(data) // 2, "header": 5}
    if damage in flips:
        data[flips[damage]] ^= 1
    else:
        data = {"truncate": data[:-1], "empty": bytearray(), "append": data + b"x"}[damage]
    path.write_bytes(data)
    assert cache.get(key("a")) is None
    assert cache.status().corrupt == 1
    assert not path.exists()


@pytest.mark.parametrize("refusal", [PermissionError("read-only"), OSError(errno.EIO, "broken")])
def test_a_damaged_extent_that_cannot_be_removed_is_still_only_a_miss(
    tmp_path: Path, cache: FileCache, monkeypatch: pytest.MonkeyPatch, refusal: OSError
) -> None:
    def refuse(*_: Path, **__: bool) -> None:
        raise refusal

    put(cache, "a")
    [path] = extents(tmp_path)
    path.write_bytes(b"short")
    monkeypatch.setattr(Path, "unlink", refuse)
    assert cache.get(key("a")) is None
    assert cache.status().corrupt == 1


def test_a_huge_file_in_the_place_of_an_extent_is_not_read_whole(tmp_path: Path, cache: FileCache) -> None:
    put(cache, "a")
    [path] = extents(tmp_path)
    os.truncate(path, 1 << 40)  # a sparse TiB: reading it would end this process
    assert cache.get(key("a")) is None


def test_a_write_that_is_cut_short_publishes_nothing(
    tmp_path: Path, cache: FileCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.open

    def cut(path: Path, mode: str = "r", buffering: int = -1) -> io.IOBase:
        raw = cast("io.RawIOBase", original(path, mode, buffering=0))
        if "w" not in mode:
            return raw

        class Short(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, data: Any, /) -> int:
                return raw.write(bytes(data)[:100]) or 0

            def close(self) -> None:
                raw.close()
                super().close()

        return Short() if buffering == 0 else io.BufferedWriter(Short())

    monkeypatch.setattr(Path, "open", cut)
    data = put(cache, "a")
    assert len(extents(tmp_path)) == 1
    assert cache.get(key("a")) == data
    assert cache.status().corrupt == 0


def test_an_extent_in_anothers_place_is_a_miss(tmp_path: Path, cache: FileCache) -> None:
    put(cache, "a")
    [first] = extents(tmp_path)
    put(cache, "b")
    [second] = set(extents(tmp_path)) - {first}
    second.write_bytes(first.read_bytes())
    assert cache.get(key("b")) is None
    assert cache.get(key("a")) == content("a", 0, SIZE)


def test_the_folder_stays_below_its_limit_and_the_coldest_go_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", 10 * (SIZE + 100), 1 << 20)
    for number in range(9):
        put(cache, f"old {number}")
    for age, path in enumerate(extents(tmp_path)):
        os.utime(path, (age, age))
    assert cache.get(key("old 3"))  # now the warmest
    put(cache, "new 1")
    put(cache, "new 2")
    assert sum(path.stat().st_size for path in extents(tmp_path)) <= 10 * (SIZE + 100)
    assert cache.get(key("old 3"))
    assert sum(cache.get(key(f"old {number}")) is None for number in range(9)) >= 1
    cache.close()


def _is_idle(cache: FileCache) -> bool:
    return not cache._queued_bytes


def test_processes_that_share_a_folder_stay_near_its_limit_together(tmp_path: Path) -> None:
    limit = 32 * (SIZE + 100)
    caches = [FileCache(tmp_path / "cache", limit, 1 << 20) for _ in range(3)]
    most = 0
    for number in range(40):
        for which, cache in enumerate(caches):
            name = f"{which} {number}"
            cache.put(key(name), content(name, 0, SIZE))
            until(partial(_is_idle, cache), what="the write")
        most = max(most, sum(path.stat().st_size for path in extents(tmp_path)))
    for cache in caches:
        cache.close()
    assert most <= limit * (1 + 3 / 16) + 3 * (SIZE + 100)


def test_a_folder_of_another_process_is_shared(tmp_path: Path, cache: FileCache) -> None:
    put(cache, "a")
    code = (
        "import sys; from pathlib import Path; from mountd.cache.files import FileCache\n"
        "from mountd.dataset.extents import ExtentKey\n"
        f"cache = FileCache(Path(sys.argv[1]), {LIMIT}, 1 << 20)\n"
        f"print(len(cache.get(ExtentKey('https://x/', 'a', 'e', 0, {SIZE})) or b'')); cache.close()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == str(SIZE)


def test_a_disk_slower_than_the_network_drops_extents_and_blocks_nobody(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", LIMIT, 2 * SIZE)
    for number in range(200):
        cache.put(key(f"{number}"), content(f"{number}", 0, SIZE))
    cache.close()
    kept = [n for n in range(200) if cache.get(key(f"{n}"))]
    assert 0 in kept
    for number in kept:
        assert cache.get(key(f"{number}")) == content(f"{number}", 0, SIZE)


@pytest.mark.warns
def test_a_folder_that_vanishes_reaches_no_reader(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = FileCache(tmp_path / "cache", LIMIT, 1 << 20)
    put(cache, "a")
    for path in (*extents(tmp_path), *(tmp_path / "cache" / "extents").glob("??")):
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / "cache" / "extents").rmdir()
    assert cache.get(key("a")) is None
    cache.put(key("b"), content("b", 0, SIZE))
    cache.close()
    assert cache.get(key("b")) is None
    assert [record.message for record in caplog.records if "reads go on" in record.message] != []


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(BadInputError, match="another user"):
        FileCache(folder, LIMIT, 1)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(BadInputError, match="a link or a file"):
        FileCache(link, LIMIT, 1)


def test_memory_holds_no_more_than_its_limit() -> None:
    memory = MemoryCache(5 * SIZE)
    for number in range(20):
        memory.put(key(f"{number}"), content(f"{number}", 0, SIZE))
    assert memory.status().used_bytes == 5 * SIZE
    assert memory.get(key("19")) == content("19", 0, SIZE)
    assert memory.get(key("0")) is None
    memory.put(key("huge", 6 * SIZE), bytes(6 * SIZE))
    assert memory.get(key("huge", 6 * SIZE)) is None


def test_the_far_tier_fills_the_near_one() -> None:
    near, far = MemoryCache(LIMIT), MemoryCache(LIMIT)
    tiers = TieredCache(near, far)
    far.put(key("a"), content("a", 0, SIZE))
    assert tiers.get(key("a")) == content("a", 0, SIZE)
    assert near.get(key("a")) is not None
