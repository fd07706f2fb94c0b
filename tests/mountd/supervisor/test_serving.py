"""The contract between supervisor and worker, from both sides: over the socket alone, and with a real worker."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd import config
from mountd.contract import serving
from mountd.contract.serving import Device, Work
from mountd.contract.starting import Order
from mountd.errors import DefectError
from mountd.freeze import FreezeSource, freeze
from mountd.fuse.table import InFlightTable
from mountd.stores.credentials import Credential
from mountd.stores.registry import file_url
from mountd.supervisor.workers import WorkerProcess
from tests.support.content import make_tree

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_work_arrives_as_it_was_sent_with_its_descriptors(ends: Ends) -> None:
    order = Order(Path("/m"), Path("/mnt"), "s", {"memory": "1"}, {"https://x/": Credential("key", "c2VjcmV0")})
    files = [os.memfd_create(name) for name in ("table", "socket", "plan")]
    sent = Work(order, files[0], files[1], files[2], "digest", 5, 6, 7.5, keep=True)
    serving.send_work(ends[0], sent)
    came = serving.receive_work(ends[1])
    assert came.order == order
    for ours, theirs in zip(files, (came.table, came.plan_socket, came.plan), strict=True):
        assert theirs is not None
        assert os.path.sameopenfile(ours, theirs)
        os.close(ours)
        os.close(theirs)
    assert (came.plan_digest, came.supervisor_pid, came.restarts, came.age_s, came.keep) == ("digest", 5, 6, 7.5, True)


@pytest.mark.parametrize("version", [serving.VERSION + 1, None])
def test_work_of_another_version_is_refused(ends: Ends, version: int | None) -> None:
    serving.send(ends[0], "work", version=version)
    with pytest.raises(DefectError, match=f"no work of version {serving.VERSION}"):
        serving.receive_work(ends[1])


def test_the_end_of_the_other_side_is_no_message(ends: Ends) -> None:
    ends[0].close()
    assert serving.receive(ends[1]) is None
    assert serving.receive_device(ends[1]) is None


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    freeze([FreezeSource(file_url(make_tree(tmp_path / "tree", {"a": 5})))], tmp_path / "m")
    table, plans = InFlightTable.create(), socket.socket(socket.AF_UNIX)
    order = Order(tmp_path / "m", tmp_path / "mnt", "s", config.texts(config.load().settings))
    yield Work(order, table.descriptor, plans.fileno())
    table.close()
    plans.close()


def test_a_worker_is_ready_and_serves_nothing_before_it_is_told_to(work: Work) -> None:
    worker = WorkerProcess.start(work, sys.executable)
    message = worker.receive()
    assert message is not None
    assert message.say == "ready"
    worker.let_end()  # instead of a device
    assert worker.receive() is None
    assert worker.end(10) == 0


def test_a_worker_that_cannot_serve_says_why_and_ends(work: Work) -> None:
    work.order.manifest.write_bytes(b"no manifest")
    worker = WorkerProcess.start(work, sys.executable)
    message = worker.receive()
    assert message is not None
    assert (message.say, message.told["error"]) == ("error", "ManifestError")
    assert worker.receive() is None
    assert worker.end(10) >> 8 == 3


def test_a_worker_without_a_supervisor_ends(work: Work) -> None:
    worker = WorkerProcess.start(work, sys.executable)
    assert worker.receive() is not None
    worker._channel.close()
    assert os.waitpid(worker.pid, 0)[1] == 0


def test_a_device_is_handed_over_with_what_was_agreed_on(ends: Ends) -> None:
    descriptor = os.memfd_create("device")
    serving.send_device(ends[0], Device(descriptor, "0:41", 1 << 39))
    came = serving.receive_device(ends[1])
    assert came is not None
    assert (came.number, came.agreed) == ("0:41", 1 << 39)
    os.close(descriptor)
    os.close(came.descriptor)
