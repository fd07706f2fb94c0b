"""Who serves a mount when workers die, fail and hang in the middle of an upgrade: scripted workers, no mount."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mountd.contract import serving
from mountd.contract.serving import Device, Work
from mountd.contract.starting import Order
from mountd.fuse.table import InFlightTable
from mountd.supervisor import service as services
from mountd.supervisor.service import Service
from mountd.supervisor.workers import WorkerProcess

pytestmark = pytest.mark.warns


class Scene:
    """A service whose workers are processes that sleep, and speak as the test has them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mouths: dict[int, socket.socket] = {}
        self.watched: list[WorkerProcess] = []
        self.answers: list[dict[str, Any]] = []
        monkeypatch.setattr(WorkerProcess, "start", self._start)
        self.table = InFlightTable.create()
        self.service = Service(
            Order(Path("/m"), Path("/mnt"), "s"),
            self.table,
            0,
            "old",
            keep=False,
            watch=self.watched.append,
            forget=lambda worker: self.watched.remove(worker) if worker in self.watched else None,
            serving=lambda: None,
            ended=lambda: None,
            failed=lambda _: None,
        )
        self.service.device = Device(os.memfd_create("device"), "0:0", 0)
        self.service.resume(None)
        self.say(self.current, "ready")
        self.say(self.current, "serving")

    @property
    def current(self) -> WorkerProcess:
        assert self.service.worker is not None
        return self.service.worker

    def _start(self, _: Work, __: str) -> WorkerProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(["sleep", "60"])
        process.returncode = 0
        self.mouths[process.pid] = theirs
        return WorkerProcess(process.pid, ours)

    def say(self, worker: WorkerProcess, what: str, **told: str) -> None:
        """Have a worker speak, and the service hear it."""
        serving.send(self.mouths[worker.pid], what, (), **told)
        self.service.hear(worker)

    def die(self, worker: WorkerProcess) -> None:
        """Have a worker die."""
        worker.kill()
        self.mouths[worker.pid].close()
        self.service.hear(worker)

    def upgrade(self) -> WorkerProcess:
        """Begin an upgrade: the successor."""
        self.service.upgrade("new", self.answers.append)
        assert self.service.upgrading is not None
        return self.service.upgrading.worker

    def close(self) -> None:
        """End all."""
        self.service.end(0)
        for each in self.mouths.values():
            each.close()
        assert self.service.device is not None
        os.close(self.service.device.descriptor)
        self.table.close()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(monkeypatch)
    yield scene
    scene.close()


def test_a_worker_in_the_place_of_one_that_died_during_an_upgrade_is_not_taken_for_the_successor(scene: Scene) -> None:
    old, successor = scene.current, scene.upgrade()
    scene.die(old)
    third = scene.current
    scene.say(third, "ready")
    scene.say(third, "serving")
    assert scene.answers == []
    scene.say(successor, "ready")
    assert scene.current is successor
    assert third not in scene.watched  # two must never serve one device
    scene.say(successor, "serving")
    assert scene.answers == [{"worker_pid": successor.pid}]
    assert scene.service.executable == "new"


def test_a_successor_that_fails_when_the_old_worker_is_dead_already_is_replaced(scene: Scene) -> None:
    successor = scene.upgrade()
    scene.say(successor, "ready")
    scene.say(successor, "error", error="FuseUnavailableError", message="no more threads")
    assert scene.answers[0]["message"] == "no more threads"
    scene.say(scene.current, "ready")
    scene.say(scene.current, "serving")
    assert scene.service.is_served
    assert scene.service.executable == "old"


def test_what_a_worker_said_that_is_nobody_s_any_more_is_not_heard(scene: Scene) -> None:
    old, successor = scene.current, scene.upgrade()
    scene.say(successor, "ready")
    scene.service.hear(old)  # the same look at all sockets found it readable
    assert scene.current is successor


def test_a_worker_that_hangs_before_it_serves_is_killed_and_an_upgrade_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_MOST_LOOKS", 2)
    monkeypatch.setattr(scene.service._hangs, "stands_still", lambda _: False)
    old, successor = scene.current, scene.upgrade()
    scene.service.tick()
    scene.service.tick()
    scene.mouths[successor.pid].close()
    scene.service.hear(successor)
    assert "the new worker died (by signal 9)" in scene.answers[0]["message"]
    assert scene.current is old


def test_a_worker_that_reads_nothing_does_not_hang_its_supervisor(scene: Scene) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert any(not scene.current.hand(ours) for _ in range(2000))  # it is told so at last, and soon
