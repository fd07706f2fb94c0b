"""Run, Experiment and Model: logging, children, tags, files and models, in a job, from outside and offline."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import Dataset, Experiment, Model, Run, ScriptRunConfig, Workspace
from runtime.errors import ActivityFailedException, UnknownNameError, UserErrorException
from runtime.job import leftovers
from runtime.workspace import init
from tests.support.content import make_tree

ROOT = Path(__file__).parents[3]
IN_JOB = """
import os, sys
from runtime import Run
run = Run.get_context()
if os.fork() == 0:
    Run.get_context().log("loss", 3.5)
    os._exit(0)
os.wait()
run.log("loss", 2.5, step=1)
run.log_row("curve", x=1, y=2)
os.mkdir("outputs/sub")  # outputs itself is there
open("outputs/model.txt", "w").write("the model")
open("outputs/sub/more.txt", "w").write("more")
run.upload_file("outputs/sub/more.txt", "outputs/sub/more.txt")
print(run.register_model("net", "outputs/model.txt", tags={"stage": "new"}).id)
with run.child_run("fold 1") as child:
    child.log("score", float("nan"))
run.tag("k", 1)
if sys.argv[1] == "fail":
    run.fail("it diverged")
sys.exit(int(sys.argv[1]) if sys.argv[1].isdecimal() else 0)
"""


@pytest.fixture(autouse=True)
def _outside_of_any_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MOORAGE_RUN_ID", "MOORAGE_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.of(init(tmp_path / ".moorage"))


@pytest.fixture
def experiment(workspace: Workspace) -> Experiment:
    return Experiment(workspace, "exp")


@pytest.mark.parametrize(("ending", "reason"), [("0", None), ("7", "the command returned 7"), ("fail", "it diverged")])
def test_a_job_logs_and_keeps_what_it_left_however_it_ends(
    experiment: Experiment, tmp_path: Path, ending: str, reason: str | None
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").write_text(IN_JOB)
    run = experiment.submit(ScriptRunConfig(tmp_path / "src", "train.py", [ending]), tags={"from": "outside"})
    details = run.wait_for_completion(raise_on_error=False)
    assert (details["status"], details.get("error", {}).get("error", {}).get("message")) == (
        "Failed" if reason else "Completed",
        reason,
    ), run.get_details_with_logs()["logFiles"]
    assert run.get_metrics() == {"loss": [3.5, 2.5], "curve": {"x": 1, "y": 2}}
    assert run.get_file_names() == ["outputs/model.txt", "outputs/sub/more.txt", "user_logs/std_log.txt"]
    told = "moorage: it diverged\n" if ending == "fail" else ""
    assert run.get_details_with_logs()["logFiles"] == {"user_logs/std_log.txt": f"net:1\n{told}"}
    assert details["runDefinition"]["arguments"] == [ending]
    assert run.get_tags() == {"from": "outside", "k": "1"}
    (child,) = run.get_children()
    assert (child.display_name, child.status, child.parent and child.parent.id) == ("fold 1", "Completed", run.id)
    assert np.isnan(run.get_metrics(recursive=True)[child.id]["score"])
    assert [each.id for each in experiment.get_runs()] == [run.id]
    assert len(list(experiment.get_runs(include_children=True))) == 2
    run.download_file("outputs/model.txt", "there/model")
    run.download_files("outputs/sub", "all", append_prefix=False)
    assert Path("there/model").read_text() + Path("all/more.txt").read_text() == "the modelmore"


def test_a_run_of_a_notebook(experiment: Experiment, tmp_path: Path) -> None:
    run = experiment.start_logging()
    run.log("Category", "Red")
    run.log_list("Fibonacci", (each * 2 for each in (1, 2, 3)))
    run.log_table("Sine", {"angle": [0.0, 1.0], "sine": [0.0, 0.84]})
    (tmp_path / "a.png").write_bytes(b"png")
    run.log_image("a/b <c>", path=tmp_path / "a.png")
    metrics = Run(experiment, run.id).get_metrics()
    (image,) = (name for name in run.get_file_names() if name.endswith(".png"))
    assert metrics["a/b <c>"] == f"aml://artifactId/ExperimentRun/dcid.{run.id}/{image}"
    assert (metrics["Category"], metrics["Fibonacci"]) == ("Red", [2, 4, 6])
    assert (run.get_metrics("Category"), run.get_metrics("nothing")) == ({"Category": "Red"}, {})
    with pytest.raises(UserErrorException, match=r"end it by complete\(\)"):
        run.wait_for_completion()
    assert (run.status, run.number, run.type, run.get_details()["status"]) == ("Running", 1, None, "Running")
    run.complete()
    run.cancel()  # a run that has ended keeps its end
    assert run.wait_for_completion()["status"] == "Completed"
    with pytest.raises(ZeroDivisionError), experiment.start_logging() as failing:
        _ = 1 / 0
    assert (failing.status, failing.number) == ("Failed", 2)
    with pytest.raises(ActivityFailedException, match="ZeroDivisionError: division by zero"):
        failing.wait_for_completion()


def test_tags_and_properties_select_runs(experiment: Experiment) -> None:
    first, second = experiment.start_logging(), experiment.start_logging()
    first.add_properties({"author": "me"})
    with pytest.raises(UserErrorException, match="'author' is 'me' already"):
        first.add_properties({"author": "you"})
    first.tag("quality", "great")
    first.tag("quality", "fantastic")
    first.tag("worth another look")
    second.set_tags({"quality": "poor", "n": 1})
    second.remove_tags("n")
    assert first.get_tags() == {"quality": "fantastic", "worth another look": None}
    assert second.tags == {"quality": "poor"}

    def found(**filters: object) -> list[str]:
        return [run.id for run in experiment.get_runs(**filters)]  # type: ignore[arg-type] # any of them

    assert found() == [second.id, first.id]
    assert found(properties={"author": "me"}, tags={"quality": "fantastic"}) == [first.id]
    assert found(tags="worth another look") == found(tags=["quality", {"quality": "fantastic"}]) == [first.id]
    assert (found(status="Completed"), found(type="azureml.scriptrun")) == ([], [])
    second.complete()
    assert found(status="Completed") == [second.id]
    with pytest.raises(UserErrorException, match="list is no text"):
        first.tag("a", [1])


def test_children(experiment: Experiment) -> None:
    with experiment.start_logging() as parent:
        made = parent.create_children(tag_key="fold", tag_values=[1, 2])
        assert [child.status for child in made] == ["NotStarted", "NotStarted"]
        made[0].start()
        assert made[0].status == "Running"
        for at, child in enumerate(made):
            child.log("score", at)
            child.complete()
    assert [child.get_tags() for child in parent.get_children(tags={"fold": 2})] == [{"fold": "2"}]
    assert parent.get_metrics(recursive=True) == {parent.id: {}, made[0].id: {"score": 0}, made[1].id: {"score": 1}}
    below = made[0].child_run("deep").child_run("deeper")
    assert [child.id for child in parent.get_children()] == [made[1].id, made[0].id]
    assert {child.display_name for child in parent.get_children(recursive=True)} >= {"deep", "deeper"}
    assert below.parent
    assert below.parent.display_name == "deep"
    assert len(parent.create_children(count=3)) == 3
    with pytest.raises(UserErrorException, match="give either count"):
        parent.create_children()
    with pytest.raises(UserErrorException, match="no id for a run"):
        parent.child_run(run_id="../x")
    with pytest.raises(UserErrorException, match="already"):
        parent.child_run(run_id=made[0].id)


def test_a_run_whose_process_died_has_failed(workspace: Workspace) -> None:
    code = (
        "import sys; from runtime import *; r = Experiment(Workspace.from_config(), 'exp').start_logging(); print(r.id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=-1, check=True
    )
    run = Run.get(workspace, done.stdout.decode().strip())
    assert run.status == "Failed"
    said: list[str] = []
    leftovers.clean(workspace.folder, said.append)
    assert said == []
    with pytest.raises(ActivityFailedException, match=r"ended without run.complete\(\)"):
        run.wait_for_completion()


def test_fail_from_outside_ends_the_job(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import signal; signal.pause()")
    run = experiment.submit(ScriptRunConfig(tmp_path, "train.py"))
    run.fail("no hope", "E1")
    assert run.status == "Failed"
    details = run.wait_for_completion(raise_on_error=False)
    assert (details["status"], run.status) == ("Failed", "Failed"), str(details)
    assert details["error"]["error"]["message"] == "E1: no hope"


def test_an_offline_run_keeps_what_it_logs_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.get_context()
    assert (run.get_file_names(), run.get_metrics(), list(tmp_path.iterdir())) == ([], {}, [])
    run.log("loss", 1.5)
    run.log("loss", 0.5)
    run.upload_file("a.txt", __file__)
    place = tmp_path / "outputs" / run.id
    assert capsys.readouterr().err == f"moorage: no job around this process: what it logs is kept in {place}\n"
    assert (run.get_metrics(), run.get_file_names()) == ({"loss": [1.5, 0.5]}, ["a.txt"])
    run.tag("a")
    run.add_properties({"b": 2})
    with run.child_run("c") as child:
        child.log("x", 1)
    assert [each.status for each in run.get_children()] == ["Completed"]
    assert (run.get_tags(), run.get_properties(), child.display_name) == ({"a": None}, {"b": "2"}, "c")
    run.complete()
    assert (run.status, run.number, run.parent) == ("Completed", 0, None)
    capsys.readouterr()
    (tmp_path / "file").touch()
    monkeypatch.setattr(run, "_place", tmp_path / "file")
    run.log("loss", 0.25)
    run.log("loss", 0.25)
    assert capsys.readouterr().err.count("metric 'loss' is not kept") == 1


def test_a_wrong_value_or_path_is_one_clear_line(experiment: Experiment) -> None:
    run = experiment.start_logging()
    for call, text in (
        (lambda: run.log("m", [1, 2]), "a list is logged by log_list"),
        (lambda: run.log("m", 1, step=1.5), "no whole number"),  # type: ignore[arg-type] # wrong on purpose
        (lambda: run.log_image("m"), "give either path or plot"),
        (lambda: run.log_image("m", path="nothing.png"), "no file 'nothing.png'"),
        (lambda: run.upload_file("a", "nothing"), "no file 'nothing' here"),
        (lambda: run.upload_folder("a", "nothing"), "no folder 'nothing' here"),
        (lambda: run.upload_files(["a"], []), "give a path for each name"),
        (lambda: run.download_file("nothing"), "no file 'nothing'; it has none"),
        (lambda: run.register_model("m", "nothing"), "no file 'nothing'"),
        (lambda: run.upload_file("a", __file__, datastore_name="x"), "leave datastore_name out"),
    ):
        with pytest.raises(UserErrorException, match=text):
            call()
    assert run.get_metrics() == {}


def test_models(workspace: Workspace, experiment: Experiment, tmp_path: Path) -> None:
    make_tree(tmp_path / "data", {"a.txt": 5})
    dataset = Dataset.File.from_files(str(tmp_path / "data"))
    (tmp_path / "net").mkdir()
    (tmp_path / "net/weights").write_text("1")
    first = Model.register(workspace, "net", "my.model", tags={"a": 1}, datasets=[("training", dataset)])
    run = experiment.start_logging()
    run.upload_folder("outputs/net", tmp_path / "net")
    second = run.register_model("my.model", "outputs/net", description="better")
    assert (first.id, second.id, second.run_id, second.description) == ("my.model:1", "my.model:2", run.id, "better")
    assert first.datasets["training"][0].to_path() == ["/a.txt"]
    assert (Path(Model.get_model_path("my.model")) / "weights").read_text() == "1"
    assert Model.get_model_path("my.model", 1) == Model(workspace, id="my.model:1").path
    assert [model.version for model in Model.list(workspace)] == [2, 1]
    assert [model.version for model in Model.list(workspace, latest=True)] == [2]
    assert [model.version for model in Model.list(workspace, "my.model", tags=[["a", "1"]])] == [1]
    assert Model(workspace, "my.model", tags=["a"]).version == 1
    first.add_tags({"b": "x"})
    first.remove_tags(["a"])
    assert Model(workspace, "my.model", version=1).tags == {"b": "x"}
    assert Path(first.download("copy"), "weights").read_text() == "1"
    with pytest.raises(UserErrorException, match="give exist_ok=True"):
        first.download("copy")
    first.download("copy", exist_ok=True)
    with pytest.raises(UnknownNameError, match=r"no model 'other' in .*; there are: my.model"):
        Model(workspace, "other")
    with pytest.raises(UnknownNameError, match="has no version 3; it has 1, 2"):
        Model(workspace, "my.model", version=3)
    with pytest.raises(UserErrorException, match="no name for a model"):
        Model.register(workspace, "net", "../x")
    with pytest.raises(UnknownNameError, match="no such file or folder"):
        Model.register(workspace, "nothing", "other")
    assert [model.name for model in Model.list(workspace, latest=True)] == ["my.model"]
    with pytest.raises(UserErrorException, match="serves none"):
        Model.deploy(workspace, "x", [first])


def test_processes_that_register_at_once_get_versions_of_their_own(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("m")
    code = "from runtime import *; print(Model.register(Workspace.from_config(), 'm', 'm').version)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    racing = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=-1, text=True) for _ in range(6)]
    assert sorted(int(each.communicate()[0]) for each in racing) == [1, 2, 3, 4, 5, 6]
    assert len(Model.list(workspace)) == 6
    assert not list((workspace.folder.path / "models/m").glob(".making*"))
