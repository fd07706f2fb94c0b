"""Whichever process of a running job is killed, nothing that the job made is left (DESIGN §5).

The job is a real one: a child on a FUSE mount, whose grandchild forked twice, called setsid, ignores SIGTERM and keeps
reading the mount.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mountd import client
from runtime.job import runs
from runtime.job.runs import RunRecord
from runtime.workspace import WorkspaceFolder
from tests.runtime.job import jobs
from tests.support.waiting import until

if TYPE_CHECKING:
    import subprocess

CHILD = """
import os, signal, sys, time
mount, ready = sys.argv[1:]
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    data = open(os.path.join(mount, "a/0.bin"), "rb")
    with open(ready + ".half", "w") as file:
        file.write(str(os.getpid()))
    os.rename(ready + ".half", ready)
    while True:
        try:
            os.pread(data.fileno(), 4096, 0)
        except OSError:
            pass
        time.sleep(0.01)
os.wait()
signal.pause()
"""


@dataclass
class Job:
    workspace: WorkspaceFolder
    launcher: "subprocess.Popen[str]"
    record: RunRecord
    supervisor: int
    worker: int
    grandchild: int

    def pids(self) -> dict[str, int]:
        keeper, child = self.record.keeper_pid, self.record.child_pid
        assert keeper
        assert child
        ours = {"supervisor": self.supervisor, "worker": self.worker}
        return {"launcher": self.launcher.pid, "keeper": keeper, "child": child, **ours}

    def kill(self, *names: str) -> None:
        for name in names:
            os.kill(self.pids()[name], signal.SIGKILL)

    def assert_nothing_left(self) -> None:
        pids = [*self.pids().values(), self.grandchild]
        until(lambda: not jobs.marked(self.record.run_id), what="the end of all marked processes")
        until(lambda: not jobs.mounts_below(self.workspace.path), what="the end of the mount")
        until(lambda: all(map(jobs.is_gone, pids)), what="the end of every process of the job")
        assert not (runs.folder_of(self.workspace, self.record.run_id) / "inputs").exists()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    workspace = jobs.make_workspace(tmp_path)
    jobs.register_folder(workspace, "digits", tmp_path / "data")
    script, ready = tmp_path / "child.py", tmp_path / "ready"
    script.write_text(CHILD)
    launcher = jobs.start(
        workspace,
        *("run", "--input", "digits=digits", "--grace", "0.5", "--"),
        *("python3", str(script), "{inputs.digits}", str(ready)),
    )
    try:
        until(lambda: ready.exists() or launcher.poll() is not None, what="the start of the grandchild")
        assert launcher.poll() is None, launcher.communicate()
        until(lambda: jobs.only_run(workspace).status == "Running", what="the record of a running job")
        (mount,) = [each for each in client.mounts() if each.mountpoint.is_relative_to(workspace.path)]
        pids = mount.supervisor.pid, mount.worker.pid, int(ready.read_text())
        yield Job(workspace, launcher, jobs.only_run(workspace), *pids)
    finally:
        if launcher.poll() is None:
            launcher.kill()
        launcher.communicate()
        jobs.moorage(workspace, "run", "--", "true")  # cleans up behind a test that failed


@pytest.mark.fuse
@pytest.mark.parametrize(
    ("victim", "code", "line"),
    [
        ("supervisor", 125, "its supervisor (process"),
        ("keeper", 125, "the keeper (process"),
        ("child", 137, "killed by signal 9"),
        ("launcher", -9, ""),
    ],
)
def test_nothing_is_left_after_one_process_was_killed(job: Job, victim: str, code: int, line: str) -> None:
    job.kill(victim)
    _, said = job.launcher.communicate(timeout=30)
    assert job.launcher.returncode == code
    assert [each for each in said.splitlines() if each.startswith("moorage:") and line in each] or not line, said
    assert "Traceback" not in said
    until(lambda: not jobs.marked(job.record.run_id), what="the end of all marked processes")
    if victim == "launcher":
        assert runs.status_of(jobs.only_run(job.workspace)) == "Failed"
        assert jobs.moorage(job.workspace, "run", "--", "true").returncode == 0  # removes the empty folder, too
    job.assert_nothing_left()
    assert runs.read(job.workspace, job.record.run_id).status == "Failed"


@pytest.mark.fuse
@pytest.mark.parametrize("second", ["keeper", "supervisor", "worker"])
def test_the_next_run_cleans_up_after_two_processes_died_together(job: Job, second: str) -> None:
    job.kill("launcher", second)
    job.launcher.communicate(timeout=30)
    if second == "keeper":
        assert jobs.marked(job.record.run_id)  # nobody is there to end them: that is what the next run is for
    result = jobs.moorage(job.workspace, "run", "--", "true")
    assert result.returncode == 0, result.stderr
    assert f"cleaned up behind run '{job.record.run_id}'" in result.stderr
    job.assert_nothing_left()
    record = runs.read(job.workspace, job.record.run_id)
    assert (record.status, record.exit_code) == ("Failed", 125)
    assert "cleaned up" not in jobs.moorage(job.workspace, "run", "--", "true").stderr


@pytest.mark.fuse
def test_a_job_goes_on_when_the_worker_of_an_input_is_killed(job: Job) -> None:
    job.kill("worker")
    (mount,) = [each for each in client.mounts() if each.mountpoint.is_relative_to(job.workspace.path)]
    assert list((mount.mountpoint / "a").iterdir())  # answered by the next worker
    until(lambda: client.status(mount.mountpoint)["restarts"] == 1, what="the next worker")
    assert job.launcher.poll() is None
    os.kill(job.launcher.pid, signal.SIGTERM)
    job.launcher.communicate(timeout=30)
    job.assert_nothing_left()


@pytest.mark.fuse
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_launcher_ends_the_job(job: Job, number: int, code: int) -> None:
    os.kill(job.launcher.pid, number)
    job.launcher.communicate(timeout=30)
    assert job.launcher.returncode == code
    job.assert_nothing_left()
    assert runs.read(job.workspace, job.record.run_id).status == "Canceled"
