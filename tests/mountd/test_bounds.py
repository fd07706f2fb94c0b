"""Bounds of memory and disk, held by a real mount: each read is compared byte by byte, what is spent is counted."""

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mountd import client
from mountd.dataset.manifest import FrozenFile, write_manifest
from tests.support import huge
from tests.support.cgroups import limited, why_no_cgroup
from tests.support.content import make_tree
from tests.support.http_server import HttpServer
from tests.support.huge import Huge
from tests.support.storms import GIB, KIB, MIB, Served, read_apart, served, wrong
from tests.support.waiting import until

pytestmark = pytest.mark.fuse

ROOT = Path(__file__).parents[2]
LIMIT_BYTES = 256 * MIB
READ_BYTES = 1024 * MIB
HUGE_BYTES = 10 * GIB + 4097
SIZES = {f"{number}": 2 * MIB for number in range(24)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    plain = make_tree(tmp_path_factory.mktemp("plain"), SIZES)
    (plain / "large").touch()
    os.truncate(plain / "large", READ_BYTES)
    with served(plain, tmp_path_factory.mktemp("m") / "manifest") as world:
        yield world


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A small disk of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def read_all(world: Served, mount: client.Mount) -> None:
    reads = [world.read(mount, path) for path in SIZES]
    assert wrong(reads, read_apart(reads)) == []


@pytest.mark.full  # it needs both processors for itself
def test_a_worker_of_256_mib_serves_64_readers_and_is_not_killed(world: Served, tmp_path: Path) -> None:
    if reason := why_no_cgroup():
        pytest.skip(reason)
    with limited(LIMIT_BYTES) as group:
        told = {"cache_dir": str(tmp_path / "cache"), "cache_size": "512MiB"}
        with group.joined():
            started = world.mount(tmp_path / "mnt", **told)
            mount = started.__enter__()
        try:
            assert mount.status()["worker_pid"] in group.pids()
            assert mount.status()["memory"]["limit_bytes"] == LIMIT_BYTES // 4
            reads = [world.read(mount, "large", at, 4 * MIB) for at in range(0, READ_BYTES, 4 * MIB)]
            random.Random(1).shuffle(reads)
            before = mount.status()["worker_pid"]
            assert wrong(reads, read_apart(reads, threads=64)) == []
            assert mount.status()["worker_pid"] == before
            assert group.oom_kills() == 0
        finally:
            started.__exit__(None, None, None)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.full  # it needs both processors for itself
def test_a_worker_of_256_mib_serves_10_gib_to_64_readers_and_is_not_killed(tmp_path: Path) -> None:
    if reason := why_no_cgroup():
        pytest.skip(reason)
    with HttpServer.start() as server, limited(LIMIT_BYTES) as group:
        server.put("/tree/huge", Huge(HUGE_BYTES), etag='"1"')
        manifest = tmp_path / "manifest"
        write_manifest(manifest, [f"{server.endpoint}/tree/"], [FrozenFile("huge", HUGE_BYTES, "1", 0, False)])
        told = {"cache_dir": str(tmp_path / "cache"), "cache_size": "512MiB"}
        with group.joined():
            mount = client.start(manifest, tmp_path / "mnt", settings=told, lifeline=True)
        with mount:
            before = mount.status()["worker_pid"]
            command = [sys.executable, "-I", "-S", huge.__file__, mount.mountpoint / "huge", HUGE_BYTES, 64, 1]
            done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=800)
            assert (done.returncode, done.stderr) == (0, "")
            assert mount.status()["reads"]["bytes"] >= HUGE_BYTES
            assert mount.status()["worker_pid"] == before
            assert group.oom_kills() == 0


@pytest.mark.parametrize(("options", "said"), [("size=8m", 0), ("nr_inodes=4", 1)], ids=["small", "no inodes"])
def test_a_small_cache_disk_costs_no_read(
    world: Served, tmp_path: Path, options: str, said: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        disk(tmp_path / "disk", options) as cache,
        world.mount(tmp_path / "mnt", cache_dir=str(cache), cache_size="64MiB", memory="8MiB") as mount,
    ):
        for _ in range(2):
            read_all(world, mount)
    assert capfd.readouterr().err.count("reads go on without it") == said


def test_a_full_cache_disk_costs_no_read_is_said_once_and_is_used_again(
    world: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with disk(tmp_path / "disk", "size=64m") as folder:
        ballast = folder / "ballast"
        told = {"cache_dir": str(folder / "cache"), "cache_size": "32MiB", "memory": "8MiB"}
        with world.mount(tmp_path / "mnt", **told) as mount:
            with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
                while True:
                    stream.write(bytes(MIB))
            read_all(world, mount)
            kept_bytes = mount.status()["cache"]["bytes"]
            ballast.unlink()

            def is_used() -> bool:
                read_all(world, mount)
                return bool(mount.status()["cache"]["bytes"] > kept_bytes)

            until(is_used, what="the use of the new room")
    assert capfd.readouterr().err.count("reads go on without it") == 1


def test_a_cache_folder_that_is_removed_costs_no_read(world: Served, tmp_path: Path) -> None:
    told = {"cache_dir": str(tmp_path / "cache"), "cache_size": "64MiB", "memory": "8MiB"}
    with world.mount(tmp_path / "mnt", **told) as mount:
        read_all(world, mount)
        shutil.rmtree(tmp_path / "cache")
        read_all(world, mount)
        until((tmp_path / "cache").exists, what="the new folder")


def test_a_cache_disk_that_becomes_read_only_costs_no_read(world: Served, tmp_path: Path) -> None:
    with (
        disk(tmp_path / "disk", "size=256m") as cache,
        world.mount(tmp_path / "mnt", cache_dir=str(cache), cache_size="32MiB", memory="8MiB") as mount,
    ):
        read_all(world, mount)
        # The worker has a file open for writing, so the kernel refuses to remount: a read-only view is laid over it.
        subprocess.run(["mount", "--bind", cache, cache], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", cache], check=True)
        read_all(world, mount)
        subprocess.run(["umount", "-l", cache], check=True)


def test_two_readers_of_more_than_the_cache_holds_fetch_at_most_twice_what_they_read(
    world: Served, tmp_path: Path
) -> None:
    told = {"cache_dir": str(tmp_path / "cache"), "cache_size": "16MiB", "memory": "8MiB"}
    with world.mount(tmp_path / "mnt", **told) as mount:
        halves = [list(SIZES)[:12], list(SIZES)[12:]]
        paths = [path for pair in zip(*halves, strict=True) for path in pair] * 2
        reads = [world.read(mount, path) for path in paths]
        assert wrong(reads, read_apart(reads, threads=2)) == []
        assert mount.status()["fetch"]["bytes"] <= 2 * len(paths) * 2 * MIB


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_eight_processes_read_as_a_data_loader_s_workers_do(world: Served, tmp_path: Path, method: str) -> None:
    with world.mount(tmp_path / "mnt", cache_dir=str(tmp_path / "cache"), memory="16MiB") as mount:
        told = [str(each) for item in SIZES.items() for each in item]
        command = [sys.executable, "-m", "tests.support.loading", method, str(mount.mountpoint), *told]
        subprocess.run(command, check=True, cwd=ROOT, timeout=100)


@pytest.mark.full
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_torch_s_data_loader_reads_a_mount_by_four_workers(world: Served, tmp_path: Path, method: str) -> None:
    with world.mount(tmp_path / "mnt", cache_dir=str(tmp_path / "cache"), memory="16MiB") as mount:
        told = [str(each) for item in SIZES.items() for each in item]
        command = [sys.executable, "-m", "tests.support.torch_loading", method, str(mount.mountpoint), *told]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, done.stderr


def test_the_worker_s_threads_and_descriptors_are_bounded_under_500_readers(world: Served, tmp_path: Path) -> None:
    with world.mount(tmp_path / "mnt", cache_dir=str(tmp_path / "cache"), memory="16MiB") as mount:
        pid, peak = mount.status()["worker_pid"], [0, 0]

        def look() -> None:
            for number, what in enumerate(("task", "fd")):
                peak[number] = max(peak[number], len(list(Path(f"/proc/{pid}/{what}").iterdir())))

        rng = random.Random(5)
        reads = [world.read(mount, rng.choice(list(SIZES)), rng.randrange(MIB), 64 * KIB) for _ in range(1000)]
        assert wrong(reads, read_apart(reads, [look] * len(reads), threads=500)) == []
        assert 0 < peak[0] <= 200
        assert 0 < peak[1] <= 400
