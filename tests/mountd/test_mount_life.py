"""How a mount begins and ends: what may be a mount point, who may end it, and what is left. Named in docs/semantics.md."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mountd import clearing, client, config, records
from mountd.client import starting as starting_mounts
from mountd.contract import starting
from mountd.contract.starting import Order
from mountd.errors import BadInputError, MountPointError, NotFoundError
from mountd.freeze import FreezeSource, freeze
from mountd.fuse import mounting
from mountd.stores.registry import file_url
from tests.support.content import content, make_tree
from tests.support.mounts import is_running, mounts_below
from tests.support.waiting import until

pytestmark = pytest.mark.fuse


@pytest.mark.parametrize(
    "name",
    [
        "real",
        "real/below",
        "link",
        "link/below",
        "link to link",
        "out/..",
        "out/../real",
        "out/back",
        "none/at/all",
        "dangling",
    ],
)
def test_the_name_of_a_mount_point_leads_where_the_kernel_would_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "real/below").mkdir(parents=True)
    for link, target in (("link", "real"), ("link to link", "./link"), ("out", "real/below"), ("dangling", "none/..")):
        (tmp_path / link).symlink_to(target)
    (tmp_path / "real/below/back").symlink_to("../../link")
    monkeypatch.chdir(tmp_path)
    for given in (Path(name), tmp_path / name):
        assert mounting.resolve(given) == (tmp_path / name).resolve()


def test_a_symlink_that_leads_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert mounting.resolve(tmp_path / "loop") == tmp_path / "loop"
    with pytest.raises(MountPointError, match="choose an empty folder"):
        mounting.check(tmp_path / "loop")


class TestMountPoint:
    @pytest.fixture
    def manifest(self, tmp_path: Path) -> Path:
        freeze([FreezeSource(file_url(make_tree(tmp_path / "tree", {"a": 5})))], tmp_path / "m")
        return tmp_path / "m"

    def refused(self, manifest: Path, mountpoint: Path, match: str) -> None:
        before = mounts_below(mountpoint.parent)
        with pytest.raises(MountPointError, match=match) as caught:
            client.start(manifest, mountpoint, lifeline=True)
        assert str(mountpoint) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert mounts_below(mountpoint.parent) == before

    def test_not_empty(self, manifest: Path, tmp_path: Path) -> None:
        make_tree(tmp_path / "mnt", {"precious": 5})
        self.refused(manifest, tmp_path / "mnt", "not empty")

    def test_a_file(self, manifest: Path, tmp_path: Path) -> None:
        (tmp_path / "mnt").write_bytes(b"")
        self.refused(manifest, tmp_path / "mnt", "a file, not a folder")

    def test_mounted_already(self, manifest: Path, tmp_path: Path) -> None:
        with client.start(manifest, tmp_path / "mnt", source="the first", lifeline=True) as mount:
            self.refused(manifest, tmp_path / "mnt", "the first is mounted there already")
            assert (mount.mountpoint / "a").read_bytes() == content("a", 0, 5)

    def test_of_many_starts_at_once_one_mounts_and_the_others_harm_nothing(
        self, manifest: Path, tmp_path: Path
    ) -> None:
        def start(_: int) -> client.Mount | MountPointError:
            try:
                return client.start(manifest, tmp_path / "mnt", lifeline=True)
            except MountPointError as error:
                return error

        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(start, range(4)))
        [mount] = [each for each in outcomes if isinstance(each, client.Mount)]
        with mount:
            assert all("mounted" in str(each) for each in outcomes if isinstance(each, MountPointError))
            stacked = [each for each in mounting.mounts() if each.mountpoint == tmp_path / "mnt"]
            assert len(stacked) == 1
            assert mount.status()["supervisor_pid"] == mount.pid
            assert (mount.mountpoint / "a").read_bytes() == content("a", 0, 5)
        assert not list(records.runtime_folder().glob(f"mounts/{records.folder_of(tmp_path / 'mnt').name}*"))

    def test_a_start_that_failed_leaves_no_record_or_lock(self, manifest: Path, tmp_path: Path) -> None:
        manifest.write_bytes(b"no manifest")
        with pytest.raises(BadInputError, match="not a manifest"):
            client.start(manifest, tmp_path / "mnt")
        assert not list(records.runtime_folder().glob(f"mounts/{records.folder_of(tmp_path / 'mnt').name}*"))

    @pytest.mark.usefixtures("driver")
    def test_a_dead_mount_is_named_and_unmount_cleans_it_up(self, manifest: Path, tmp_path: Path) -> None:
        mount = client.start(manifest, tmp_path / "mnt", lifeline=True)
        self.kill_whole(mount)
        with pytest.raises(MountPointError, match=r"a dead mount.*mountd unmount"):
            client.status(tmp_path / "mnt")
        client.stop(tmp_path / "mnt")
        assert mounting.find(tmp_path / "mnt") is None
        assert client.mounts() == [] or all(record.mountpoint != tmp_path / "mnt" for record in client.mounts())
        mount.stop()

    @pytest.mark.usefixtures("driver")
    def test_a_dead_mount_is_taken_off_by_the_next(self, manifest: Path, tmp_path: Path) -> None:
        dead = client.start(manifest, tmp_path / "mnt", lifeline=True)
        self.kill_whole(dead)
        with client.start(manifest, tmp_path / "mnt", lifeline=True) as mount:
            assert (mount.mountpoint / "a").read_bytes() == content("a", 0, 5)
            assert len([each for each in mounting.mounts() if each.mountpoint == tmp_path / "mnt"]) == 1
        dead.stop()

    def kill_whole(self, mount: client.Mount) -> None:
        worker = mount.status()["worker_pid"]
        os.kill(mount.pid, signal.SIGSTOP)  # so that it replaces nothing
        os.kill(worker, signal.SIGKILL)
        os.kill(mount.pid, signal.SIGKILL)
        until(lambda: mounting.is_dead(mount.mountpoint), what="the death of the mount")

    def test_a_symlink_names_the_same_mount_whoever_uses_it(self, manifest: Path, tmp_path: Path) -> None:
        (tmp_path / "mnt").mkdir()
        (tmp_path / "link").symlink_to("mnt")
        (tmp_path / "link to link").symlink_to(tmp_path / "link")
        for made_by in ("mnt", "link to link"):
            with client.start(manifest, tmp_path / made_by, lifeline=True) as mount:
                for name in ("mnt", "link", "link to link"):
                    assert client.status(tmp_path / name)["supervisor_pid"] == mount.pid
                self.refused(manifest, tmp_path / "mnt", "mounted there already")
                assert client.stop(tmp_path / "link") is False
                assert mounting.find(tmp_path / "mnt") is None

    def test_missing_is_made(self, manifest: Path, tmp_path: Path) -> None:
        with client.start(manifest, tmp_path / "not/there/yet", lifeline=True) as mount:
            assert [each.name for each in mount.mountpoint.iterdir()] == ["a"]

    def test_a_cache_below_itself_is_refused(self, manifest: Path, tmp_path: Path) -> None:
        with pytest.raises(BadInputError, match="lies below the mount point"):
            client.start(manifest, tmp_path / "mnt", settings={"cache_dir": str(tmp_path / "mnt/cache")}, lifeline=True)
        assert mounts_below(tmp_path) == set()


@pytest.mark.usefixtures("driver")
class TestEnd:
    @pytest.fixture
    def mount(self, tmp_path: Path) -> Iterator[client.Mount]:
        freeze([FreezeSource(file_url(make_tree(tmp_path / "tree", {"a": 5000})))], tmp_path / "m")
        mount = client.start(tmp_path / "m", tmp_path / "mnt", lifeline=True)
        yield mount
        mount.stop()
        assert mounting.find(tmp_path / "mnt") is None

    def test_unmount_by_others_ends_the_worker(self, mount: client.Mount) -> None:
        subprocess.run(["umount", mount.mountpoint], check=True)
        until(lambda: not is_running_child(mount), what="the end of the worker")
        assert records.find(mount.mountpoint) is None

    def test_a_busy_mount_is_detached_and_served_to_the_end(self, mount: client.Mount) -> None:
        with (mount.mountpoint / "a").open("rb") as stream:
            assert client.stop(mount.mountpoint, timeout_s=0.2) is True
            assert mounting.find(mount.mountpoint) is None
            assert os.pread(stream.fileno(), 5000, 0) == content("a", 0, 5000)
        until(lambda: not is_running_child(mount), what="the end of the worker")

    def test_force_does_not_wait_for_readers(self, mount: client.Mount) -> None:
        descriptor = os.open(mount.mountpoint / "a", os.O_RDONLY)
        assert client.stop(mount.mountpoint, force=True) is True
        until(lambda: not is_running_child(mount), what="the end of the worker")
        assert mounting.find(mount.mountpoint) is None
        with pytest.raises(OSError, match="not connected"):
            os.pread(descriptor, 10, 0)
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def test_sigterm_ends_it_cleanly(self, mount: client.Mount) -> None:
        os.kill(mount.pid, signal.SIGTERM)
        until(lambda: not is_running_child(mount), what="the end of the worker")
        assert mounting.find(mount.mountpoint) is None
        assert records.find(mount.mountpoint) is None

    def test_the_end_of_the_owner_is_the_end_of_the_mount(self, tmp_path: Path) -> None:
        freeze([FreezeSource(file_url(make_tree(tmp_path / "t", {"a": 5})))], tmp_path / "n")
        code = (
            "import sys, os, signal; from pathlib import Path; from mountd import client\n"
            "mount = client.start(Path(sys.argv[1]), Path(sys.argv[2]), lifeline=True)\n"
            "print(mount.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "n"), str(tmp_path / "owned")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        until(lambda: not is_running(int(done.stdout)), what="the end of the worker")
        assert mounting.find(tmp_path / "owned") is None
        assert records.find(tmp_path / "owned") is None

    def test_a_detached_worker_leaves_the_record_of_the_next_one_alone(
        self, mount: client.Mount, tmp_path: Path
    ) -> None:
        with (mount.mountpoint / "a").open("rb") as stream:
            assert client.stop(mount.mountpoint, timeout_s=0.2) is True
            with client.start(tmp_path / "m", mount.mountpoint, lifeline=True) as following:
                assert os.pread(stream.fileno(), 5000, 0) == content("a", 0, 5000)
                stream.close()
                until(lambda: not is_running_child(mount), what="the end of the first worker")
                assert following.status()["supervisor_pid"] == following.pid

    def test_what_others_mounted_over_it_is_not_taken_off(self, mount: client.Mount) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "others", mount.mountpoint], check=True)
        try:
            with pytest.raises(MountPointError, match="others is mounted over it"):
                client.stop(mount.mountpoint, timeout_s=0.1)
            assert [each.source for each in mounting.mounts() if each.mountpoint == mount.mountpoint][-1] == "others"
        finally:
            subprocess.run(["umount", mount.mountpoint], check=True)
        assert (mount.mountpoint / "a").read_bytes() == content("a", 0, 5000)

    @pytest.mark.parametrize("lifeline", [True, False])
    def test_a_starter_that_dies_before_it_hears_leaves_no_dead_mount(self, tmp_path: Path, lifeline: bool) -> None:  # noqa: FBT001  # a case
        freeze([FreezeSource(file_url(make_tree(tmp_path / "t", {"a": 5})))], tmp_path / "n")
        mountpoint, settled = tmp_path / "early", config.texts(config.load().settings)
        order = Order(tmp_path / "n", mountpoint, "s", settled, lifeline=lifeline)
        channel, process = starting_mounts._execute(order)
        starting.send_order(channel, order)
        channel.close()  # with its answer unread, if that is there already
        if lifeline:
            assert process.wait(20) in {0, 128 + signal.SIGTERM}
        else:
            until(lambda: records.find(mountpoint) is not None, what="the mount")
            until(lambda: not client.stop(mountpoint), what="the end of the mount")
            assert process.wait(20) == 0
        assert mounting.find(mountpoint) is None
        assert records.find(mountpoint) is None

    def test_a_worker_that_lost_its_socket_is_named_and_force_ends_it(
        self, mount: client.Mount, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clearing, "_END_TIMEOUT_S", 0.1)
        (records.folder_of(mount.mountpoint) / "control").unlink()
        with pytest.raises(MountPointError, match=f"process {mount.pid}.*--force"):
            client.stop(mount.mountpoint)
        monkeypatch.undo()
        client.stop(mount.mountpoint, force=True)
        assert mounting.find(mount.mountpoint) is None
        assert not is_running_child(mount)

    def test_no_request_on_the_control_socket_ends_the_mount(self, mount: client.Mount) -> None:
        lines = (
            b'{"do": ["status"]}\n',
            b'{"do": "stop", "force": false, "timeout_s": 1' + b"0" * 400 + b"}\n",
            b'{"do": "stop", "force": false, "timeout_s": NaN}\n',
            b'{"do": "upgrade", "executable": "a\\u0000b"}\n',
            b'{"do": "upgrade", "executable": "\\ud800"}\n',
            b"[" * 3000 + b"\n",
            b"\xff" * 5000,
        )
        for line in lines:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(10)
                asking.connect(str(records.folder_of(mount.mountpoint) / "control"))
                asking.sendall(line)
                asking.shutdown(socket.SHUT_WR)
                with asking.makefile() as answer:
                    assert "error" in json.loads(answer.readline()), line
        assert client.status(mount.mountpoint)["restarts"] == 0

    def test_the_worker_of_a_dead_supervisor_is_ended_though_it_is_stopped(self, mount: client.Mount) -> None:
        record = records.find(mount.mountpoint)
        assert record is not None
        os.kill(record.worker.pid, signal.SIGSTOP)
        record.supervisor.kill()
        mount.wait()
        for ask in (client.status, client.upgrade):
            with pytest.raises(MountPointError, match="a dead mount"):
                ask(mount.mountpoint)
        client.stop(mount.mountpoint)
        until(lambda: not record.worker.is_alive(), what="the end of the worker")
        assert mounting.find(mount.mountpoint) is None

    def test_a_claim_whose_lock_was_removed_leaves_the_next_one_alone(self, tmp_path: Path) -> None:
        first = records.Claim(tmp_path / "place")
        records.folder_of(tmp_path / "place").with_suffix(".lock").unlink()
        with records.Claim(tmp_path / "place"):
            first.release()
            with pytest.raises(MountPointError, match="mounted already"):
                records.Claim(tmp_path / "place")

    def test_a_mount_whose_record_was_removed_is_not_called_dead(self, mount: client.Mount) -> None:
        shutil.rmtree(records.folder_of(mount.mountpoint))
        with pytest.raises(MountPointError, match="without a record"):
            client.status(mount.mountpoint)

    def test_a_record_that_cannot_be_kept_does_not_end_a_mount_in_use(self, mount: client.Mount) -> None:
        record = records.find(mount.mountpoint)
        assert record is not None
        half = records.folder_of(mount.mountpoint) / "record.half"
        half.mkdir()  # as a full disk, it makes the writing fail
        record.worker.kill()
        until(lambda: client.status(mount.mountpoint)["restarts"] == 1, what="the next worker")
        assert (mount.mountpoint / "a").read_bytes() == content("a", 0, 5000)

    @pytest.mark.full
    def test_a_worker_that_does_not_come_to_serve_is_replaced(self, mount: client.Mount, tmp_path: Path) -> None:
        slow = tmp_path / "python"
        slow.write_text("#!/bin/sh\nexec sleep 1000\n")
        slow.chmod(0o755)
        with pytest.raises(MountPointError, match=r"died.*signal 9"):
            client.upgrade(mount.mountpoint, str(slow))
        assert client.status(mount.mountpoint)["restarts"] == 0

    def test_a_stopped_mount_is_not_found(self, mount: client.Mount) -> None:
        mount.stop()
        with pytest.raises(NotFoundError, match="no mount of Moorage"):
            client.status(mount.mountpoint)


def is_running_child(mount: client.Mount) -> bool:
    return mount._process.poll() is None
