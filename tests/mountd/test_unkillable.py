"""The mount that cannot be killed: whatever becomes of its worker, no reader gets an error or a wrong byte.

Named in docs/semantics.md and docs/reliability.md; the long forms are in the soak.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from mountd import client, records
from mountd.errors import MountPointError
from mountd.fuse import mounting
from tests.support import reading_apart
from tests.support.content import content, make_tree
from tests.support.http_server import Fault
from tests.support.mounts import is_running
from tests.support.service_manager import ServiceManager
from tests.support.storms import Served, read_apart, served, wrong
from tests.support.waiting import until

pytestmark = [pytest.mark.fuse, pytest.mark.warns]

SIZES = {**{f"small/{number}": 20_000 + number for number in range(60)}, "large": 24_000_000}
WAYS = ("pread", "seek", "mmap", "dup")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("world")
    with served(make_tree(folder / "plain", SIZES), folder / "m") as world:
        yield world


def worker_of(mount: client.Mount) -> int:
    return int(client.status(mount.mountpoint)["worker_pid"])


def read_while(world: Served, mount: client.Mount, disturb: Callable[[], None], pause_s: float, least: int) -> None:
    """Read with 16 threads of another process, every byte compared, while `disturb` is called at least so many times."""
    dice = random.Random(least)
    done = threading.Event()

    def read() -> list[tuple[str, reading_apart.Read]]:
        found: list[tuple[str, reading_apart.Read]] = []
        while not done.is_set() and not found:
            reads = [_some_read(world, mount, dice) for _ in range(400)]
            found = wrong(reads, read_apart(reads, threads=16))
        return found

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for _ in range(least):
                time.sleep(pause_s * dice.uniform(0.5, 1.5))  # the faults come at any time: that is what is tested
                disturb()
        finally:
            done.set()
        assert reading.result() == []


def _some_read(world: Served, mount: client.Mount, dice: random.Random) -> reading_apart.Read:
    path = dice.choice((*world.files, "large", "large"))
    offset = dice.randrange(SIZES[path])
    size = min(dice.choice([4096, 70_000, 400_000]), SIZES[path] - offset)
    return world.read(mount, path, offset, size, dice.choice(WAYS))


@pytest.mark.parametrize("resend", ["on", "off"])
def test_kill_9_of_the_worker_under_load_costs_no_reader_anything(
    world: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resend: str
) -> None:
    monkeypatch.setenv("MOORAGE_RESEND", resend)
    with world.mount(tmp_path / "mnt", cache="off", memory="4MiB") as mount:

        def kill() -> None:
            record = records.find(mount.mountpoint)
            assert record is not None
            record.worker.kill()  # the one that serves, or none while the next one starts

        read_while(world, mount, kill, 0.5, 8)
        assert client.status(mount.mountpoint)["restarts"] >= 4


def test_a_worker_that_hangs_is_replaced_as_a_dead_one_is(world: Served, tmp_path: Path) -> None:
    with world.mount(tmp_path / "mnt", cache="off", memory="4MiB") as mount:
        first = worker_of(mount)

        def hang() -> None:
            os.kill(first, signal.SIGSTOP)
            until(lambda: not is_running(first), what="a new worker")  # while reads wait: one at rest is left alone

        read_while(world, mount, hang, 0.5, 1)
        assert worker_of(mount) != first


@pytest.mark.full
def test_a_worker_that_rests_is_left_alone_however_long(world: Served, tmp_path: Path) -> None:
    with world.mount(tmp_path / "mnt") as mount:
        worker = worker_of(mount)
        os.kill(worker, signal.SIGSTOP)
        time.sleep(8)  # more looks than a hang takes; that nothing happens has no sign to wait for
        assert is_running(worker)
        os.kill(worker, signal.SIGCONT)
        assert worker_of(mount) == worker


def test_an_upgrade_under_load_costs_no_reader_anything(world: Served, tmp_path: Path) -> None:
    with world.mount(tmp_path / "mnt", cache="off", memory="4MiB") as mount:
        workers = [worker_of(mount)]
        supervisor = mount.pid

        def upgrade() -> None:
            workers.append(client.upgrade(mount.mountpoint))

        read_while(world, mount, upgrade, 0.3, 3)
        assert worker_of(mount) == workers[-1]
        assert len(set(workers)) == len(workers)
        status = client.status(mount.mountpoint)
        assert (status["supervisor_pid"], status["restarts"]) == (supervisor, len(workers) - 1)
        assert b"--handed" in Path(f"/proc/{supervisor}/cmdline").read_bytes()  # it runs new code, too
        os.kill(workers[-1], signal.SIGKILL)
        assert (mount.mountpoint / "small/3").read_bytes() == content("small/3", 0, SIZES["small/3"])


def test_an_upgrade_to_code_that_cannot_serve_changes_nothing(world: Served, tmp_path: Path) -> None:
    with world.mount(tmp_path / "mnt") as mount:
        worker = worker_of(mount)
        for executable, said in (("/bin/false", "the new worker died"), ("/no/such/python", "No such file")):
            with pytest.raises(MountPointError, match=said):
                client.upgrade(mount.mountpoint, executable)
        assert worker_of(mount) == worker
        assert client.status(mount.mountpoint)["restarts"] == 0


@pytest.mark.parametrize(
    "request_line", [b'{"do": []}', b'{"do": {}}', b'{"do": "stop", "timeout_s": 1%s, "force": 0}']
)
def test_no_request_on_the_control_socket_ends_the_supervisor(
    world: Served, tmp_path: Path, request_line: bytes
) -> None:
    with world.mount(tmp_path / "mnt") as mount:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(records.folder_of(mount.mountpoint) / "control"))
            connection.sendall(request_line.replace(b"%s", b"0" * 400) + b"\n")
            assert b"BadInputError" in connection.recv(4096)
        assert client.status(mount.mountpoint)["supervisor_pid"] == mount.pid


def test_upgrades_leave_no_descriptor_in_the_supervisor(world: Served, tmp_path: Path) -> None:
    with world.mount(tmp_path / "mnt") as mount:
        counts = []
        for _ in range(3):
            client.upgrade(mount.mountpoint)
            until(lambda: b"--handed" in Path(f"/proc/{mount.pid}/cmdline").read_bytes(), what="the new code")
            assert client.status(mount.mountpoint)["supervisor_pid"] == mount.pid
            counts.append(len(list(Path(f"/proc/{mount.pid}/fd").iterdir())))
        assert counts[2] <= counts[0]


def test_a_signal_in_the_middle_of_an_upgrade_ends_the_mount_as_at_any_time(world: Served, tmp_path: Path) -> None:
    for pause_s in (0.0, 0.06, 0.15, 0.25):  # while it asks the new code, and while it becomes it
        with world.mount(tmp_path / "mnt") as mount:
            client.upgrade(mount.mountpoint)
            time.sleep(pause_s)
            os.kill(mount.pid, signal.SIGTERM)
            assert mount.wait() == 0
            assert mounting.find(mount.mountpoint) is None


def _are_left(world: Served, count: int) -> bool:
    return len(world.server.faults) == count


def test_a_request_that_two_workers_died_of_is_answered_eio_and_not_tried_a_third_time(
    world: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with world.mount(tmp_path / "mnt", cache="off") as mount, ThreadPoolExecutor(1) as pool:
        (mount.mountpoint / "small/7").stat()
        world.server.faults.extend([Fault("stall")] * 2)
        reading = pool.submit((mount.mountpoint / "small/7").read_bytes)
        for left in (1, 0):
            until(partial(_are_left, world, left), what="the request")
            os.kill(worker_of(mount), signal.SIGSEGV)
        # The kernel asks again for what failed, page by page; that is another request, and finds the server well.
        assert reading.result(30) == content("small/7", 0, SIZES["small/7"])
        assert "2 workers died of it; it is answered EIO" in capfd.readouterr().err
        assert client.status(mount.mountpoint)["restarts"] == 2


def test_when_no_worker_can_be_had_every_read_is_eio_at_once_and_an_upgrade_tries_again(
    world: Served, tmp_path: Path
) -> None:
    manifest = tmp_path / "m"
    manifest.write_bytes(world.manifest.read_bytes())
    with client.start(manifest, tmp_path / "mnt", lifeline=True) as mount:
        manifest.rename(tmp_path / "away")
        os.kill(worker_of(mount), signal.SIGKILL)
        with pytest.raises(OSError, match="Input/output"):
            (mount.mountpoint / "small/9").read_bytes()  # waits until it is given up
        begin_s = time.monotonic()
        with pytest.raises(OSError, match="Input/output"):
            list(mount.mountpoint.iterdir())
        assert time.monotonic() - begin_s < 5
        with pytest.raises(MountPointError, match=r"every read fails; `mountd upgrade"):
            client.status(mount.mountpoint)
        (tmp_path / "away").rename(manifest)
        client.upgrade(mount.mountpoint)
        assert (mount.mountpoint / "small/9").read_bytes() == content("small/9", 0, SIZES["small/9"])
    assert mounting.find(tmp_path / "mnt") is None


def test_the_plan_outlives_the_worker(world: Served, tmp_path: Path) -> None:
    from array import array

    with world.mount(tmp_path / "mnt", cache="off") as mount:
        order = array("I", [(mount.mountpoint / name).stat().st_ino for name in sorted(SIZES)])
        client.plan(mount.mountpoint, order, client.status(mount.mountpoint)["digest"])
        (mount.mountpoint / sorted(SIZES)[4]).read_bytes()
        until(lambda: client.status(mount.mountpoint)["plan"]["position"] == 5, what="the position")
        time.sleep(0.6)  # a beat or two, with which the position is kept; there is no sign of it from outside
        os.kill(worker_of(mount), signal.SIGKILL)
        until(lambda: client.status(mount.mountpoint)["restarts"] == 1, what="the next worker")
        assert client.status(mount.mountpoint)["plan"] == {"position": 5, "length": len(SIZES)}


def test_the_death_of_the_supervisor_ends_a_mount_that_nobody_else_minds(world: Served, tmp_path: Path) -> None:
    mount = client.start(world.manifest, tmp_path / "mnt")
    worker = worker_of(mount)
    os.kill(mount.pid, signal.SIGKILL)
    until(lambda: mounting.find(tmp_path / "mnt") is None, what="the end of the mount")
    until(lambda: not is_running(worker), what="the end of the worker")
    assert records.find(tmp_path / "mnt") is None
    mount.stop()


def start_reader(path: Path, offset: int, size: int) -> "subprocess.Popen[bytes]":
    """A process that has `path` open when this returns, and reads when it is told to.

    This process must have no file of such a mount open: whoever starts a process closes them in it, of which the mount is
    told, and then waits for somebody who is yet to be started.
    """
    code = (
        "import os, sys\n"
        "descriptor = os.open(sys.argv[1], os.O_RDONLY); print('open', flush=True); sys.stdin.readline()\n"
        "sys.stdout.buffer.write(os.pread(descriptor, int(sys.argv[3]), int(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(path), str(offset), str(size)]
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"open\n"
    return reader


def test_under_a_service_manager_even_the_supervisor_may_die(world: Served, tmp_path: Path) -> None:
    manager = ServiceManager(tmp_path)
    mountpoint = tmp_path / "mnt"
    command = [str(Path(sys.executable).with_name("mountd")), "mount", "--foreground"]
    command += ["--cache", "off", str(world.manifest), str(mountpoint)]
    try:
        with manager.start(*command) as service:
            manager.hear("READY=1")
            while "moorage-settings" not in manager.kept:
                manager.hear("FDSTORE=1")
            worker = client.status(mountpoint)["worker_pid"]
            reader = start_reader(mountpoint / "large", 3_000_000, 5000)
            service.kill()
            service.wait()
        until(lambda: not is_running(worker), what="the end of the worker")
        assert mounting.find(mountpoint) is not None
        assert reader.stdin is not None
        reader.stdin.write(b"now\n")  # while there is nobody to answer
        reader.stdin.flush()
        with manager.start(*command) as service:
            assert reader.communicate(timeout=20)[0] == content("large", 3_000_000, 5000)
            assert client.status(mountpoint)["supervisor_pid"] == service.pid
            assert [each.mountpoint for each in mounting.mounts()].count(mountpoint) == 1
            manager.hear("WATCHDOG=1")
            service.terminate()
            assert service.wait(20) == 0
        manager.hear("STOPPING=1")
        assert mounting.find(mountpoint) is None
        assert json.dumps(manager.said).count("READY=1") == 2
    finally:
        manager.close()
