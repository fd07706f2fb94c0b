"""`mountd status --check`: the verdict for probes, its code, and that it never takes longer than it may."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from mountd import client
from mountd.cli.mounting import mount, status, unmount
from mountd.cli.reading import plan, warm
from mountd.cli.top import top
from mountd.fuse import mounting
from tests.support.content import make_tree
from tests.support.killing import kill, stopped
from tests.support.mounts import mounted
from tests.support.storms import served
from tests.support.waiting import until

pytestmark = pytest.mark.fuse
MOUNTD = Path(sys.executable).with_name("mountd")


def check(*arguments: object, code: int, **environment: str) -> str:
    """Run it; the one line that it says."""
    command = [str(MOUNTD), "status", "--check", *map(str, arguments)]
    begun_s = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=100, env={**os.environ, **environment}
    )
    assert done.returncode == code, done
    assert time.monotonic() - begun_s < 15  # 5 s, and what a busy machine takes to start a process
    return (done.stderr if code else done.stdout).strip()


def test_a_mount_that_answers_is_healthy(tmp_path: Path) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 10})) as made:
        assert check(made.mountpoint, code=0) == f"{made.mountpoint}: healthy"
        assert f"{made.mountpoint}: healthy" in check(code=0).splitlines()
        told = json.loads(check(made.mountpoint, "--json", code=0))
        assert told == {"mountpoint": str(made.mountpoint), "code": 0, "why": f"{made.mountpoint}: healthy"}


def test_where_nothing_is_mounted_it_is_not_found(tmp_path: Path) -> None:
    assert "no mount of Moorage" in check(tmp_path, code=4)
    place = {"XDG_RUNTIME_DIR": str(tmp_path)}
    command = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none /run && exec "{MOUNTD}" status --check']
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **place})
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)


def test_a_dead_mount_is_told_with_its_remedy(tmp_path: Path) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 10})) as made:
        kill(made)
        assert f"mountd unmount {made.mountpoint}" in check(made.mountpoint, code=6)
        client.detach(made.mountpoint)
        assert mounting.find(made.mountpoint) is None


def test_a_worker_that_hangs_is_told_in_time(tmp_path: Path) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 10})) as made:
        with stopped(made):
            assert "no answer within 5 s" in check(made.mountpoint, code=6)
        assert "healthy" in check(made.mountpoint, code=0)


def test_no_command_asks_a_mount_point_anything_by_reading_its_arguments() -> None:
    for command in (mount, unmount, status, warm, plan, top):
        (given,) = [each for each in command.params if each.name == "directory"]
        assert not isinstance(given.type, click.Path), command.name


def test_a_store_out_of_reach_is_told_after_a_fetch_and_until_one_is_answered(tmp_path: Path) -> None:
    plain = make_tree(tmp_path / "plain", {"a": 10, "b": 10, "c": 10})
    with (
        served(plain, tmp_path / "manifest") as world,
        world.mount(tmp_path / "mnt", cache_dir=str(tmp_path / "cache"), read_deadline="1s") as made,
    ):
        world.server.refused.add("/tree/a")
        with pytest.raises(PermissionError):
            (made.mountpoint / "a").read_bytes()
        line = check(made.mountpoint, code=5)
        assert f"{made.mountpoint}: no fetch of the last minute was answered; the last: " in line
        assert (made.mountpoint / "b").read_bytes()
        until(lambda: made.status()["reach"]["ok"], what="reach")
        assert "healthy" in check(made.mountpoint, code=0)


def test_a_store_that_does_not_answer_is_exit_8(tmp_path: Path) -> None:
    plain = make_tree(tmp_path / "plain", {"a": 10})
    with served(plain, tmp_path / "manifest") as world:
        endpoint = world.server.endpoint
    with world.mount(tmp_path / "mnt", cache_dir=str(tmp_path / "cache"), read_deadline="1s") as made:
        assert "healthy" in check(made.mountpoint, code=0)
        with pytest.raises(OSError, match="Input/output"):
            (made.mountpoint / "a").read_bytes()
        assert endpoint in check(made.mountpoint, code=8)
