"""Outputs of mode mount in whole jobs: what the script sees, what is in the store, and what is registered."""

import os
import signal
import sys
from pathlib import Path

import pytest

from mountd import client
from mountd.errors import MountdError
from runtime.workspace import WorkspaceFolder
from tests.runtime.job import jobs
from tests.support.mounts import mounts_below
from tests.support.waiting import until

pytestmark = pytest.mark.fuse

OUTPUT = ("--output", "model=workspaceblobstore/m:mount:register=model")


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return jobs.make_workspace(tmp_path)


def stored(workspace: WorkspaceFolder) -> dict[str, bytes]:
    root = next(workspace.path.rglob("m"), workspace.path / "none")
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def versions(workspace: WorkspaceFolder) -> list[str]:
    done = jobs.moorage(workspace, "dataset", "list")
    return [line for line in done.stdout.splitlines() if "model" in line]


def test_a_mounted_output_is_a_mount_and_registered_when_the_script_succeeded(workspace: WorkspaceFolder) -> None:
    script = 'mountpoint -q "$model" && mkdir "$model/d" && echo 1 >"$model/d/tmp" && mv "$model/d/tmp" "$model/d/x"'
    result = jobs.moorage(workspace, "run", *OUTPUT, "--", "sh", "-c", script)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    record = jobs.only_run(workspace)
    assert (record.outputs[0].state, record.outputs[0].files, record.outputs[0].registered) == (
        "registered",
        1,
        "model@1",
    )
    assert stored(workspace) == {"d/x": b"1\n"}
    assert versions(workspace)
    assert mounts_below(workspace.path) == set()
    assert not list(workspace.spool_path.iterdir())
    assert sorted(path.name for path in (workspace.runs_path / record.run_id).iterdir() if path.is_dir()) == [
        "user_logs"
    ]


def test_files_of_a_failed_job_can_be_had_and_are_not_registered(workspace: WorkspaceFolder) -> None:
    result = jobs.moorage(workspace, "run", *OUTPUT, "--", "sh", "-c", 'echo 1 >"$model/x"; exit 3')
    assert result.returncode == 3
    assert "output 'model' of the failed job is not registered; its files are in workspaceblobstore/m/" in result.stderr
    assert stored(workspace) == {"x": b"1\n"}
    assert versions(workspace) == []
    assert not list(workspace.path.rglob("commit.json"))
    assert not list(workspace.spool_path.iterdir())


def test_without_its_driver_a_mounted_output_is_staged_and_one_line_says_so(
    workspace: WorkspaceFolder, tmp_path: Path
) -> None:
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison/pyfuse3.py").write_text("raise ImportError('none here')")
    path = os.pathsep.join((str(tmp_path / "poison"), jobs.environment(workspace)["PYTHONPATH"]))
    command = ("sh", "-c", '! mountpoint -q "$model" && echo 1 >"$model/x"')
    result = jobs.moorage(workspace, "run", *OUTPUT, "--", *command, variables={"PYTHONPATH": path})
    assert result.returncode == 0, result.stderr
    (line,) = result.stderr.splitlines()
    assert "output 'model' is staged, and stored when the job ends: the driver pyfuse3 cannot be loaded" in line
    assert stored(workspace) == {"x": b"1\n"}


_THROUGH_A_DEATH = """
import os, sys, time
from pathlib import Path
model, signs = Path(os.environ["model"]), Path(sys.argv[1])
(model / "before").write_bytes(b"before")
(signs / "written").touch()
end = time.monotonic() + 40
while not (signs / "back").exists() and time.monotonic() < end:
    time.sleep(0.01)
assert (model / "before").read_bytes() == b"before"
(model / "after").write_bytes(b"after")
"""


def test_a_job_goes_on_when_the_worker_of_its_output_is_killed(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    command = (sys.executable, "-c", _THROUGH_A_DEATH, str(tmp_path))
    with jobs.start(workspace, "run", *OUTPUT, "--", *command) as process:
        until((tmp_path / "written").exists, what="the first file")
        (record,) = (each for each in client.mounts() if each.mountpoint.is_relative_to(workspace.path))
        os.kill(record.worker.pid, signal.SIGKILL)
        until(lambda: _restarts(record.mountpoint) == 1, what="the next worker")
        (tmp_path / "back").touch()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert stored(workspace) == {"before": b"before", "after": b"after"}


def _restarts(mountpoint: Path) -> int:
    try:
        return int(client.status(mountpoint)["restarts"]) if os.path.ismount(mountpoint) else -1
    except (MountdError, OSError):
        return -1


def test_what_the_store_refuses_is_code_120_and_resumed_without_a_mount(workspace: WorkspaceFolder) -> None:
    script = (
        'echo 1 >"$model/x"; mkdir -p "$STORE/m/x"; touch "$STORE/m/x/y"'  # somebody else makes a folder of this name
    )
    store = workspace.path.parent / "store"
    store.mkdir()
    jobs.moorage(workspace, "datastore", "add", "place", store.as_uri() + "/")
    output = ("--output", "model=place/m:mount:register=model")
    command = ("sh", "-c", script)
    result = jobs.moorage(workspace, "run", *output, "--", *command, variables={"STORE": str(store)})
    assert result.returncode == 120, result.stderr
    record = jobs.only_run(workspace)
    assert f"moorage runs resume {record.run_id}" in result.stderr
    (store / "m/x/y").unlink()
    (store / "m/x").rmdir()
    again = jobs.moorage(workspace, "runs", "resume", record.run_id)
    assert again.returncode == 0, again.stderr
    assert (store / "m/x").read_bytes() == b"1\n"
    assert jobs.only_run(workspace).outputs[0].registered == "model@1"
    assert not list(workspace.spool_path.iterdir())
