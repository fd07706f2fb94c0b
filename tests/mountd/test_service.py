"""after-service: what a unit's end does with the mount that is left."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mountd import client
from mountd.cli import service
from mountd.fuse import mounting
from mountd.stores.registry import file_url
from tests.support.content import content, make_tree
from tests.support.mounts import mounted
from tests.support.service_manager import ServiceManager

pytestmark = pytest.mark.fuse


class Left:
    """A mount without anybody who serves it, as between two services; `close` ends it for good, as systemd does."""

    def __init__(self, mountpoint: Path) -> None:
        mountpoint.mkdir()
        self.mountpoint = mountpoint
        self._device: int | None = mounting.mount(mountpoint, "test", allow_other=False)

    @property
    def is_mounted(self) -> bool:
        return mounting.find(self.mountpoint) is not None

    def close(self) -> None:
        if self._device is not None:
            os.close(self._device)
            self._device = None


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Left]:
    monkeypatch.setattr(service, "_DEATH_WAIT_S", 0.5)
    monkeypatch.setattr(service, "_ANSWER_WAIT_S", 0.5)
    mount = Left(tmp_path / "mnt")
    yield mount
    mount.close()
    if mount.is_mounted:
        mounting.unmount(mount.mountpoint, lazy=True)


def after_service(mountpoint: Path, result: str = "") -> str:
    """What the command says when the service has ended with `result`, or, without one, as OnFailure calls it."""
    environment = {"SERVICE_RESULT": result or None}
    done = CliRunner().invoke(service.after_service, [str(mountpoint)], env=environment)
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) <= 1
    return done.output


@pytest.mark.parametrize(
    "result", ["signal", "exit-code", "watchdog", "timeout", "core-dump", "oom-kill", "protocol", "resources"]
)
def test_before_a_restart_nothing_is_unmounted(left: Left, result: str) -> None:
    assert result in after_service(left.mountpoint, result)
    left.close()
    after_service(left.mountpoint, result)
    assert left.is_mounted


@pytest.mark.parametrize("result", ["success", "start-limit-hit"])
def test_what_is_left_after_the_end_for_good_is_taken_off(left: Left, result: str) -> None:
    assert "took off" in after_service(left.mountpoint, result)
    assert not left.is_mounted


def test_a_mount_that_the_next_service_can_go_on_with_is_left_alone(left: Left) -> None:
    assert "left for the next start" in after_service(left.mountpoint)
    assert left.is_mounted


def test_a_mount_that_nobody_can_serve_any_more_is_taken_off(left: Left) -> None:
    left.close()
    assert "took off" in after_service(left.mountpoint)
    assert not left.is_mounted


@pytest.mark.parametrize("result", ["", "success"])
def test_a_mount_that_lives_is_left_alone(tmp_path: Path, result: str) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 10})) as mount:
        after_service(mount.mountpoint, result)
        assert (mount.mountpoint / "a").read_bytes() == content("a", 0, 10)


def test_between_two_services_nobody_takes_the_mount_off(
    tmp_path: Path, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOORAGE_CACHE_DIR", str(tmp_path / "cache"))
    mountpoint, manager = tmp_path / "data", ServiceManager(tmp_path)
    command = [str(Path(sys.executable).with_name("mountd")), "mount", "--foreground"]
    command += [file_url(make_tree(tmp_path / "tree", {"a": 5000})), str(mountpoint)]
    try:
        for _ in range(2):  # and the second goes on with the mount of the first
            with manager.start(*command) as process:
                manager.hear("READY=1")
                while "moorage-settings" not in manager.kept:
                    manager.hear("FDSTORE=1")
                assert mountpoint.stat()  # now the kernel has its attributes, and tells them of a dead one as well
                process.kill()
            assert "signal" in after_service(mountpoint, "signal")
            assert client.sweep() == []
            assert mounting.find(mountpoint) is not None
            assert "left for the next start" in after_service(mountpoint)
    finally:
        manager.close()  # systemd has given up
    assert mounting.is_dead(mountpoint)
    assert "took off" in after_service(mountpoint)
    assert list((tmp_path / "cache" / "frozen").iterdir()) == []
    assert left.is_mounted  # another's is left alone


@pytest.mark.parametrize("result", ["", "success", "signal"])
def test_where_nothing_is_mounted_there_is_nothing_to_say(tmp_path: Path, result: str) -> None:
    assert after_service(tmp_path / "none", result) == after_service(tmp_path, result) == ""


def test_after_a_stop_the_next_start_mounts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_CACHE_DIR", str(tmp_path / "cache"))
    mountpoint, manager = tmp_path / "data", ServiceManager(tmp_path)
    command = [str(Path(sys.executable).with_name("mountd")), "mount", "--foreground"]
    command += [file_url(make_tree(tmp_path / "tree", {"a": 5000})), str(mountpoint)]
    try:
        for _ in range(2):  # as `systemctl restart` does, which would keep the descriptors
            with manager.start(*command) as process:
                manager.hear("READY=1")
                while "moorage-settings" not in manager.kept:
                    manager.hear("FDSTORE=1")
                assert (mountpoint / "a").read_bytes() == content("a", 0, 5000)
                process.terminate()
                assert process.wait(20) == 0
            while manager.kept:
                manager.hear("FDSTOREREMOVE=1")
            assert after_service(mountpoint, "success") == ""
            assert mounting.find(mountpoint) is None
    finally:
        manager.close()
