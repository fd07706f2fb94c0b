"""`mountd warm`, `plan` and `top` on a real mount."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mountd import client, records
from mountd.errors import BadInputError, NotFoundError
from tests.support.content import content, make_tree
from tests.support.mounts import mounted
from tests.support.waiting import until

pytestmark = pytest.mark.fuse
MOUNTD = Path(sys.executable).with_name("mountd")
SIZE = 300_000
NAMES = [f"folder {n % 3}/{n:02}" for n in range(30)]


def mountd(*arguments: object, code: int = 0, given: str = "") -> str:
    command = [str(MOUNTD), *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) == bool(code), done
    return done.stdout or done.stderr


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[client.Mount]:
    """A folder through the cache, as if it were far away."""
    tree = make_tree(tmp_path / "tree", dict.fromkeys(NAMES, SIZE))
    with mounted(tmp_path, tree, cache="always") as mount:
        yield mount


def fetched(mount: client.Mount) -> int:
    return int(mount.status()["fetch"]["bytes"])


def test_warm_brings_all_of_it_and_reading_it_fetches_nothing(mount: client.Mount) -> None:
    told = mountd("warm", mount.mountpoint)
    assert told == f"{mount.mountpoint}: 30 files, 8.6 MiB in the cache; fetched 8.6 MiB\n"
    assert fetched(mount) == 30 * SIZE
    for name in NAMES:
        assert (mount.mountpoint / name).read_bytes() == content(name, 0, SIZE)
    assert fetched(mount) == 30 * SIZE
    assert mountd("warm", mount.mountpoint).endswith("30 files, 8.6 MiB in the cache; fetched 0 B\n")


def test_warm_takes_paths_within_the_mount_and_from_outside(mount: client.Mount) -> None:
    assert "10 files" in mountd("warm", mount.mountpoint, "folder 1", "folder 1/01", "folder 1/")
    assert "fetched 585.9 KiB" in mountd("warm", mount.mountpoint, "folder 0/00", mount.mountpoint / "folder 0/03")
    assert fetched(mount) == 12 * SIZE
    assert "1 files" in mountd("warm", mount.mountpoint, "./folder 1//01")
    for whole in (".", mount.mountpoint):
        assert "30 files" in mountd("warm", mount.mountpoint, whole)


def test_warm_says_what_is_wrong_in_one_line(mount: client.Mount, tmp_path: Path) -> None:
    assert "folder 9: not in the dataset" in mountd("warm", mount.mountpoint, "folder 9", code=4)
    assert "no mount of Moorage" in mountd("warm", tmp_path, code=4)
    assert fetched(mount) == 0


def test_warm_without_a_cache_or_with_too_small_a_one_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", dict.fromkeys(NAMES, SIZE))
    for cache, said in (
        ("auto", "local folders are read in place"),
        ("off", "the cache is off"),
        ("always", "8.6 MiB to warm, and the cache may hold 4 MiB"),
    ):
        with mounted(tmp_path, tree, cache=cache, cache_size="4MiB") as mount, pytest.raises(BadInputError, match=said):
            list(client.warm(mount.mountpoint))


def test_warm_goes_on_when_a_file_fails_and_ends_with_its_error(mount: client.Mount, tmp_path: Path) -> None:
    (tmp_path / "tree" / NAMES[0]).write_bytes(b"changed")
    assert "freeze the source again" in mountd("warm", mount.mountpoint, code=9)
    assert fetched(mount) == 29 * SIZE


def test_a_mount_that_ends_while_it_is_warmed_is_an_error(tmp_path: Path) -> None:
    folder = records.folder_of(tmp_path / "mnt")
    folder.mkdir(parents=True)
    step = {"files": 1, "bytes": 2, "fetched_bytes": 3, "total_bytes": 4, "failure": None}
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as pool:
        listener.bind(str(folder / "control"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(json.dumps(step).encode() + b"\n")

        serving = pool.submit(serve)
        assert "ended before all was in the cache" in mountd("warm", tmp_path / "mnt", code=6)
        serving.result(10)
    shutil.rmtree(folder)


def test_a_plan_is_fetched_before_anybody_reads(mount: client.Mount, tmp_path: Path) -> None:
    order = [*NAMES[20:], *NAMES[:5]]
    (tmp_path / "order").write_text("\n".join(order) + "\n\n")
    assert mountd("plan", mount.mountpoint, tmp_path / "order") == f"{mount.mountpoint}: a plan of 15 files\n"
    until(lambda: fetched(mount) == 15 * SIZE, what="the files of the plan")
    for name in order:
        assert (mount.mountpoint / name).read_bytes() == content(name, 0, SIZE)
    status = mount.status()
    assert status["fetch"]["bytes"] == 15 * SIZE
    assert status["plan"] == {"position": 15, "length": 15}
    assert status["prefetch"] == {"used_bytes": 15 * SIZE, "wasted_bytes": 0}


def test_a_plan_may_come_from_stdin_and_name_paths_from_outside(mount: client.Mount) -> None:
    mountd("plan", mount.mountpoint, "-", given=f"{mount.mountpoint / NAMES[7]}\n{NAMES[3]}\n")
    until(lambda: fetched(mount) == 2 * SIZE, what="both files")


def test_a_line_that_names_no_file_is_told_by_its_number(mount: client.Mount) -> None:
    said = mountd("plan", mount.mountpoint, "-", code=3, given=f"{NAMES[0]}\nfolder 0/nothing\n")
    assert "-, line 2: 'folder 0/nothing': No such file" in said
    assert mount.status()["plan"]["length"] == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"folder 1", "'folder 1': not a file of this mount"),
        (b"../tree/" + NAMES[0].encode(), "not a file of this mount"),
        (b"/etc/hosts", "'/etc/hosts': not a file of this mount"),
        (b"a\0b", "null byte"),
        (NAMES[0].encode() + b"\r", r"/00\r': No such file"),
        (b"\xff\xfe\x89PNG" * 1000, "File name too long"),
    ],
)
def test_a_plan_that_names_anything_but_files_of_the_mount_is_refused(
    mount: client.Mount, tmp_path: Path, line: bytes, said: str
) -> None:
    (tmp_path / "order").write_bytes(line + b"\n")
    told = mountd("plan", mount.mountpoint, tmp_path / "order", code=3)
    assert f"{tmp_path / 'order'}, line 1: " in told
    assert said in told
    assert mount.status()["plan"]["length"] == 0


def test_a_plan_that_cannot_be_read_is_one_line(mount: client.Mount, tmp_path: Path) -> None:
    assert f"{tmp_path / 'none'}: No such file" in mountd("plan", mount.mountpoint, tmp_path / "none", code=4)
    assert f"{tmp_path}: Is a directory" in mountd("plan", mount.mountpoint, tmp_path, code=3)


def test_a_plan_for_another_dataset_is_refused(mount: client.Mount, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="for another dataset"):
        client.plan(mount.mountpoint, array("I", [2, 3]), "0" * 64)
    with pytest.raises(NotFoundError, match="no mount of Moorage"):
        client.plan(tmp_path, array("I", [2, 3]), "0" * 64)


def test_a_plan_with_an_inode_that_is_not_there_is_refused(mount: client.Mount) -> None:
    with pytest.raises(BadInputError, match="names inode 4000000000"):
        client.plan(mount.mountpoint, array("I", [2, 4_000_000_000]), mount.status()["digest"])


@pytest.mark.parametrize("bytes_", [b"abc", b""])
def test_a_plan_that_is_no_list_of_inodes_harms_nothing(mount: client.Mount, bytes_: bytes) -> None:
    with os.fdopen(os.memfd_create("plan", os.MFD_ALLOW_SEALING), "r+b") as stream:
        stream.write(bytes_)
        stream.flush()
        fcntl.fcntl(stream, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK)
        request = {"do": "plan", "digest": mount.status()["digest"]}
        descriptors = [stream.fileno()] * 3
        if bytes_:
            with pytest.raises(BadInputError, match="a plan of 3 bytes"):
                records.ask(mount.mountpoint, request, 10, name="plan", descriptors=descriptors)
        else:
            assert records.ask(mount.mountpoint, request, 10, name="plan", descriptors=descriptors) == {"length": 0}
    assert (mount.mountpoint / NAMES[0]).read_bytes() == content(NAMES[0], 0, SIZE)


def test_leaving_a_warming_early_ends_it_without_a_word(mount: client.Mount) -> None:
    for step in client.warm(mount.mountpoint):
        assert step["total_bytes"] == 30 * SIZE
        break
    until(lambda: mount.status()["fetch"]["in_flight"] == 0, what="the end of what was under way")
    assert mountd("warm", mount.mountpoint).startswith(f"{mount.mountpoint}: 30 files")


def test_a_plan_of_a_local_folder_is_accepted_and_fetches_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", dict.fromkeys(NAMES, SIZE))) as mount:
        mountd("plan", mount.mountpoint, "-", given="\n".join(NAMES))
        assert (mount.mountpoint / NAMES[-1]).read_bytes() == content(NAMES[-1], 0, SIZE)
        assert mount.status()["fetch"]["requests"] == 0
        assert mount.status()["plan"]["position"] == len(NAMES)


def test_top_shows_rates_and_ends_after_its_count(mount: client.Mount) -> None:
    shown = mountd("top", mount.mountpoint, "--interval", "0.1", "--count", "2")
    assert shown.count("reads/s") == 2
    assert shown.count("up 0:0") == 2
    assert "no restarts" in shown
    assert re.search(r"reads/s", mountd("top", "--interval", "0.1", "--count", "1"))


def test_an_interval_that_is_no_number_is_refused() -> None:
    done = subprocess.run([MOUNTD, "top", "--interval", "nan"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("nan is no number of seconds.")


def test_the_plan_socket_takes_plans_and_status_only(mount: client.Mount) -> None:
    assert records.ask(mount.mountpoint, {"do": "status"}, 10, name="plan")["files"] == 30
    requests: list[dict[str, Any]] = [{"do": "stop", "timeout_s": 0, "force": True}, {"do": "warm"}, {"do": []}, {}]
    for request in requests:
        with pytest.raises(BadInputError, match="one line of JSON"):
            records.ask(mount.mountpoint, request, 10, name="plan")
    assert (records.folder_of(mount.mountpoint) / "plan").stat().st_mode & 0o777 == 0o600


def test_a_plan_in_a_descriptor_that_could_make_us_wait_is_refused(mount: client.Mount) -> None:
    request = {"do": "plan", "digest": mount.status()["digest"]}
    reading, writing = os.pipe()
    try:
        with pytest.raises(BadInputError, match="sealed"):
            records.ask(mount.mountpoint, request, 10, name="plan", descriptors=[reading])
    finally:
        os.close(reading)
        os.close(writing)


def test_whoever_may_plan_cannot_use_up_the_descriptors_of_the_worker(mount: client.Mount) -> None:
    def held() -> int:
        return len(list(Path(f"/proc/{mount.status()['worker_pid']}/fd").iterdir()))

    before = held()
    address = str(records.folder_of(mount.mountpoint) / "plan")
    peers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(30)]
    try:
        for peer in peers:
            peer.connect(address)  # blocks while the kernel's queue is full
        for _ in range(40):
            socket.send_fds(peers[0], [b" "], [0, 0])
        until(lambda: held() > before, what="that some of them are taken")
        until(lambda: held() == before + 16 + 1, what="sixteen connections and one descriptor")
        assert mount.status()["files"] == len(NAMES)
    finally:
        for peer in peers:
            peer.close()
    until(lambda: held() == before, what="the end of all of them")
    deep = b"[" * 100_000 + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(10)
        peer.connect(address)
        peer.sendall(deep)
        assert json.loads(peer.makefile("rb").readline())["error"] == "BadInputError"
