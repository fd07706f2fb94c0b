"""Mounts whose processes may have few files open: reads are right or there is one clear error, and the mount lives."""

import json
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mountd import client
from tests.support.content import make_tree
from tests.support.mounts import is_running, mounts_below
from tests.support.storms import KIB, MIB, Served, read_apart, served, wrong
from tests.support.waiting import until

pytestmark = pytest.mark.fuse

MOUNTD = str(Path(sys.executable).with_name("mountd"))
SIZES = {f"{number}": MIB for number in range(40)}
READERS = 64


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    plain = make_tree(tmp_path_factory.mktemp("plain"), SIZES)
    with served(plain, tmp_path_factory.mktemp("m") / "manifest") as world:
        yield world


def mount_with(limit: str, world: Served, folder: Path) -> subprocess.CompletedProcess[str]:
    """`mountd mount` under `ulimit LIMIT`."""
    settings = ["--cache-dir", folder / "cache", "--memory", "16MiB"]
    command = [MOUNTD, "mount", *settings, "--json", world.manifest, folder / "mnt"]
    shell = ["bash", "-c", f'ulimit {limit} && exec "$@"', "bash", *command]
    return subprocess.run(list(map(str, shell)), capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def mounted_with(limit: str, world: Served, folder: Path) -> Iterator[dict[str, Any]]:
    """Its status; the mount is ended, and leaves nothing."""
    done = mount_with(limit, world, folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    try:
        yield told
    finally:
        client.stop(folder / "mnt")
    until(lambda: not any(map(is_running, (told["worker_pid"], told["supervisor_pid"]))), what="the end of both")


def read_much(world: Served, folder: Path, seed: int, count: int = 1000) -> None:
    rng, below = random.Random(seed), str(folder / "mnt")
    reads = [
        ("pread", f"{below}/{path}", str(world.plain / path), rng.randrange(MIB), 64 * KIB, True)
        for path in rng.choices(list(SIZES), k=count)
    ]
    assert wrong(reads, read_apart(reads, threads=READERS)) == []


def test_few_descriptors_cost_no_reader_anything(world: Served, tmp_path: Path) -> None:
    with mounted_with("-n 256", world, tmp_path) as told:
        assert resource.prlimit(told["worker_pid"], resource.RLIMIT_NOFILE) == (256, 256)
        read_much(world, tmp_path, 1)
        assert is_running(told["worker_pid"])
        assert (tmp_path / "mnt" / "0").read_bytes() == (world.plain / "0").read_bytes()


def test_a_soft_limit_is_raised_to_the_hard_one(world: Served, tmp_path: Path) -> None:
    with mounted_with("-Sn 64", world, tmp_path) as told:
        for process in ("worker_pid", "supervisor_pid"):
            soft, hard = resource.prlimit(told[process], resource.RLIMIT_NOFILE)
            assert soft == min(hard, 4096)


@pytest.mark.parametrize("most", [32, 64, 255])
def test_too_few_descriptors_to_mount_with_are_one_line(world: Served, tmp_path: Path, most: int) -> None:
    done = mount_with(f"-n {most}", world, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1), done.stderr
    assert f"may have {most} files open, a mount needs 256" in done.stderr
    assert not mounts_below(tmp_path)


def test_a_supervisor_without_a_descriptor_lets_callers_wait_and_reads_go_on(
    world: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.asking, "_STATUS_TIMEOUT_S", 60.0)  # the caller must still wait when all is read
    with mounted_with("-n 256", world, tmp_path) as told, ThreadPoolExecutor(1) as asking:
        supervisor, mountpoint = told["supervisor_pid"], tmp_path / "mnt"
        had = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (first_free_of(supervisor), had[1]))
        try:
            answer = asking.submit(client.status, mountpoint)
            read_much(world, tmp_path, 5, 200)
            assert not answer.done()
        finally:
            resource.prlimit(supervisor, resource.RLIMIT_NOFILE, had)
        assert answer.result(60)["worker_pid"] == told["worker_pid"]


def first_free_of(pid: int) -> int:
    taken = {path.name for path in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(len(taken) + 1) if str(number) not in taken)
