"""Jobs from Python: submitted, watched, and from their own inside."""

import os
import signal
import textwrap
from pathlib import Path

import pytest

from runtime import (
    Dataset,
    DatasetConsumptionConfig,
    Experiment,
    OutputFileDatasetConfig,
    Run,
    ScriptRunConfig,
    Workspace,
)
from runtime.errors import ActivityFailedException, RunEnvironmentException, UnknownNameError, UserErrorException
from runtime.job import runs
from runtime.workspace import init
from tests.runtime.job import jobs
from tests.support.content import make_tree
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _outside_of_any_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MOORAGE_RUN_ID", "MOORAGE_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    make_tree(tmp_path / "data", {"a.txt": 5, "b.txt": 6})
    return Workspace.of(init(tmp_path / ".moorage"))


def script(tmp_path: Path, text: str) -> Path:
    (tmp_path / "train.py").write_text(textwrap.dedent(text))
    return tmp_path


IN_JOB = """
    import os, sys
    from runtime import Run
    run = Run.get_context(allow_offline=False)
    data, out, ids = sys.argv[1:]
    assert run.input_datasets["digits"] == data == os.environ["DIGITS"], run.input_datasets
    assert run.output_datasets == {"model": out}, run.output_datasets
    assert run.input_datasets["ids"].to_path() == ["/a.txt", "/b.txt"]
    assert run.input_datasets["ids"].id == ids
    assert (run.experiment.name, run.get_status()) == ("exp", "Running")
    open(os.path.join(out, "names"), "w").write(",".join(sorted(os.listdir(data))))
    print("in the job", run.id)
"""


@pytest.mark.parametrize("mode", [pytest.param("mount", marks=pytest.mark.fuse), "download"])
def test_the_whole_job_from_python(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    dataset = Dataset.File.from_files(str(tmp_path / "data")).register(workspace, "digits")
    given = dataset.as_named_input("digits")
    output = OutputFileDatasetConfig("model").as_upload().register_on_complete("digits-model")
    source = script(tmp_path, IN_JOB)
    ids = DatasetConsumptionConfig("ids", (workspace, "digits"))
    data = given.as_mount() if mode == "mount" else given.as_download()
    config = ScriptRunConfig(source, "train.py", [data, output, ids])
    run = Experiment(workspace, "exp").submit(config, tags={"k": "v"})
    details = run.wait_for_completion(show_output=True)
    assert (run.status, details["exitCode"], details["tags"]) == ("Completed", 0, {"k": "v"})
    assert capsys.readouterr().out == f"in the job {run.id}\n"
    assert [each["consumptionDetails"]["inputName"] for each in details["inputDatasets"]] == ["digits", "ids"]
    assert [each["dataset"]["name"] for each in details["inputDatasets"]] == ["digits", "digits"]
    assert details["outputDatasets"][0]["dataset"]["registered"] == "digits-model@1"
    model = Dataset.get_by_name(workspace, "digits-model")
    (path,) = model.download(str(tmp_path / "fetched"))
    assert Path(path).read_text() == "a.txt,b.txt"
    assert output.as_input("again").spec_in(workspace.folder).mode == "mount"
    assert [each.id for each in Experiment(workspace, "exp").get_runs()] == [run.id]
    assert jobs.mounts_below(workspace.folder.path) == []


def test_a_failed_run_raises_with_its_reason(workspace: Workspace, tmp_path: Path) -> None:
    config = ScriptRunConfig(script(tmp_path, "raise SystemExit(5)"), "train.py")
    run = Experiment(workspace, "exp").submit(config)
    with pytest.raises(ActivityFailedException, match=f"run '{run.id}' failed: the command returned 5"):
        run.wait_for_completion()
    assert run.wait_for_completion(raise_on_error=False)["status"] == "Failed"


def test_a_run_that_could_not_start_says_why(workspace: Workspace, tmp_path: Path) -> None:
    given = DatasetConsumptionConfig("d", (workspace, "nope")).as_mount()
    run = Experiment(workspace, "exp").submit(ScriptRunConfig(script(tmp_path, ""), "train.py", [given]))
    with pytest.raises(ActivityFailedException, match="no dataset 'nope'"):
        run.wait_for_completion()
    assert run.get_details()["exitCode"] == 68


def test_submit_returns_at_once_and_cancel_ends_the_job(workspace: Workspace, tmp_path: Path) -> None:
    source = script(tmp_path, "import signal; print('up', flush=True); signal.pause()")
    run = Experiment(workspace, "exp").submit(ScriptRunConfig(source, "train.py"))
    assert run.get_status() in {"NotStarted", "Preparing", "Running"}
    until(lambda: "up" in runs.log_path(workspace.folder, run.id).read_text(), what="the start of the child")
    run.cancel()
    with pytest.raises(ActivityFailedException, match="canceled"):
        run.wait_for_completion()
    assert not jobs.marked(run.id)


def test_a_launcher_that_died_is_a_failed_run(workspace: Workspace, tmp_path: Path) -> None:
    source = script(tmp_path, "import signal; print('up', flush=True); signal.pause()")
    run = Experiment(workspace, "exp").submit(ScriptRunConfig(source, "train.py"))
    until(lambda: "up" in runs.log_path(workspace.folder, run.id).read_text(), what="the start of the child")
    launcher = runs.read(workspace.folder, run.id).launcher
    assert launcher
    os.kill(launcher.pid, signal.SIGKILL)
    with pytest.raises(ActivityFailedException, match="its launcher ended without a word"):
        run.wait_for_completion()
    until(lambda: not jobs.marked(run.id), what="the end of the child")


def test_an_offline_run_has_all_three() -> None:
    run = Run.get_context()
    assert run.id.startswith("OfflineRun_")
    assert (run.input_datasets, run.output_datasets, run.experiment.name) == ({}, {}, "offline")
    assert run.get_details()["status"] == run.status == "Running"
    with pytest.raises(UserErrorException, match="no end to wait for"):
        run.wait_for_completion()
    with pytest.raises(RunEnvironmentException, match="MOORAGE_RUN_ID is not set"):
        Run.get_context(allow_offline=False)


def test_a_run_that_is_not_there(workspace: Workspace) -> None:
    with pytest.raises(UnknownNameError, match="no run 'exp_1_a'"):
        Run(Experiment(workspace, "exp"), "exp_1_a").get_status()
    with pytest.raises(UserErrorException, match="no name for an experiment"):
        Experiment(workspace, "a/b")
    with pytest.raises(UserErrorException, match="str cannot be submitted"):
        Experiment(workspace, "exp").submit("train.py")  # type: ignore[arg-type] # wrong on purpose
