"""A helper among clients that mean it no good: its other clients read on, and its memory stays bounded."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mountd.client.helper import Grant, Helper, HelperFiles
from mountd.contract import helping
from mountd.errors import BadInputError, MountPointError
from mountd.stores.credentials import Credential
from tests.support import users
from tests.support.azurite import KEY, Azurite
from tests.support.content import content
from tests.support.helping import SIZES, check, frozen, local_manifest, own_helper
from tests.support.waiting import until


@pytest.fixture
def files(tmp_path: Path) -> Iterator[HelperFiles]:
    with own_helper() as (_, helper), helper.open(local_manifest(tmp_path)) as files:
        yield files


@contextlib.contextmanager
def raw(address: str, *, greet: bool = True) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.settimeout(30)
        channel.connect(address)
        if greet:
            assert ask(channel, {"do": "hello", "version": helping.VERSION})["version"] == helping.VERSION
        yield channel


def ask(channel: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    helping.send(channel, request)
    packet = helping.receive(channel)
    assert packet is not None
    packet.close()
    return packet.told


GARBAGE = [
    b"\0",
    b"garbage that is no length at all",
    struct.pack("<I", 1 << 31) + b"{}",
    struct.pack("<I", 2) + b"[]",
    struct.pack("<I", 4000) + b"[" * 4000,
    struct.pack("<I", 4) + b"\xff{} ",
]
IMPOSSIBLE: list[dict[str, Any]] = [
    {"do": "read", "reads": [[2, 0, 1 << 40]]},
    {"do": "read", "reads": [[2, 1 << 80, 1]]},
    {"do": "read", "reads": [[-1, 0, 1]]},
    {"do": "read", "reads": [[1, 0, 1]]},
    {"do": "read", "reads": [[2, 0, 1.5]]},
    {"do": "read", "reads": [[True, 0, 1]]},
    {"do": "read", "reads": [[2, 0, 1]] * 65},
    {"do": "read", "reads": [[2, 0, 8 << 20]] * 2},
    {"do": "read", "reads": "all"},
    {"do": "plan", "digest": "x"},
    {"do": "open", "manifest": "relative"},
    {"do": "open", "manifest": "/dev/zero"},
    {"do": "open", "manifest": "/\0"},
    {"do": "upload", "datastore": "x", "prefix": "", "files": [["/etc/passwd"]]},
    {"do": "freeze", "sources": [["x"]], "target": "/x"},
    {"do": "secrets"},
    {"body": True},
    {},
]


def test_garbage_ends_its_own_connection_alone(files: HelperFiles) -> None:
    for block in GARBAGE:
        with raw(files.helper.address) as channel:
            channel.sendall(block)
            packet = helping.receive(channel)
            assert packet is not None, block
            assert packet.told["error"] == "BadInputError", block
            assert helping.receive(channel) is None, block
    check(files)


def test_a_request_that_cannot_be_is_an_answer(tmp_path: Path) -> None:
    manifest = local_manifest(tmp_path, {"b.bin": 9 << 20})
    with own_helper() as (_, helper), raw(helper.address) as channel:
        dataset = ask(channel, {"do": "open", "manifest": str(manifest)})["dataset"]
        for impossible in IMPOSSIBLE:
            assert ask(channel, {"dataset": dataset, **impossible}).get("error") == "BadInputError", impossible
            assert ask(channel, {"do": "read", "dataset": dataset, "reads": [[2, 0, 9]]})["parts"] == [[-1, 0, 9]]
        assert ask(channel, {"do": "read", "dataset": 99, "reads": []})["error"] == "BadInputError"


def test_another_version_is_refused_and_silence_let_go(files: HelperFiles) -> None:
    with raw(files.helper.address, greet=False) as silent, raw(files.helper.address, greet=False) as other:
        assert "version" in ask(other, {"do": "hello", "version": 0})["message"]
        assert silent.recv(1) == b""  # after five seconds
    check(files)


def test_the_most_connections_and_not_one_more(files: HelperFiles) -> None:
    with contextlib.ExitStack() as stack:
        helper = files.helper
        helper.status()
        for _ in range(helping.MOST_CONNECTIONS - 1):
            stack.enter_context(raw(helper.address))
        with raw(helper.address, greet=False) as late:
            packet = helping.receive(late)
            assert packet is not None
            assert "connections, its most" in packet.told["message"]
        with pytest.raises(MountPointError, match="connections, its most"):
            Helper(helper.address).status()
        check(files)
    until(lambda: helper.status()["clients"] == 1, what="their end")


def test_one_who_takes_no_answers_holds_nobody_up_and_keeps_no_descriptors(files: HelperFiles) -> None:
    request = {"do": "read", "reads": [[files.entry("a/0.bin").inode, 0, 1 << 20]]}
    pid = files.helper.status()["pid"]
    with raw(files.helper.address) as slow:
        request["dataset"] = ask(slow, {"do": "open", "manifest": str(files.path)})["dataset"]
        slow.setblocking(False)
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            for _ in range(5000):
                helping.send(slow, request)
        check(files)
        until(lambda: files.helper.status()["clients"] == 1, what="its end")
    assert len(os.listdir(f"/proc/{pid}/fd")) < 60  # noqa: PTH208  # the count alone


def test_sixty_four_clients_at_once_stay_within_bounds(files: HelperFiles) -> None:
    pid = files.helper.status()["pid"]
    barrier = threading.Barrier(64)

    def read_all(_: int) -> None:
        with Helper(files.helper.address).open(files.path) as own:
            barrier.wait(30)
            entry = own.entry("a/0.bin")
            assert own.read(entry, 0, entry.size) == content("a/0.bin", 0, entry.size)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(read_all, range(64)))
    peak = next(
        line for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines() if line.startswith("VmHWM")
    )
    assert int(peak.split()[1]) < (190 << 10)  # KiB: 32 MiB of cache, 8 MiB of answers, Python and 64 threads
    until(lambda: files.helper.status()["clients"] == 1, what="their end")


@users.root_only
@pytest.mark.alone
def test_another_user_is_refused_even_where_the_address_lets_him(files: HelperFiles, tmp_path: Path) -> None:
    address = Path(files.helper.address)
    address.chmod(0o666)
    address.parent.chmod(0o755)
    address.parent.parent.chmod(0o755)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setuid(users.NOBODY)
            with raw(str(address), greet=False) as channel:
                packet = helping.receive(channel)
                code = 0 if packet is not None and packet.told["error"] == "AccessDeniedError" else 2
        finally:
            os._exit(code)
    try:
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        address.parent.chmod(0o700)
        address.parent.parent.chmod(0o700)
    assert tmp_path.exists()


@pytest.mark.azurite
def test_an_answer_holds_a_sealed_memfd_or_a_segment_and_no_secret(
    tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOORAGE_CACHE_DIR", str(tmp_path / "cache"))
    url = azurite.make_container("helper-answers")
    azurite.put("helper-answers", "b.bin", content("b.bin", 0, SIZES["b.bin"]))
    manifest = frozen(url, Credential("key", KEY), tmp_path / "manifest")
    with own_helper(Grant("blobs", url, Credential("key", KEY))) as (_, helper), raw(helper.address) as channel:
        dataset = ask(channel, {"do": "open", "manifest": str(manifest)})["dataset"]
        kinds: list[str] = []

        def read() -> str:
            helping.send(channel, {"do": "read", "dataset": dataset, "reads": [[2, 0, 70_000], [2, 8, 16]]})
            packet = helping.receive(channel)
            assert packet is not None
            assert KEY not in str(packet.told)
            (where, position, length), (inline, at, few) = packet.told["parts"]
            kinds.append(str(Path(f"/proc/self/fd/{packet.descriptors[where]}").readlink()))
            assert os.pread(packet.descriptors[where], length, position) == content("b.bin", 0, 70_000)
            if inline < 0:
                assert packet.data[at : at + few] == content("b.bin", 8, 16)
            with pytest.raises(OSError, match=r"Operation not permitted|Bad file descriptor"):
                os.pwrite(packet.descriptors[where], b"x", 0)
            packet.close()
            return kinds[-1]

        assert "memfd:read" in read()
        until(lambda: read().endswith(".segment"), what="an answer from the disk cache")


def test_a_request_that_is_too_long_is_refused_here(files: HelperFiles) -> None:
    with pytest.raises(BadInputError, match="name fewer files"):
        files.helper.upload([(Path("/" + "x" * 200), "k" * 200)] * 50_000, "none")
