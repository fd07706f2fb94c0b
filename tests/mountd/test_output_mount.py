"""Mounted outputs from end to end: a supervisor, workers that are killed, real stores, and what is in them at the end."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mountd import client
from mountd.contract.serving import Work
from mountd.contract.starting import Order
from mountd.daemon import output
from mountd.errors import BadInputError, MountdError, MountPointError, StoreUnreachableError
from mountd.fuse import mounting
from mountd.fuse.table import InFlightTable
from mountd.stores import registry
from mountd.stores.credentials import Credential
from mountd.stores.registry import file_url
from tests.support import random_operations
from tests.support.azurite import KEY, Azurite
from tests.support.content import content, make_tree
from tests.support.mounts import is_running
from tests.support.waiting import until

pytestmark = pytest.mark.fuse

MOUNTD = str(Path(sys.executable).with_name("mountd"))


@contextmanager
def mounted(folder: Path, url: str = "", **settings: str) -> Iterator[client.Mount]:
    """The output `folder`/store at `folder`/mnt; what is not committed stays in the spool."""
    (folder / "store").mkdir(exist_ok=True)
    to = client.Output(url or file_url(folder / "store"), "out/", folder / "spool")
    settings = {"settle": "50ms", "cache_dir": str(folder / "cache"), **settings}
    credential = Credential("key", KEY) if url else None
    mount = client.start_output(to, folder / "mnt", credential=credential, settings=settings, lifeline=True)
    with mount:
        yield mount
    assert mounting.find(folder / "mnt") is None
    until(lambda: not is_running(mount.pid), what="the end of the supervisor")


def stored(folder: Path) -> dict[str, bytes]:
    root = folder / "store" / "out"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def kill_worker(mount: client.Mount) -> None:
    """Kill the worker, and return when the next one serves."""
    before = mount.status()
    os.kill(before["worker_pid"], signal.SIGKILL)
    until(lambda: _restarts(mount) > before["restarts"] and os.path.ismount(mount.mountpoint), what="the next worker")


def _restarts(mount: client.Mount) -> int:
    try:
        return int(mount.status()["restarts"])
    except MountdError:
        return -1


def check_random_operations(folder: Path, seed: int, count: int) -> None:
    plain = folder / "plain"
    plain.mkdir()
    for turn in range(2):
        with mounted(folder) as mount:
            random_operations.compare(mount.mountpoint, plain)
            random_operations.run(mount.mountpoint, plain, seed + turn, count)
            client.commit(mount.mountpoint, 60)
        assert stored(folder) == {
            str(path.relative_to(plain)): path.read_bytes() for path in plain.rglob("*") if path.is_file()
        }


def test_random_operations_are_in_the_store_and_there_after_a_remount(tmp_path: Path) -> None:
    check_random_operations(tmp_path, 3, 250)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20, 60, 10))
def test_many_random_operations_are_in_the_store_and_there_after_a_remount(tmp_path: Path, seed: int) -> None:
    check_random_operations(tmp_path, seed, 3000)


def test_a_killed_worker_loses_nothing_that_was_closed_and_open_files_fail_loudly(tmp_path: Path) -> None:
    with mounted(tmp_path, settle="1h") as mount:
        (mount.mountpoint / "closed").write_bytes(content("closed", 0, 200_000))
        descriptor = os.open(mount.mountpoint / "open", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"written, not closed")
        kill_worker(mount)
        for act in (lambda: os.write(descriptor, b"more"), lambda: os.fsync(descriptor), lambda: os.close(descriptor)):
            with pytest.raises(OSError, match=r"\d") as caught:
                act()
            assert caught.value.errno in {errno.ENOTCONN, errno.ECONNABORTED, errno.EIO}
        assert (mount.mountpoint / "closed").read_bytes() == content("closed", 0, 200_000)
        assert (mount.mountpoint / "open").read_bytes() == b"written, not closed"
        with pytest.raises(BadInputError, match=r"open: was not closed"):
            client.commit(mount.mountpoint, 20)
    with mounted(tmp_path) as mount:
        (mount.mountpoint / "open").write_bytes(b"again")
        told = client.commit(mount.mountpoint, 20)
    assert (told["files"], sorted(told["etags"])) == (2, ["closed", "open"])
    assert stored(tmp_path) == {"closed": content("closed", 0, 200_000), "open": b"again"}


def test_the_fourth_death_within_a_minute_ends_the_mount(tmp_path: Path) -> None:
    with mounted(tmp_path) as mount:
        for _ in range(3):
            kill_worker(mount)
        os.kill(mount.status()["worker_pid"], signal.SIGKILL)
        assert mount.wait() == 0
        assert mounting.find(mount.mountpoint) is None


def test_what_is_written_into_the_bare_folder_is_found_at_the_remount_and_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path) as mount:
        worker = mount.status()["worker_pid"]
        os.kill(mount.pid, signal.SIGSTOP)  # so that nobody mounts anew meanwhile
        os.kill(worker, signal.SIGKILL)
        until(lambda: mounting.is_dead(mount.mountpoint), what="the death of the mount")
        mounting.unmount(mount.mountpoint, lazy=True)
        assert mount.mountpoint.stat().st_mode & 0o222 == 0
        mount.mountpoint.chmod(0o755)
        (mount.mountpoint / "lost").touch()
        mount.mountpoint.chmod(0o555)
        os.kill(mount.pid, signal.SIGCONT)
        assert mount.wait() == MountPointError.exit_code
    assert "mnt/lost: was written while nothing was mounted there" in capfd.readouterr().err
    assert mount.mountpoint.stat().st_mode & 0o200


def test_the_folder_below_a_mount_has_its_rights_again_afterwards(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt").chmod(0o775)
    with mounted(tmp_path) as mount:
        client.commit(mount.mountpoint, 20)
    assert (tmp_path / "mnt").stat().st_mode & 0o777 == 0o775


def test_an_output_in_use_stays_mounted_and_the_file_is_named(tmp_path: Path) -> None:
    with mounted(tmp_path) as mount:
        with (mount.mountpoint / "log").open("wb", buffering=0) as file:
            with pytest.raises(MountPointError, match=r"in use \(log\), and stays mounted"):
                client.commit(mount.mountpoint, 0)
            file.write(b"more")
        assert client.commit(mount.mountpoint, 20)["bytes"] == 4
        assert os.access(mount.mountpoint, os.W_OK)
    assert stored(tmp_path) == {"log": b"more"}


def test_what_the_store_refuses_is_an_error_at_fsync_and_at_the_commit_and_is_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path, fsync="remote") as mount:
        in_the_way = make_tree(tmp_path / "store/out/model", {"x": 1})  # somebody else made a folder of this name
        with (mount.mountpoint / "model").open("wb", buffering=0) as file:
            file.write(b"weights")
            with pytest.raises(OSError, match=r"\d"):
                os.fsync(file.fileno())
        with pytest.raises(MountdError, match=r"model.*; the rest waits in the spool; mount it again"):
            client.commit(mount.mountpoint, 20)
    (in_the_way / "x").unlink()
    in_the_way.rmdir()
    with mounted(tmp_path) as mount:
        assert (mount.mountpoint / "model").read_bytes() == b"weights"
        client.commit(mount.mountpoint, 20)
    assert stored(tmp_path) == {"model": b"weights"}
    assert "Traceback" not in capfd.readouterr().err


def test_fsync_remote_returns_when_the_file_is_in_the_store(tmp_path: Path) -> None:
    with mounted(tmp_path, fsync="remote", settle="1h") as mount, (mount.mountpoint / "model").open("wb") as file:
        file.write(content("model", 0, 100_000))
        file.flush()
        os.fsync(file.fileno())
        assert stored(tmp_path) == {"model": content("model", 0, 100_000)}


def test_a_full_spool_is_no_space_left_and_room_comes_back(tmp_path: Path) -> None:
    with mounted(tmp_path, spool_size="1MiB", settle="1h") as mount:
        with (mount.mountpoint / "large").open("wb", buffering=0) as file:
            file.write(bytes(900_000))
            with pytest.raises(OSError, match=r"\d") as caught:
                os.pwrite(file.fileno(), b"x", 2 << 20)
            assert caught.value.errno == errno.ENOSPC
        assert os.statvfs(mount.mountpoint).f_frsize * os.statvfs(mount.mountpoint).f_blocks <= 1 << 20
        (mount.mountpoint / "large").unlink()
        (mount.mountpoint / "small").write_bytes(bytes(100_000))
        assert client.commit(mount.mountpoint, 20)["files"] == 1


def test_checkpoints_that_replace_each_other_cost_one_upload(tmp_path: Path) -> None:
    with mounted(tmp_path, settle="1h") as mount:
        for number in range(3):
            draft = mount.mountpoint / "ckpt.tmp"
            with draft.open("wb") as file:
                file.write(content(str(number), 0, 50_000))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(mount.mountpoint / "ckpt")
        told = mount.status()["output"]
        assert (told["pending_files"], told["pending_bytes"], told["uploaded_files"]) == (1, 50_000, 0)
        client.commit(mount.mountpoint, 20)
    assert stored(tmp_path) == {"ckpt": content("2", 0, 50_000)}


@pytest.mark.azurite
def test_blobs_are_written_replaced_and_removed_through_a_mount(tmp_path: Path, azurite: Azurite) -> None:
    url = azurite.make_container("outputs-by-mount")
    with mounted(tmp_path, url) as mount:
        make_tree(mount.mountpoint, {"a/large": 9_000_000, "b": 10, "c": 20})
        client.commit(mount.mountpoint, 60)
    with mounted(tmp_path, url) as mount:
        (mount.mountpoint / "b").unlink()
        (mount.mountpoint / "c").rename(mount.mountpoint / "a/c")
        with (mount.mountpoint / "a/large").open("r+b") as file:
            file.seek(5_000_000)
            file.write(b"patch")
        told = client.commit(mount.mountpoint, 60)
    assert sorted(told["etags"]) == ["a/c", "a/large"]
    reader = registry.open_reader(url, Credential("key", KEY))
    expected = bytearray(content("a/large", 0, 9_000_000))
    expected[5_000_000:5_000_005] = b"patch"
    assert reader.read("out/a/large", 0, 9_000_000, told["etags"]["a/large"]) == expected
    assert reader.read("out/a/c", 0, 20, told["etags"]["a/c"]) == content("c", 0, 20)


def _command(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "MOORAGE_"))}
    environment = {**kept, "MOORAGE_SPOOL_DIR": str(folder / "spools"), "MOORAGE_CACHE_DIR": str(folder / "cache")}
    command = [MOUNTD, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)


def test_the_commands_mount_tell_and_commit(tmp_path: Path) -> None:
    store, mnt = tmp_path / "store", tmp_path / "mnt"
    store.mkdir()
    assert _command(tmp_path, "mount", "--output", file_url(store), mnt, "--settle", "1h").returncode == 0
    try:
        (mnt / "a").write_bytes(bytes(1000))
        told = json.loads(_command(tmp_path, "status", mnt, "--json").stdout)
        assert told["output"]["pending_files"] == 1
        assert "1 to upload (1000 B), 0 uploaded" in _command(tmp_path, "status", mnt).stdout
        assert _command(tmp_path, "status", mnt, "--check").returncode == 0
        assert "output to" in _command(tmp_path, "top", "--count", "1").stdout
        again = _command(tmp_path, "mount", "--output", file_url(store), tmp_path / "other")
        assert (again.returncode, len(again.stderr.splitlines())) == (3, 1)
        assert "has this spool" in again.stderr
        planned = _command(tmp_path, "plan", mnt, os.devnull)
        assert (planned.returncode, planned.stderr) == (3, f"mountd: {mnt}: an output follows no plan\n")
        with (mnt / "b").open("w"):
            busy = _command(tmp_path, "unmount", mnt, "--timeout", "0s")
        assert (busy.returncode, busy.stderr.count("\n")) == (6, 1)
        done = _command(tmp_path, "unmount", mnt)
        assert (done.returncode, done.stdout) == (0, f"{mnt}: 2 files, 1000 B, are in the store\n")
    finally:
        if mounting.find(mnt):
            _command(tmp_path, "unmount", "--force", mnt)
    assert (store / "a").read_bytes() == bytes(1000)
    assert next(store.glob(".moorage/outputs/*/commit.json")).exists()


def test_an_output_whose_supervisor_died_is_not_taken_for_committed(tmp_path: Path) -> None:
    store, mnt = tmp_path / "store", tmp_path / "mnt"
    store.mkdir()
    mount = ("mount", "--output", file_url(store), mnt, "--settle", "1h")
    assert _command(tmp_path, *mount).returncode == 0
    (mnt / "a").write_bytes(b"a")
    told = json.loads(_command(tmp_path, "status", mnt, "--json").stdout)
    os.kill(told["supervisor_pid"], signal.SIGSTOP)  # it must not replace the worker
    os.kill(told["worker_pid"], signal.SIGKILL)
    os.kill(told["supervisor_pid"], signal.SIGKILL)
    until(lambda: not is_running(told["supervisor_pid"]), what="the end of the supervisor")
    dead = _command(tmp_path, "unmount", mnt)
    assert (dead.returncode, len(dead.stderr.splitlines())) == (6, 1)
    assert "its supervisor died, and not all of it may be in the store" in dead.stderr
    assert mounting.find(mnt) is None
    assert not (store / "a").exists()
    assert _command(tmp_path, *mount).returncode == 0
    assert _command(tmp_path, "unmount", mnt).returncode == 0
    assert (store / "a").read_bytes() == b"a"


def test_a_place_out_of_reach_is_told_before_anything_is_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_ANSWER_S", 0.5)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/devstoreaccount1/out/"
        to = client.Output(url, "", tmp_path / "spool")
        order = Order(Path(), tmp_path / "mnt", url, credentials={url: Credential("key", KEY)}, output=to)
        table = InFlightTable.create()
        with ExitStack() as parts, pytest.raises(StoreUnreachableError, match=r"of 0\.5 s"):
            output.OutputWorker(Work(order, table.descriptor, plan_socket=-1), parts)
        table.close()
    assert not (tmp_path / "spool").exists()


def test_an_output_in_the_foreground_is_committed_when_it_is_told_to_end(tmp_path: Path) -> None:
    store, mnt = tmp_path / "store", tmp_path / "mnt"
    store.mkdir()
    options = ["--settle", "1h", "--spool-dir", str(tmp_path / "spools"), "--foreground"]
    with subprocess.Popen([MOUNTD, "mount", "--output", file_url(store), str(mnt), *options]) as process:
        until(lambda: mounting.find(mnt) is not None and os.statvfs(mnt).f_namemax, what="the mount")
        (mnt / "a").write_bytes(b"a")
        process.terminate()
        assert process.wait(60) == 0
    assert (store / "a").read_bytes() == b"a"
    assert next(store.glob(".moorage/outputs/*/commit.json")).exists()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["store", "mnt"], 3, "an output is named by its URL"),
        (["https://example.org/a", "mnt"], 3, "a web server cannot be written to"),
        (["file:///{}/store", "mnt", "--memory", "100MiB"], 3, "--memory: has no meaning for an output"),
        (["file:///{}/store", "mnt", "--fsync", "sometimes"], 3, "'sometimes' is none of local, remote"),
        (["file:///{}/store", "mnt", "--spool-dir", "{}/mnt/spool"], 3, "lies below the mount point"),
    ],
)
def test_what_cannot_be_an_output_is_one_line(tmp_path: Path, arguments: list[str], code: int, line: str) -> None:
    (tmp_path / "store").mkdir()
    given = [each.replace("{}", str(tmp_path)) for each in arguments]
    given[1] = str(tmp_path / "mnt")
    done = _command(tmp_path, "mount", "--output", *given)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert line in done.stderr
    assert mounting.find(tmp_path / "mnt") is None
