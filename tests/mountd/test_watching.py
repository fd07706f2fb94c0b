"""What a mount tells whoever watches it: `mountd top` and the keys of a status that are there for it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mountd import client
from mountd.cli.top import _cells, _text
from tests.support.content import content, make_tree
from tests.support.http_server import Fault
from tests.support.killing import stopped
from tests.support.mounts import mounted
from tests.support.storms import MIB, served
from tests.support.waiting import until

pytestmark = pytest.mark.fuse
MOUNTD = Path(sys.executable).with_name("mountd")
ODD = "[red] file"


def shown(*arguments: object, code: int = 0) -> str:
    command = [str(MOUNTD), "top", "--count", "1", "--interval", "0.1", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done
    return done.stderr if code else done.stdout


def test_the_slowest_reads_are_told_with_what_they_waited_for_and_shown_by_top(tmp_path: Path) -> None:
    plain = make_tree(tmp_path / "plain", {f"folder/{ODD}": 1000, "quick": 1000})
    with (
        served(plain, tmp_path / "manifest") as world,
        world.mount(tmp_path / "mnt", cache_dir=str(tmp_path / "cache")) as mount,
    ):
        world.server.faults.append(Fault(status=503))  # asked again a moment later
        assert (mount.mountpoint / "folder" / ODD).read_bytes() == content(f"folder/{ODD}", 0, 1000)
        until(lambda: mount.status()["slowest"], what="the note")
        slowest = mount.status()["slowest"][0]
        assert (slowest["path"], slowest["offset"], slowest["size"]) == (f"folder/{ODD}", 0, 1000)
        assert (slowest["waited_for"], slowest["failure"]) == ("store", None)
        assert slowest["took_s"] > 0.01
        assert slowest["ended_ago_s"] >= 0
        (line,) = [each for each in shown(mount.mountpoint).splitlines() if f"folder/{ODD}" in each]
        assert " store " in line


def test_the_extended_attribute_leaves_out_what_may_be_long(tmp_path: Path) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 10})) as mount:
        value = os.getxattr(mount.mountpoint, "user.mountd.status")
        assert len(value) == 2048
        told = set(json.loads(value))
        assert told >= {"mountpoint", "reads", "windows", "plan", "restarts"}
        assert set(mount.status()) - told == {"slowest", "reach"}


def test_streams_are_told_while_they_are_read_and_not_afterwards(tmp_path: Path) -> None:
    plain = make_tree(tmp_path / "plain", {"large": 12 * MIB})
    with (
        served(plain, tmp_path / "manifest") as world,
        world.mount(tmp_path / "mnt", cache_dir=str(tmp_path / "cache")) as mount,
    ):
        assert mount.status()["windows"] == {"streams": 0, "bytes": 0}
        with (mount.mountpoint / "large").open("rb") as stream:
            for _ in range(16):
                stream.read(128 << 10)
            until(lambda: mount.status()["windows"]["streams"] == 1, what="the stream")
            assert mount.status()["windows"]["bytes"] > 0
            while stream.read(MIB):
                pass
        until(lambda: mount.status()["windows"]["streams"] == 0, what="its end")


def test_a_mount_that_hangs_is_a_row_of_top_and_one_that_is_not_there_an_error(tmp_path: Path) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 10})) as mount:
        with stopped(mount):
            begun_s = time.monotonic()
            assert "no answer within 2 s" in shown()
            assert time.monotonic() - begun_s < 30
        assert "no restarts" in shown()
    assert "no mount of Moorage" in shown(tmp_path / "mnt", code=4)


def test_the_rates_of_a_worker_that_was_replaced_are_never_negative(tmp_path: Path) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 10})) as mount:
        assert (mount.mountpoint / "a").read_bytes()
        now = client.status(mount.mountpoint)
    before = {**now, "reads": {"count": 10**6, "bytes": 10**9}}
    first, *_ = _cells(before, now, 1.0)
    assert first.startswith(f"{now['reads']['count']} reads/s\n")


def test_a_path_is_shown_as_it_is_and_commands_no_terminal() -> None:
    assert str(_text("[red]a\x1b[31m\x7f \udcff")) == "[red]a\\x1b[31m\\x7f \\udcff"
