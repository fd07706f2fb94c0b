"""Damage to what a cache holds, in memory, on its way to the disk and there: a miss, and never a wrong byte."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd.cache.checksums import GRANULE_BYTES
from mountd.cache.memory import MemoryCache
from tests.support import damage_storm
from tests.support.caches import MIB, data_of, file_id, found, opened

ROOT = Path(__file__).parents[3]
FLIPS = 20_000
SIZE = 3 * GRANULE_BYTES
FILE = file_id("a")


@pytest.fixture
def memory() -> Iterator[MemoryCache]:
    memory = MemoryCache(4 * MIB)
    yield memory
    assert memory.reserve(4 * MIB, 0), "a damaged extent is not given back"


def keep(memory: MemoryCache, *, ahead: bool = False) -> bytearray:
    """Keep an extent, and return its bytes to be damaged."""
    data = bytearray(data_of("a", 0, SIZE))
    assert memory.reserve(SIZE, 0)
    memory.unpin(memory.put(FILE, 0, data, ahead=ahead))
    return data


def test_every_flip_in_the_memory_queue_segments_and_index_is_noticed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.damage_storm", str(tmp_path / "cache"), str(FLIPS), "7"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert min(told[place] for place in damage_storm.PLACES) > FLIPS // 4
    assert told["dropped"] > FLIPS // 2
    assert told["truncations"]


@pytest.mark.warns
@pytest.mark.parametrize("unchecked", ["memory", "segments"])
def test_a_cache_that_does_not_check_fails_under_the_same_storm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: str
) -> None:
    monkeypatch.setattr(f"mountd.cache.{unchecked}.are_whole", lambda *_: True)
    with pytest.raises(SystemExit, match="1"):
        damage_storm.main(tmp_path / "cache", 1000, 7)


@pytest.mark.warns
@pytest.mark.parametrize("ahead", [False, True])
def test_damage_in_memory_is_a_miss_counted_once_and_said_once(
    memory: MemoryCache, caplog: pytest.LogCaptureFixture, *, ahead: bool
) -> None:
    data = keep(memory, ahead=ahead)
    data[GRANULE_BYTES + 5] ^= 1
    assert memory.read(FILE, 0, GRANULE_BYTES) == [(0, data[:GRANULE_BYTES])]
    assert memory.holds(FILE, 0, SIZE)
    assert memory.read(FILE, GRANULE_BYTES + 100, 1) == []
    assert memory.read(FILE, 0, SIZE) == []
    assert not memory.holds(FILE, 0, 1)
    assert memory.status().corrupt == 1
    keep(memory)
    assert b"".join(piece for _, piece in memory.read(FILE, 0, SIZE)) == data_of("a", 0, SIZE)
    assert caplog.text.count("test this machine's memory") == 1


@pytest.mark.warns
def test_the_right_one_of_two_extents_is_taken(memory: MemoryCache) -> None:
    first = keep(memory)
    keep(memory)
    first[0] ^= 1
    assert b"".join(piece for _, piece in memory.read(FILE, 0, SIZE)) == data_of("a", 0, SIZE)


def test_what_is_damaged_while_it_waits_for_the_disk_is_a_miss_there(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as cache, damage_storm.held(cache) as gate:
        gate.clear()
        data = bytearray(data_of("a", 0, SIZE))
        assert cache.put(FILE, 0, data, lambda: None)
        data[SIZE - 1] ^= 1
        gate.set()
        assert cache.drain(20)
        assert cache.holds(FILE, 0, SIZE)
        assert found(cache, "a", 0, SIZE) == 0
        assert cache.status().corrupt == 1
