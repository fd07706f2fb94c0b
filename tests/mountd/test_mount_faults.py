"""What breaks below a mount: extents on the disk and answers of the network. A reader gets right bytes or an errno."""

import errno
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mountd import client
from tests.support.caches import segments
from tests.support.content import make_tree
from tests.support.http_server import Fault
from tests.support.reading_apart import Read
from tests.support.storms import KIB, MIB, Served, read_apart, served, wrong
from tests.support.waiting import until

pytestmark = pytest.mark.fuse

SIZES = {"large": 4 * MIB + 1, "middle": 700 * KIB, **{f"small/{n}": 64 * KIB + n - 20 for n in range(40)}}
FAULTS = {
    "short": Fault("truncate"),
    "reset": Fault("reset"),
    "brief": Fault("brief"),
    "stalled": Fault("stall"),
    "unavailable": Fault(status=503),
    "refused": Fault(status=403),
    "gone": Fault(status=404),
    "wrong range": Fault("wrong-range"),
    "whole": Fault("whole"),
    "page": Fault("page"),
    "error page": Fault(status=500),
}
PASSING = ["short", "reset", "brief", "stalled", "unavailable", "whole", "page", "error page"]
ERRNOS = {f"errno {code}" for code in (errno.EIO, errno.EACCES, errno.ESTALE)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    plain = make_tree(tmp_path_factory.mktemp("plain"), SIZES)
    with served(plain, tmp_path_factory.mktemp("m") / "manifest") as world:
        yield world


@contextmanager
def mounted(world: Served, folder: Path, deadline: str) -> Iterator[client.Mount]:
    """A mount whose every read ends within `deadline`; afterwards the server is well, and nothing is under way."""
    told = {"cache_dir": str(folder / "cache"), "memory": "16MiB", "cache_size": "64MiB", "read_deadline": deadline}
    with world.mount(folder / "mnt", **told) as mount:
        world.server.requests.clear()
        try:
            yield mount
            until(lambda: not mount.status()["fetch"]["in_flight"], what="the end of all fetches")
            assert mount.status()["memory"]["used_bytes"] <= 16 * MIB
        finally:
            world.server.faults.clear()


def random_reads(world: Served, mount: client.Mount) -> list[Read]:
    """Every file whole, and parts of the large one, in any order."""
    rng = random.Random(16)
    reads = [world.read(mount, path) for path in world.files]
    for _ in range(40):
        length, way = rng.choice([1, 4 * KIB, 300 * KIB]), rng.choice(["pread", "seek"])
        reads.append(world.read(mount, "large", rng.randrange(SIZES["large"]), length, way))
    rng.shuffle(reads)
    return reads


def test_a_damaged_extent_is_read_right_refetched_and_counted(world: Served, tmp_path: Path) -> None:
    for is_damaged in (False, True):
        with mounted(world, tmp_path, "60s") as mount:
            reads = [world.read(mount, path) for path in world.files]
            assert wrong(reads, read_apart(reads)) == []
            assert world.server.requests
            assert (mount.status()["cache"]["corrupt"] > 0) is is_damaged
        for segment in segments(tmp_path / "cache"):
            data = bytearray(segment.read_bytes())
            data[5000::50_000] = bytes(byte ^ 1 for byte in data[5000::50_000])
            segment.write_bytes(data)


def test_faults_of_the_network_that_pass_reach_none_of_16_readers(world: Served, tmp_path: Path) -> None:
    with mounted(world, tmp_path, "12s") as mount:
        world.server.faults.extend(FAULTS[name] for name in PASSING * 7)
        reads = random_reads(world, mount)
        assert wrong(reads, read_apart(reads, threads=16)) == []
        assert mount.status()["fetch"]["retries"] > 0


def test_under_any_faults_of_the_network_16_readers_get_right_bytes_or_an_errno(world: Served, tmp_path: Path) -> None:
    with mounted(world, tmp_path, "4s") as mount:
        world.server.faults.extend(FAULTS[name] for name in [*FAULTS] * 6)
        reads = random_reads(world, mount)
        verdicts = read_apart(reads, threads=16)
        assert {*verdicts} <= {"right", *ERRNOS}
        assert {*verdicts} & ERRNOS
        world.server.faults.clear()
        # A failure is remembered for some seconds.
        until(lambda: wrong(reads, read_apart(reads, threads=16)) == [], what="the right bytes after the faults")


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_a_store_with_one_lasting_fault_gives_right_bytes_or_an_errno(world: Served, tmp_path: Path, name: str) -> None:
    with mounted(world, tmp_path, "2s") as mount:
        world.server.faults.extend([FAULTS[name]] * 2000)
        reads = [world.read(mount, path) for path in world.files[:16]]
        verdicts = read_apart(reads, threads=16)
        assert {*verdicts} <= ({"right"} if name == "whole" else ERRNOS)
        world.server.faults.clear()
        until(lambda: wrong(reads, read_apart(reads, threads=16)) == [], what="the right bytes after the fault")
