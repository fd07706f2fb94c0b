"""What a mount may cost: requests, bytes, memory. Counted at the server and in the worker, never timed."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd import client
from tests.support.content import make_tree
from tests.support.storms import GIB, KIB, MIB, SPARSE_BYTES, Served, make_sparse, read_apart, served, wrong

pytestmark = pytest.mark.fuse

SIZES = {
    "small": 5000,
    "64 KiB and one": 64 * KIB + 1,
    "700 KiB": 700 * KIB,
    "three extents and seven": 3 * MIB + 7,
    "4 MiB and one": 4 * MIB + 1,
    "empty/": 0,
    **{f"many/{n:03}": n for n in range(300)},
}
READ_TWICE = ["small", "64 KiB and one", "three extents and seven", "4 MiB and one", "many/299"]
STREAMED_BYTES = 48 * MIB
# Beside the budget: what the C library keeps for some hundred threads, the writer's buffer, answers on their way.
ALLOWANCE_BYTES = 96 * MIB


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    plain = make_tree(tmp_path_factory.mktemp("plain"), SIZES)
    make_sparse(plain / "sparse")
    (plain / "streamed").touch()
    os.truncate(plain / "streamed", STREAMED_BYTES)
    with served(plain, tmp_path_factory.mktemp("m") / "manifest") as world:
        yield world


@pytest.fixture
def mount(world: Served, tmp_path: Path) -> Iterator[client.Mount]:
    """A cold mount of its own cache; the server's count begins with it."""
    with world.mount(tmp_path / "mnt", cache_dir=str(tmp_path / "cache"), memory="16MiB", cache_size="256MiB") as mount:
        world.server.requests.clear()
        yield mount


def ranges(world: Served) -> list[tuple[int, int]]:
    """What was asked of the server since the mount, as (first, last) byte."""
    told = [header or "" for _, _, header in world.server.requests]
    return [(int(first), int(last)) for first, last in (each.removeprefix("bytes=").split("-") for each in told)]


def asked_bytes(world: Served) -> int:
    """How many bytes the server was asked for since the mount."""
    return sum(last - first + 1 for first, last in ranges(world))


def test_neither_walk_nor_stat_nor_listing_asks_the_network(world: Served, mount: client.Mount) -> None:
    found = [path.stat() for path in mount.mountpoint.rglob("*")]
    assert len(found) == len(world.files) + 2
    assert os.getxattr(mount.mountpoint, "user.mountd.status")
    assert world.server.requests == []


def test_one_byte_of_a_large_cold_file_costs_one_request_of_at_most_256_kib(world: Served, mount: client.Mount) -> None:
    for number, offset in enumerate((0, GIB, SPARSE_BYTES - 1)):
        read = world.read(mount, "sparse", offset, 1)
        assert read_apart([read]) == ["right"]
        assert len(ranges(world)) == number + 1
        first, last = ranges(world)[-1]
        assert first <= offset <= last < first + 256 * KIB


def test_a_warm_read_asks_the_network_for_nothing(world: Served, tmp_path: Path) -> None:
    # An eighth of the memory may wait for the disk: enough for all of it, however slow the disk is.
    settings = {"cache_dir": str(tmp_path / "cache"), "memory": "128MiB", "cache_size": "256MiB"}
    with world.mount(tmp_path / "first", **settings) as mount:
        reads = [world.read(mount, path) for path in READ_TWICE]
        assert wrong(reads, read_apart(reads, threads=1)) == []
        world.server.requests.clear()
        assert wrong(reads, read_apart(reads)) == []
        assert world.server.requests == []
    with world.mount(tmp_path / "second", **settings) as mount:
        reads = [world.read(mount, path) for path in READ_TWICE]
        before = mount.status()["reads"]["bytes"]
        assert wrong(reads, read_apart(reads)) == []
        assert mount.status()["reads"]["bytes"] > before
        assert world.server.requests == []


def test_with_the_least_memory_a_file_that_outgrows_the_queue_to_the_disk_is_kept(
    world: Served, tmp_path: Path
) -> None:
    settings = {"cache_dir": str(tmp_path / "cache"), "memory": "4MiB", "cache_size": "256MiB"}
    for is_warm in (False, True):
        with world.mount(tmp_path / "mnt", **settings) as mount:
            world.server.requests.clear()
            assert read_apart([world.read(mount, "700 KiB")]) == ["right"]
            assert len(world.server.requests) == (0 if is_warm else 1)


def test_random_small_reads_fetch_at_most_16_bytes_a_byte(world: Served, mount: client.Mount) -> None:
    rng = random.Random(4)
    reads = [world.read(mount, "sparse", rng.randrange(SPARSE_BYTES), 4 * KIB) for _ in range(200)]
    assert wrong(reads, read_apart(reads)) == []
    assert 0 < asked_bytes(world) <= 16 * 200 * 4 * KIB


@pytest.mark.parametrize("path", ["three extents and seven", "4 MiB and one", "streamed"])
def test_a_sequential_read_fetches_at_most_a_twentieth_more_than_the_file(
    world: Served, mount: client.Mount, path: str
) -> None:
    size = (world.plain / path).stat().st_size
    reads = [world.read(mount, path, at, 128 * KIB, drop=at == 0) for at in range(0, size, 128 * KIB)]
    assert wrong(reads, read_apart(reads, threads=1)) == []
    assert size <= asked_bytes(world) <= 1.05 * size


@pytest.mark.full  # it needs both processors for itself
def test_under_64_readers_the_worker_stays_within_its_memory(world: Served, mount: client.Mount) -> None:
    before = anonymous_bytes(mount.status()["worker_pid"])
    rng = random.Random(64)
    reads = [world.read(mount, "sparse", rng.randrange(SPARSE_BYTES), 2 * MIB) for _ in range(256)]
    peak = before

    def look() -> None:
        nonlocal peak
        peak = max(peak, anonymous_bytes(mount.status()["worker_pid"]))
        assert mount.status()["memory"]["used_bytes"] <= 16 * MIB

    assert wrong(reads, read_apart(reads, [look] * len(reads), threads=64)) == []
    assert peak <= before + 16 * MIB + ALLOWANCE_BYTES


def anonymous_bytes(pid: int) -> int:
    """The memory of a process that no file backs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * KIB
