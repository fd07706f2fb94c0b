"""Whole jobs by the command line, without a mount: exit codes, environment, outputs."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import datastores
from runtime.catalog import open_catalog
from runtime.consumption import InputSpec
from runtime.errors import JobError, UnknownNameError
from runtime.job import launcher, processes, runs
from runtime.job.spec import JobSpec, new_run_id
from runtime.workspace import WorkspaceFolder
from tests.runtime.job import jobs
from tests.support.waiting import until

OUTPUT = ("--output", "model=workspaceblobstore/models/{run-id}:register=model")


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return jobs.make_workspace(tmp_path)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_the_exit_code_is_the_childs(workspace: WorkspaceFolder, script: str, code: int) -> None:
    result = jobs.moorage(workspace, "run", "--", "sh", "-c", f"echo out; echo err >&2; {script}")
    assert (result.returncode, result.stdout) == (code, "out\n")
    said = f"moorage: the command was killed by signal {code - 128}\n" if code > 128 else ""
    assert result.stderr == "err\n" + said
    record = jobs.only_run(workspace)
    assert (record.status, record.exit_code) == ("Completed" if code == 0 else "Failed", code)
    assert jobs.moorage(workspace, "runs", "logs", record.run_id).stdout == "out\nerr\n" + said


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("--", "no-such-command"), 68, "no-such-command: command not found on PATH"),
        (("--", "./no-such-file"), 68, "./no-such-file: no such command in"),
        (("--", "/etc/passwd"), 69, "/etc/passwd: not executable"),
        (("--input", "d=nope", "--", "true"), 68, "no dataset 'nope'"),
        (("--input", "d=digits@7", "--", "true"), 68, "dataset 'digits' has no version 7"),
        (("--input", "d", "--", "true"), 67, "--input 'd': write NAME=DATASET"),
        (("--output", "m=nowhere/x", "--", "true"), 68, "nowhere"),
        (
            ("--output", "m=web/x:upload", "--", "true"),
            67,
            "output 'm': https://example.org/a/: a web server cannot be",
        ),
        (("--", "echo", "{inputs.d}"), 67, "'{inputs.d}' in the command"),
        (("--grace", "-1", "--", "true"), 67, "--grace -1"),
        (("--grace", "soon", "--", "true"), 66, "not a valid float"),
        (("--no-such-option", "--", "true"), 66, "No such option"),
        ((), 66, "Missing argument"),
    ],
)
def test_a_job_that_never_starts_says_why_in_one_line(
    workspace: WorkspaceFolder, tmp_path: Path, arguments: tuple[str, ...], code: int, line: str
) -> None:
    if "d=digits@7" in arguments:
        jobs.register_folder(workspace, "digits", tmp_path / "data", {"a": 1})
    datastores.add(workspace, datastores.DatastoreRecord("web", "https://example.org/a/"))
    result = jobs.moorage(workspace, "run", *arguments)
    assert result.returncode == code, result.stderr
    assert line in result.stderr
    assert code == 66 or len(result.stderr.splitlines()) == 1  # click shows the usage first
    assert not list(workspace.runs_path.iterdir())
    assert not list(workspace.spool_path.iterdir())


def test_the_child_sees_the_jobs_variables_and_no_storage_secret(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    jobs.register_folder(workspace, "digits", tmp_path / "data", {"a": 10})
    secrets = {
        "AZURE_STORAGE_KEY": "hush-1",
        "AZURE_STORAGE_CONNECTION_STRING": "hush-2",
        "AZURE_CLIENT_SECRET": "hush-3",
    }
    result = jobs.moorage(workspace, "run", "--input", "d=digits:direct", *OUTPUT, "--", "env", variables=secrets)
    assert result.returncode == 120  # it wrote nothing, so nothing could be registered
    environment = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    record = jobs.only_run(workspace)
    assert environment["MOORAGE_RUN_ID"] == environment["AZUREML_RUN_ID"] == record.run_id
    assert environment["d"] == environment["D"] == record.inputs[0].dataset_id
    assert Path(environment["model"]) == workspace.spool_path / record.run_id / "model"
    everything = (
        result.stdout
        + result.stderr
        + "".join(path.read_text() for path in (workspace.runs_path / record.run_id).rglob("*") if path.is_file())
    )
    assert "hush" not in everything


def test_a_downloaded_input_has_the_bytes_and_is_gone_afterwards(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    jobs.register_folder(workspace, "digits", tmp_path / "data")
    result = jobs.moorage(
        workspace,
        "run",
        "--input",
        "d=digits:download",
        "--",
        "cmp",
        "{inputs.d}/a/0.bin",
        "a/0.bin",
        cwd=tmp_path / "data",
    )
    assert result.returncode == 0
    record = jobs.only_run(workspace)
    log = runs.log_path(workspace, record.run_id)
    assert record.inputs[0].counters["fetch"]["bytes"] == sum(jobs.FILES.values())
    assert sorted(path.name for path in log.parents[1].iterdir()) == ["run.json", "user_logs"]


def test_outputs_of_a_success_are_stored_marked_and_registered(workspace: WorkspaceFolder) -> None:
    script = 'mkdir -p "$model/sub"; echo one > "$model/a"; echo three > {outputs.model}/sub/b'
    for version in (1, 2):
        result = jobs.moorage(workspace, "run", *OUTPUT, "--", "sh", "-c", script)
        assert (result.returncode, result.stderr) == (0, "")
        record = list(runs.read_all(workspace))[-1]
        assert record.outputs[0].registered == f"model@{version}"
        assert (record.outputs[0].files, record.outputs[0].bytes) == (2, 10)
        stored = workspace.blobstore_path / "models" / record.run_id
        assert (stored / "a").read_text() + (stored / "sub/b").read_text() == "one\nthree\n"
        commits = (workspace.blobstore_path / ".moorage" / "outputs").rglob("commit.json")
        assert f"models/{record.run_id}/" in {json.loads(path.read_text())["prefix"] for path in commits}
        with open_catalog(workspace) as catalog:
            assert catalog.get("model", version).files == 2
    assert not list(workspace.spool_path.iterdir())


@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$"])
def test_outputs_of_a_failure_stay_reachable_and_are_not_registered(workspace: WorkspaceFolder, script: str) -> None:
    result = jobs.moorage(
        workspace, "run", *OUTPUT, "--output", "empty", "--", "sh", "-c", f'echo half > "$model/a"; {script}'
    )
    record = jobs.only_run(workspace)
    folder = workspace.spool_path / record.run_id / "model"
    said = [line for line in result.stderr.splitlines() if "neither stored nor registered" in line]
    assert said == [
        f"moorage: output 'model' of the failed job is neither stored nor registered; its files are in {folder}"
    ]
    assert (folder / "a").read_text() == "half\n"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert not list(workspace.blobstore_path.iterdir())
    with open_catalog(workspace) as catalog, pytest.raises(UnknownNameError):
        catalog.get("model")
    refused = jobs.moorage(workspace, "runs", "resume", record.run_id)
    assert (refused.returncode, "run it again" in refused.stderr) == (3, True)


def test_an_output_in_the_way_of_another_is_120_and_can_be_resumed(workspace: WorkspaceFolder) -> None:
    taken = workspace.blobstore_path / "fixed" / "a"
    taken.parent.mkdir()
    taken.write_text("somebody else's\n")
    output = ("--output", "m=workspaceblobstore/fixed:register=model")
    result = jobs.moorage(workspace, "run", *output, "--", "sh", "-c", 'echo mine > "$m/a"; echo too > "$m/b"')
    record = jobs.only_run(workspace)
    assert result.returncode == 120
    assert f"moorage runs resume {record.run_id}" in result.stderr.splitlines()[-1]
    assert taken.read_text() == "somebody else's\n"
    assert not (taken.parent / "b").exists()
    again = jobs.moorage(workspace, "runs", "resume", record.run_id)
    assert again.returncode == 120, again.stderr
    taken.unlink()
    resumed = jobs.moorage(workspace, "runs", "resume", record.run_id)
    assert resumed.returncode == 0, resumed.stderr
    assert taken.read_text() == "mine\n"
    record = jobs.only_run(workspace)
    assert (record.status, record.exit_code, record.outputs[0].registered) == ("Completed", 0, "model@1")
    assert not list(workspace.spool_path.iterdir())


def test_a_child_that_ends_well_on_sigterm_is_a_failed_job_all_the_same(
    workspace: WorkspaceFolder, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'exit 0' TERM; echo x > \"$model/a\"; touch {ready}; while :; do sleep 0.05; done"
    with jobs.start(workspace, "run", *OUTPUT, "--grace", "20", "--", "sh", "-c", script) as launcher:
        until(ready.exists, what="the start of the child")
        os.kill(launcher.pid, signal.SIGTERM)
        _, err = launcher.communicate(timeout=30)
    assert launcher.returncode == 143
    assert "neither stored nor registered" in err
    assert jobs.only_run(workspace).status == "Canceled"


def test_a_dry_run_prints_the_layout_and_makes_nothing(workspace: WorkspaceFolder) -> None:
    result = jobs.moorage(
        workspace, "run", *OUTPUT, "--dry-run", "--", "echo", "{outputs.model}", variables={"AZURE_STORAGE_KEY": "hush"}
    )
    assert result.returncode == 0
    assert f"command  echo {workspace.spool_path}/job_" in result.stdout
    assert "removed  AZURE_STORAGE_KEY" in result.stdout
    assert "hush" not in result.stdout
    assert not list(workspace.runs_path.iterdir())
    assert not list(workspace.spool_path.iterdir())


@pytest.mark.fuse
def test_a_mounted_input_counts_what_was_read(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    jobs.register_folder(workspace, "digits", tmp_path / "data")
    result = jobs.moorage(
        workspace, "run", "--input", "d=digits", "--", "sh", "-c", 'cat "$d/a/0.bin" | wc -c; ls "$d"'
    )
    assert (result.returncode, result.stdout.split()) == (0, ["100000", "a", "b.bin"])
    (given,) = jobs.shown(workspace, jobs.only_run(workspace).run_id)["inputs"]
    assert given["counters"]["reads"]["bytes"] >= 100_000
    assert set(given["counters"]) == {"reads", "fetch", "cache"}
    assert jobs.mounts_below(workspace.path) == []


@pytest.mark.fuse
def test_one_input_that_cannot_be_mounted_takes_the_others_down(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    jobs.register_folder(workspace, "digits", tmp_path / "data")
    spec = tmp_path / "taken"
    spec.mkdir()
    (spec / "file").touch()
    bad = InputSpec("bad", "digits", "mount", str(spec))
    job = JobSpec(new_run_id(), "job", ("true",), str(tmp_path), (InputSpec("good", "digits"), bad))
    code = f"""
import sys
from pathlib import Path
from runtime.errors import JobError
from runtime.job.launcher import launch
from runtime.job.spec import JobSpec
from runtime.workspace import WorkspaceFolder
try:
    launch(WorkspaceFolder(Path({str(workspace.path)!r})), JobSpec.from_json({job.to_json()!r}))
except JobError as error:
    print(error.exit_code, error)
"""
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=jobs.environment(workspace)
    )
    assert told.stdout.startswith("70 "), told  # 64 + 6: a mount point that cannot be used
    assert str(spec) in told.stdout
    assert jobs.mounts_below(workspace.path) == []
    assert jobs.only_run(workspace).status == "Failed"
    assert (spec / "file").exists()


def test_a_launcher_killed_while_it_stores_outputs_leaves_a_run_that_can_be_resumed(workspace: WorkspaceFolder) -> None:
    result = jobs.moorage(workspace, "run", *OUTPUT, "--", "sh", "-c", 'echo x > "$model/a"; exit 1')
    assert result.returncode == 1
    record = jobs.only_run(workspace)
    dead = processes.Identity(2**22 + 1, socket.gethostname(), "an earlier boot", 1)
    # As if the child had succeeded and the launcher had died before the first byte was stored.
    changes = {"status": "Finalizing", "exit_code": None, "child_exit_code": 0, "launcher": dead, "error": None}
    runs.write(workspace, record, **changes)
    assert runs.status_of(jobs.only_run(workspace)) == "Failed"
    result = jobs.moorage(workspace, "run", "--", "true")
    assert f"cleaned up behind run '{record.run_id}'" in result.stderr
    left = runs.read(workspace, record.run_id)
    assert (left.status, left.exit_code) == ("Failed", 125)
    assert f"moorage runs resume {record.run_id}" in str(left.error)
    assert jobs.moorage(workspace, "runs", "resume", record.run_id).returncode == 0
    assert runs.read(workspace, record.run_id).outputs[0].registered == "model@1"


def test_without_fuse_a_mount_becomes_a_download_with_the_same_path_and_bytes(
    workspace: WorkspaceFolder, tmp_path: Path
) -> None:
    jobs.register_folder(workspace, "digits", tmp_path / "data")
    hidden = "from mountd import client; client.why_no_fuse = lambda: 'no /dev/fuse here'; "
    command = [
        sys.executable,
        "-P",
        "-c",
        f"{hidden}from runtime.cli import main; main()",
        "run",
        "--input",
        "d=digits",
    ]
    result = subprocess.run(
        [*command, "--", "cmp", "{inputs.d}/a/0.bin", "a/0.bin"],
        cwd=tmp_path / "data",
        env=jobs.environment(workspace),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == "moorage: input 'd' is downloaded instead of mounted: no /dev/fuse here\n"
    given = jobs.only_run(workspace).inputs[0]
    assert (given.asked, given.mode) == ("mount", "download")
    assert not Path(given.value).exists()


def test_a_record_that_cannot_be_written_any_more_does_not_cost_the_job(workspace: WorkspaceFolder) -> None:
    # Again and again, because the record may be written while its folder goes.
    remove = (
        f"while [ -e {workspace.runs_path}/$MOORAGE_RUN_ID ]; do rm -rf {workspace.runs_path}/$MOORAGE_RUN_ID; done"
    )
    script = f"{remove} 2>/dev/null; echo trained > $model/weights"
    result = jobs.moorage(workspace, "run", *OUTPUT, "--", "sh", "-c", script)
    assert result.returncode == 0, result.stderr
    [line] = result.stderr.splitlines()
    assert "run.json: No such file or directory; the job goes on" in line
    with open_catalog(workspace) as catalog:
        assert catalog.get("model").files == 1


def test_a_signal_that_broke_an_input_on_its_way_is_the_signals_code(
    workspace: WorkspaceFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.register_folder(workspace, "digits", tmp_path / "data", {"a": 10})

    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C, which also hits what has no session of its own yet
        raise BrokenPipeError

    monkeypatch.setattr("mountd.download.download", interrupted)
    monkeypatch.setattr(processes, "harden", lambda: 0)
    monkeypatch.setattr(processes, "become_subreaper", lambda: None)
    spec = JobSpec(new_run_id(), "job", ("true",), str(tmp_path), (InputSpec("d", "digits", "download"),))
    with pytest.raises(JobError, match="stopped by signal 2 before the command was started") as caught:
        launcher.launch(workspace, spec, passthrough=False)
    assert caught.value.exit_code == 130
    assert runs.read(workspace, spec.run_id).status == "Canceled"


def test_outputs_of_a_failed_job_are_stored_only_when_that_was_asked_for(workspace: WorkspaceFolder) -> None:
    output = ("--output", "m=workspaceblobstore/{run-id}:register=made")
    command = ("--", "sh", "-c", 'echo 1 > "$m/a"; exit 3')
    for flags, versions in (((), 0), (("--outputs-of-failed-jobs",), 1)):
        result = jobs.moorage(workspace, "run", *output, *flags, *command)
        assert result.returncode == 3, result.stderr
        with open_catalog(workspace) as catalog:
            assert len(catalog.versions("made")) == versions
    assert sorted(record.status for record in runs.read_all(workspace)) == ["Failed", "Failed"]
