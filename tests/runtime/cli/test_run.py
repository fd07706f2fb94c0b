import json
from pathlib import Path

import pytest

from runtime.cli import call
from runtime.job import runs
from runtime.job.runs import InputRecord, OutputRecord, RunRecord
from runtime.job.spec import JobSpec
from runtime.workspace import WorkspaceFolder, init

COUNTERS = {
    "reads": {"count": 3, "bytes": 2048},
    "fetch": {"requests": 2, "bytes": 1024},
    "cache": {"hits": 1, "misses": 2},
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkspaceFolder:
    workspace = init(tmp_path / ".moorage")
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(workspace.path))
    return workspace


@pytest.fixture
def record(workspace: WorkspaceFolder) -> RunRecord:
    spec = JobSpec("exp_1_a", "exp", ("python", "train.py"), "/")
    given = InputRecord("digits", "digits", "mount", "mount", "/there", "id", 2, "abc", COUNTERS)
    kept = OutputRecord("model", "store", "p/", "/spool", "model", "registered", 3, 4096, "model@1")
    bad = OutputRecord("other", "store", "q/", "/spool", state="failed", error="somebody was there")
    made = runs.create(workspace, spec)
    return runs.write(workspace, made, status="Completed", exit_code=0, inputs=(given,), outputs=(kept, bad))


def test_a_record_survives_its_file(workspace: WorkspaceFolder, record: RunRecord) -> None:
    assert runs.read(workspace, "exp_1_a") == record
    assert runs.folder_of(workspace, "exp_1_a").stat().st_mode & 0o777 == 0o700


def test_show_tells_people_what_was_read_and_stored(record: RunRecord, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["runs", "show", record.run_id]) == 0
    told = capsys.readouterr().out
    assert "digits version 2 (mount) at /there, 2 KiB read, 1 KiB fetched" in told
    assert "model: 3 files, 4 KiB in store/p/" in told
    assert "registered as model@1" in told
    assert "other: somebody was there" in told


def test_show_as_json_has_the_counters(record: RunRecord, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["runs", "show", record.run_id, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["id"] == record.run_id
    assert document["inputs"][0]["counters"] == COUNTERS
    assert (document["outputs"][0]["files"], document["outputs"][0]["registered"]) == (3, "model@1")
    assert (document["status"], document["exit_code"]) == ("Completed", 0)


def test_list_shows_every_run_and_survives_a_damaged_one(
    workspace: WorkspaceFolder, record: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = runs.folder_of(workspace, "exp_2_b")
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    assert call(["runs", "list"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:3] == [record.run_id, "Completed", "0"]
    assert call(["runs", "list", "--json"]) == 0
    assert [each["id"] for each in json.loads(capsys.readouterr().out)] == [record.run_id]
    assert call(["runs", "show", "exp_2_b"]) == 3
    assert "not the record of a run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "logs", "resume"])
@pytest.mark.parametrize("name", ["nope", "../runs/exp_1_a"])
def test_a_run_that_is_not_there(
    record: RunRecord, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    assert record.run_id not in {command, name}
    assert call(["runs", command, name]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert f"no run '{name}'" in line


def test_a_run_that_is_still_going_cannot_be_resumed(
    workspace: WorkspaceFolder, record: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.take(workspace, record, status="Running")
    assert call(["runs", "resume", record.run_id]) == 3
    assert "still going" in capsys.readouterr().err
