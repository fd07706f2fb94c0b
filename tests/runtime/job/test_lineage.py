"""What the catalog knows of runs: told while they go and when they end, without secrets, and never at a job's cost."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.job import runs
from runtime.job.lineage import tell, without_secrets
from runtime.job.spec import JobSpec, new_run_id
from runtime.workspace import WorkspaceFolder, init
from tests.runtime.job.jobs import make_workspace, moorage, only_run, register_folder, start
from tests.support.postgres import Postgres
from tests.support.waiting import until

KEY = "A" * 86 + "=="


def lineage(workspace: WorkspaceFolder, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(moorage(workspace, "dataset", "show", name, "--json").stdout)["lineage"]
    return told


def test_a_run_is_told_with_what_it_read_and_made(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    run_and_look(workspace, tmp_path)


@pytest.mark.full
def test_a_run_is_told_to_the_catalog_of_a_team(tmp_path: Path, postgres: Postgres) -> None:
    workspace = init(tmp_path / ".moorage", postgres.url(postgres.make_database()))
    run_and_look(workspace, tmp_path)


def run_and_look(workspace: WorkspaceFolder, folder: Path) -> None:
    register_folder(workspace, "images", folder / "images")
    output = "out=workspaceblobstore/models/{run-id}:upload:register=model"
    train = 'echo learnt >"$out/model"; exit "$1"'
    asked = ["run", "--input", "data=images:download", "--output", output, "--experiment", "train", "--"]
    done = moorage(workspace, *asked, "bash", "-c", train, "train", "0", "--token", "s3cret")
    assert done.returncode == 0, done.stderr
    record = only_run(workspace)
    (maker,) = lineage(workspace, "model")["made_by"]
    assert (maker["id"], maker["output"], maker["status"], maker["exit_code"]) == (record.run_id, "out", "Completed", 0)
    assert (maker["started"], maker["ended"]) == (record.started, record.ended)
    assert maker["command"] == ["bash", "-c", train, "train", "0", "--token", "***"]
    assert maker["place"].endswith(f":{workspace.path}")
    assert [each["name"] for each in lineage(workspace, "model")["made_from"]] == ["images"]
    (reader,) = lineage(workspace, "images")["read_by"]
    assert (reader["id"], reader["input"], reader["mode"]) == (record.run_id, "data", "download")
    shown = moorage(workspace, "dataset", "show", "model").stdout
    assert f"made by      {record.run_id} (Completed {record.ended}), output 'out'\n" in shown
    assert "made from    images@1\n" in shown
    failed = moorage(workspace, *asked, "bash", "-c", train, "train", "3")
    assert failed.returncode == 3
    assert [each["status"] for each in lineage(workspace, "images")["read_by"]] == ["Failed", "Completed"]
    listed = json.loads(moorage(workspace, "dataset", "list", "--run", record.run_id, "--json").stdout)
    assert [each["name"] for each in listed] == ["images", "model"]


def test_a_run_that_goes_on_is_told_and_a_dead_launcher_has_failed(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    register_folder(workspace, "images", tmp_path / "images")
    with start(workspace, "run", "--input", "data=images:download", "--", "sleep", "60") as process:
        until(lambda: [each.status for each in runs.read_all(workspace)] == ["Running"], what="the job's start")
        (reader,) = lineage(workspace, "images")["read_by"]
        assert reader["status"] == "Running"
        process.kill()
        process.communicate(timeout=60)
    (reader,) = lineage(workspace, "images")["read_by"]
    assert reader["status"] == "Failed"
    moorage(workspace, "run", "--", "true")  # cleans up behind it
    (reader,) = lineage(workspace, "images")["read_by"]
    assert (reader["status"], reader["exit_code"]) == ("Failed", 125)


def test_a_catalog_that_is_lost_meanwhile_costs_a_line_and_not_the_job(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    register_folder(workspace, "images", tmp_path / "images")
    spoil = 'cat "$data"/b.bin >/dev/null && yes junk | head -c 9999 >"$MOORAGE_WORKSPACE/catalog.db"'
    done = moorage(workspace, "run", "--input", "data=images:download", "--", "bash", "-c", spoil)
    assert done.returncode == 0
    assert only_run(workspace).status == "Completed"
    said = [line for line in done.stderr.splitlines() if "catalog" in line]
    assert len(said) == 1, done.stderr
    assert "the catalog is not told of this run" in said[0]


def test_a_defect_in_telling_costs_a_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("one")

    workspace = make_workspace(tmp_path)
    monkeypatch.setattr("runtime.catalog.sql.Catalog.put_run", fail)
    record = runs.create(workspace, JobSpec(new_run_id(), "job", ("true",), str(tmp_path)))
    said: list[str] = []
    assert not tell(workspace, record, said.append)
    assert said == ["the catalog is not told of this run, by a defect in Moorage (ZeroDivisionError: one)"]


@pytest.mark.full
def test_the_password_of_the_catalog_is_not_for_the_job(tmp_path: Path, postgres: Postgres) -> None:
    workspace = init(tmp_path / ".moorage", postgres.url(postgres.make_database()))
    said = _environment(workspace)
    assert "PGPASSWORD" not in said
    plain = make_workspace(tmp_path / "plain")
    assert "PGPASSWORD=harbour" in _environment(plain)  # it is the script's own then


def _environment(workspace: WorkspaceFolder) -> str:
    done = moorage(workspace, "run", "--", "env", variables={"PGPASSWORD": "harbour"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["train.py", "--lr", "0.1", "--key-column", "id"], ["train.py", "--lr", "0.1", "--key-column", "id"]),
        (["train.py", "--password", "x", "--epochs", "3"], ["train.py", "--password", "***", "--epochs", "3"]),
        (["train.py", "--api-key=x", "DB_PASSWORD=y"], ["train.py", "--api-key=***", "DB_PASSWORD=***"]),
        (["train.py", "--token", "--verbose", "x"], ["train.py", "--token", "--verbose", "x"]),
        (["get", "https://a/b?sv=1&sig=abc%3D&x=1"], ["get", "https://a/b?sv=1&sig=***&x=1"]),
        (["get", "postgresql://u:pass@host/db"], ["get", "postgresql://u:***@host/db"]),
        (["use", KEY], ["use", "***"]),
        (["use", "of-the-environment"], ["use", "***"]),
    ],
)
def test_a_command_is_told_without_secrets(command: list[str], told: list[str]) -> None:
    assert list(without_secrets(command, {"AZURE_STORAGE_KEY": "of-the-environment"})) == told
