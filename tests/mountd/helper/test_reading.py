"""Reads through a helper: whole, in batches, after a fork and a spawn, and while it is killed."""

import io
import json
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest

from mountd.client.helper import Grant, Helper, HelperFiles
from mountd.client.helper_processes import OwnHelper
from mountd.contract import helping
from mountd.dataset.manifest import Manifest
from mountd.errors import AccessDeniedError, BadInputError, DataChangedError, NotFoundError
from mountd.processes import ProcessId
from mountd.stores.credentials import Credential
from tests.support.azurite import KEY, Azurite
from tests.support.content import content
from tests.support.helping import SIZES, check, frozen, local_manifest, own_helper
from tests.support.waiting import until

Both = tuple[OwnHelper, Helper]
TREE = """
import json, os, signal, sys
from pathlib import Path
from mountd.client.helper import Helper
from mountd.client.helper_processes import OwnHelper, order_of
from mountd.processes import ProcessId

owner = OwnHelper(order_of([]))
helper = Helper(owner.address, owner.ensure)
files = helper.open(Path(sys.argv[1]))
assert len(files.read(files.entry("a"), 0, 9)) == 9
first = owner.pid
if os.fork():
    signal.pause()
assert len(files.read(files.entry("a"), 0, 9)) == 9
os.kill(os.getppid(), signal.SIGSTOP)  # so that it is not the one who starts another
os.kill(first, signal.SIGKILL)
while ProcessId.of(first).is_alive():
    pass
assert len(files.read(files.entry("a"), 0, 9)) == 9
told = {"first": first, "second": owner.pid, "parent": os.getppid(), "fork": os.getpid(), "address": owner.address}
print(json.dumps(told), flush=True)
signal.pause()
"""


@pytest.fixture
def both() -> Iterator[Both]:
    with own_helper() as both:
        yield both


@pytest.fixture
def files(both: Both, tmp_path: Path) -> Iterator[HelperFiles]:
    with both[1].open(local_manifest(tmp_path)) as files:
        yield files


Method = Literal["fork", "spawn"]


def _check_and_tell(files: HelperFiles, queue: "multiprocessing.Queue[str]") -> None:
    check(files)
    queue.put("well")


def test_a_read_that_is_interrupted_never_answers_the_next_one(
    files: HelperFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = helping.receive

    def interrupted(channel: socket.socket) -> object:
        channel.recv(1, socket.MSG_PEEK)  # the answer is there, and nobody takes it
        raise KeyboardInterrupt

    for _ in range(20):  # which of the two requests the helper sees first is a matter of luck
        monkeypatch.setattr(helping, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            files.read(files.entry("s/001"), 0, 500)
        monkeypatch.setattr(helping, "receive", receive)
        assert files.read(files.entry("s/002"), 0, 500) == content("s/002", 0, 500)


def test_every_byte_comes_from_its_place(files: HelperFiles) -> None:
    check(files)
    assert files.read(files.entry("b.bin"), 69_999, 100) == content("b.bin", 69_999, 1)
    assert files.read(files.entry("b.bin"), 70_000, 100) == b""
    assert files.read(files.entry("empty"), 0, 100) == b""
    assert files.read_many([]) == []


def test_a_file_is_one_for_python(files: HelperFiles) -> None:
    with io.BufferedReader(files.open("a/0.bin"), 1 << 16) as stream:
        assert stream.seek(-10, io.SEEK_END) == 2_999_990
        assert stream.read() == content("a/0.bin", 2_999_990, 10)
        stream.seek(1_234_567)
        assert stream.read(5) == content("a/0.bin", 1_234_567, 5)
    with files.open("b.bin") as raw:
        assert raw.read() == content("b.bin", 0, 70_000)
        with pytest.raises(ValueError, match="negative"):
            raw.seek(-1)
    with pytest.raises(NotFoundError, match="a folder"):
        files.open("a")
    with pytest.raises(NotFoundError, match="not in the dataset"):
        files.open("none")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_both_kinds_read_beside_their_parent(files: HelperFiles, both: Both, method: Method) -> None:
    check(files)  # so that there is a connection, and an open manifest, to inherit
    context: Any = multiprocessing.get_context(method)  # of a type that only each of the two has
    queue: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_check_and_tell, args=(files, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    check(files)
    assert [queue.get(timeout=60) for _ in workers] == ["well", "well"]
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    assert both[1].status()["pid"] == both[0].pid


def test_what_is_pickled_holds_no_secret() -> None:
    secret = "c2VjcmV0IG9mIHRoZSBhY2NvdW50"  # noqa: S105  # a stand-in
    with own_helper(Grant("x", "memory://x/", Credential("key", secret))) as (owner, helper):
        assert secret.encode() not in pickle.dumps(helper)
        assert secret not in repr(owner._order)


@pytest.mark.parametrize("in_worker", [False, True])
def test_a_killed_helper_is_replaced_under_load(files: HelperFiles, both: Both, in_worker: bool) -> None:  # noqa: FBT001  # a case
    owner, helper = both
    check(files)
    ended = threading.Event()

    def read_on() -> int:
        rounds = 0
        while not ended.is_set() or not rounds:
            check(files)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as pool:
        rounds = [pool.submit(read_on) for _ in range(2)]
        for _ in range(3):
            pid = helper.status()["pid"]
            os.kill(pid, signal.SIGKILL)
            if in_worker:  # somebody who may not start one, and waits for the owner to
                assert Helper(owner.address).status()["pid"] != pid
            until(lambda: not ProcessId.of(pid).is_alive(), what="the end of the killed one")  # noqa: B023  # called at once
            assert helper.status()["pid"] != pid
        ended.set()
        assert all(each.result(60) for each in rounds)


def test_a_fork_restarts_it_and_it_ends_with_the_last_of_the_tree(tmp_path: Path) -> None:
    manifest = local_manifest(tmp_path, {"a": 5000})
    parent = subprocess.Popen(
        [sys.executable, "-c", TREE, str(manifest)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        told = json.loads(parent.stdout.readline())
        assert told["second"] != told["first"]  # the fork's own, after it had killed the parent's
        assert not ProcessId.of(told["first"]).is_alive()
        os.kill(told["parent"], signal.SIGKILL)
        parent.wait(20)
        assert ProcessId.of(told["second"]).is_alive()
        os.kill(told["fork"], signal.SIGKILL)
        until(lambda: not ProcessId.of(told["second"]).is_alive(), what="the end of the helper")
        until(lambda: not Path(told["address"]).exists(), what="the end of its address")


def test_it_ends_when_idle_and_comes_back(tmp_path: Path) -> None:
    manifest = local_manifest(tmp_path, {"a": 5000})
    with own_helper(idle_s=0.2) as (owner, helper):
        with helper.open(manifest) as files:
            assert files.read(files.entry("a"), 7, 9) == content("a", 7, 9)
        first = owner.pid
        until(lambda: not ProcessId.of(first).is_alive(), what="its end")
        with helper.open(manifest) as files:
            assert files.read(files.entry("a"), 8, 9) == content("a", 8, 9)
        assert owner.pid != first


def test_a_changed_file_is_an_error_and_no_bytes(files: HelperFiles, tmp_path: Path) -> None:
    (tmp_path / "tree" / "b.bin").write_bytes(b"x" * 70_000)
    with pytest.raises(DataChangedError, match=r"b\.bin"):
        files.read(files.entry("b.bin"), 0, 10)
    check_one = files.entry("a/1.bin")
    assert files.read(check_one, 0, 1) == content("a/1.bin", 0, 1)


def test_a_plan_is_for_its_dataset(files: HelperFiles) -> None:
    inodes = array("I", [entry.inode for _, entry in files.manifest.files()])
    files.follow(inodes)
    with pytest.raises(BadInputError, match="inode"):
        files.follow(array("I", [1_000_000]))


@pytest.mark.azurite
def test_cached_bytes_come_by_descriptor_and_others_need_the_credential(
    tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOORAGE_CACHE_DIR", str(tmp_path / "cache"))
    url = azurite.make_container("helper-reads")
    for name in ("a/0.bin", "b.bin", "a/1.bin"):
        azurite.put("helper-reads", name, content(name, 0, SIZES[name]))
    credential = Credential("key", KEY)
    manifest = frozen(url, credential, tmp_path / "manifest")
    with own_helper(Grant("blobs", url, credential)) as (_, helper):
        with helper.open(manifest) as files:
            check(files)
            check(files)
            told = helper.status()
        assert told["reads"]["bytes"] > 2 * Manifest.open(manifest).size_bytes
        assert told["cache"]["hits"] > 0
        assert [each.key for each in helper.list("BLOBS", "a/")] == ["a/0.bin", "a/1.bin"]
        assert helper.download(manifest, tmp_path / "copy") == 3
        assert (tmp_path / "copy" / "b.bin").read_bytes() == content("b.bin", 0, 70_000)
        (tmp_path / "new").write_bytes(content("new", 0, 5000))
        helper.upload([(tmp_path / "new", "new")], "blobs", "up/")
        assert [each.key for each in helper.list("blobs", "up/")] == ["up/new"]
        with pytest.raises(NotFoundError, match="no datastore 'other' here, only: blobs"):
            list(helper.list("other"))
    # With no credential granted, and nothing in the memory of another helper:
    monkeypatch.setenv("MOORAGE_CACHE_DIR", str(tmp_path / "cache2"))
    with own_helper() as (_, helper), helper.open(manifest) as files, pytest.raises(AccessDeniedError):
        files.read(files.entry("b.bin"), 0, 10)
