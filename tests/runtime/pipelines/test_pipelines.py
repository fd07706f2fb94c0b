"""Pipelines from Python: steps that feed each other, in order, with a run each."""

import os
import signal
import textwrap
from pathlib import Path

import pytest

from runtime import (
    CommandStep,
    Dataset,
    DatasetConsumptionConfig,
    Datastore,
    Experiment,
    OutputFileDatasetConfig,
    Pipeline,
    PipelineData,
    PipelineParameter,
    PipelineRun,
    PythonScriptStep,
    Run,
    StepRun,
    StepSequence,
    Workspace,
)
from runtime.api.data_path import DataPath
from runtime.api.pipeline_step import PipelineStep
from runtime.errors import ActivityFailedException, UnknownNameError, UserErrorException
from runtime.job import processes, runs
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
    (tmp_path / "src").mkdir()
    return Workspace.of(init(tmp_path / ".moorage"))


def script(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "src" / name).write_text("import os, sys\n" + textwrap.dedent(text))


def step(tmp_path: Path, name: str, command: str, **given: object) -> CommandStep:
    return CommandStep(command, name=name, source_directory=str(tmp_path / "src"), **given)  # type: ignore[arg-type]


def names_of(steps: list[PipelineStep]) -> list[str]:
    return [each.name for each in steps]


class Binding:
    """As v1's DataPathComputeBinding."""

    mode = "download"


FIRST = "open(os.path.join(sys.argv[2], 'sum'), 'w').write(str(os.path.getsize(sys.argv[1]) + 1))"
SECOND = """
    read = open(os.path.join(sys.argv[1], "sum")).read()
    assert os.listdir(sys.argv[2]) == [], "an empty output is an empty folder"
    path = os.path.join(os.environ["second"], "text")
    open(path, "w").write(f"{read} {sys.argv[3]} {os.listdir(sys.argv[4])}")
    print("second has written")
"""


def two_steps(workspace: Workspace, tmp_path: Path) -> Pipeline:
    """A pipeline whose steps get and give data in every form that v1 has."""
    make_tree(tmp_path / "data", {"a.txt": 5})
    script(tmp_path, "first.py", FIRST)
    script(tmp_path, "second.py", SECOND)
    store = workspace.get_default_datastore()
    store.upload(str(tmp_path / "data"), "in")
    single = Dataset.File.from_files((store, "in/a.txt")).as_named_input("single").as_mount()
    one, empty = PipelineData("one", datastore=store), OutputFileDatasetConfig("empty").as_upload()
    two = PipelineData("two", output_name="second", output_mode="upload").as_dataset().register("two-made")
    source = str(tmp_path / "src")
    PythonScriptStep("first.py", arguments=[single, one, empty], outputs=[one], source_directory=source)
    path = (PipelineParameter("folder", DataPath(store, "in")), Binding())
    second = PythonScriptStep(
        "second.py",
        name="second step",
        arguments=[one, empty.as_input("nothing"), PipelineParameter("number", 1), path],
        inputs=[one],
        outputs=[two],
        allow_reuse=True,
    )
    return Pipeline(workspace, [second], default_source_directory=source)


@pytest.mark.fuse
def test_steps_feed_each_other_whatever_form_their_data_has(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = two_steps(workspace, tmp_path)
    assert names_of(pipeline.steps) == ["first.py", "second step"]
    assert pipeline.validate() == []

    run = Experiment(workspace, "exp").submit(pipeline, pipeline_parameters={"number": 7}, tags={"k": "v"})
    details = run.wait_for_completion(show_output=True)
    assert isinstance(run, PipelineRun)
    assert (details["status"], details["tags"]) == ("Completed", {"k": "v"})
    told = capsys.readouterr().out
    assert "second has written" in told
    assert told.index("step 'first.py' completed") < told.index("step 'second step' starts")
    assert [each.name for each in run.get_steps()] == ["first.py", "second step"]
    (last,) = run.find_step_run("second step")
    assert last.get_status() == "Completed"
    assert last.get_properties()["azureml.pipelinerunid"] == run.id
    assert [each.id for each in Experiment(workspace, "exp").get_runs()] == [run.id]
    parent = Run.get(workspace, last.id).parent
    assert parent is not None
    assert parent.id == run.id
    assert "second has written" in last.get_stdout_log()
    assert jobs.mounts_below(workspace.folder.path) == []
    check_outputs(workspace, run, last, tmp_path / "fetched")


def check_outputs(workspace: Workspace, run: PipelineRun, last: StepRun, fetched: Path) -> None:
    reference = last.get_output_data("second")
    assert reference.path_on_datastore == f"azureml/{last.id}/second"
    assert last.get_outputs()["second"].get_port_data_reference() == reference
    assert reference.download(str(fetched)) == 1
    assert (fetched / reference.path_on_datastore / "text").read_text() == "6 7 ['a.txt']"
    (first,) = run.find_step_run("first.py")
    assert first.get_output_data("empty").download(str(fetched)) == 0
    assert Dataset.get_by_name(workspace, "two-made").to_path() == ["/text"]
    assert run.get_pipeline_output("one").datastore_name == "workspaceblobstore"
    with pytest.raises(UnknownNameError, match="no output 'three'; it has 'second'"):
        last.get_output("three")


@pytest.mark.parametrize("go_on", [False, True])
def test_a_failure_stops_what_needs_it_and_as_v1_all_that_has_not_begun(
    workspace: Workspace, tmp_path: Path, *, go_on: bool
) -> None:
    bad, needs_bad = step(tmp_path, "bad", "exit 3"), step(tmp_path, "needs bad", "true")
    gate = tmp_path / "gate"
    # Begun together with `bad`; it ends when `bad` has, and what follows it is the question.
    other = step(tmp_path, "other", f"until [ -e '{gate}' ]; do sleep 0.05; done")
    after = step(tmp_path, "after other", "true")
    needs_bad.run_after(bad)
    after.run_after(other)
    pipeline = Pipeline(workspace, [needs_bad, after])
    run = pipeline.submit("exp", continue_on_step_failure=go_on)
    status = {each.name: each for each in run.get_steps()}
    until(lambda: status["bad"].get_status() == "Failed", deadline_s=60)
    until(lambda: "step 'bad' failed" in runs.log_path(workspace.folder, run.id).read_text(), deadline_s=60)
    gate.touch()
    with pytest.raises(ActivityFailedException, match="step 'bad': the command returned 3"):
        run.wait_for_completion(show_output=False)
    found = {name: each.get_status() for name, each in status.items()}
    last = "Completed" if go_on else "Canceled"
    assert found == {"bad": "Failed", "needs bad": "Canceled", "other": "Completed", "after other": last}
    details = status["needs bad"].get_details()
    assert "step 'bad' failed" in details["error"]["error"]["message"]


def test_a_sequence_keeps_its_order_and_runs_a_list_side_by_side(workspace: Workspace, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    one = step(tmp_path, "one", f"echo one >>'{seen}'")
    # Each of the two waits for the other to have begun.
    left = step(tmp_path, "left", f"touch '{tmp_path}/l'; until [ -e '{tmp_path}/r' ]; do sleep 0.05; done")
    right = step(tmp_path, "right", f"touch '{tmp_path}/r'; until [ -e '{tmp_path}/l' ]; do sleep 0.05; done")
    last = step(tmp_path, "last", f"ls '{tmp_path}/l' '{tmp_path}/r' && echo last >>'{seen}'")
    run = Pipeline(workspace, StepSequence([one, [left, right], last])).submit("exp")
    assert run.wait_for_completion(show_output=False, timeout_seconds=100)["status"] == "Completed"
    assert seen.read_text().split() == ["one", "last"]


def test_a_canceled_pipeline_ends_what_runs_and_starts_nothing_more(workspace: Workspace, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    run = Pipeline(
        workspace, StepSequence([step(tmp_path, "long", f"touch '{begun}'; sleep 600"), step(tmp_path, "next", "true")])
    ).submit("exp")
    until(begun.exists, deadline_s=60)
    with pytest.raises(ActivityFailedException, match="still runs"):
        run.wait_for_completion(show_output=False, timeout_seconds=0)
    run.cancel()
    assert run.wait_for_completion(show_output=False, raise_on_error=False)["status"] == "Canceled"
    assert [each.get_status() for each in run.get_steps()] == ["Canceled", "Canceled"]


def test_a_step_whose_launcher_has_only_just_been_started_is_canceled_too(workspace: Workspace, tmp_path: Path) -> None:
    run = Pipeline(workspace, [step(tmp_path, "long", "sleep 600")]).submit("exp")
    until(lambda: "starts as run" in runs.log_path(workspace.folder, run.id).read_text(), deadline_s=60)
    run.cancel()
    assert run.wait_for_completion(show_output=False, raise_on_error=False)["status"] == "Canceled"
    assert [each.get_status() for each in run.get_steps()] == ["Canceled"]


def test_the_death_of_the_conductor_is_the_pipelines_failure_and_its_step_ends_as_it_would(
    workspace: Workspace, tmp_path: Path
) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    long = step(tmp_path, "long", f"touch '{begun}'; until [ -e '{gate}' ]; do sleep 0.05; done")
    after = step(tmp_path, "after", "true")
    run = Pipeline(workspace, StepSequence([long, after])).submit("exp")
    until(begun.exists, deadline_s=60)
    conductor = runs.read(workspace.folder, run.id).launcher
    assert conductor is not None
    os.kill(conductor.pid, signal.SIGKILL)
    assert run.wait_for_completion(show_output=False, raise_on_error=False)["status"] == "Failed"
    gate.touch()
    (ended,) = run.find_step_run("long")
    until(lambda: ended.get_status() == "Completed", deadline_s=60)
    (never,) = run.find_step_run("after")
    assert never.get_status() == "Failed"
    launcher = runs.read(workspace.folder, ended.id).launcher
    assert launcher is not None
    until(lambda: processes.Identity.state(launcher) == "dead", deadline_s=60)


def test_circles_are_named_before_anything_starts(workspace: Workspace, tmp_path: Path) -> None:
    a, b = step(tmp_path, "a", "true"), step(tmp_path, "b", "true")
    a.run_after(b)
    b.run_after(a)
    pipeline = Pipeline(workspace, [a])
    (text,) = pipeline.validate()
    assert "'a'" in text
    assert "'b'" in text
    with pytest.raises(UserErrorException, match="in a circle"):
        pipeline.submit("exp")
    assert list(runs.read_all(workspace.folder)) == []


def test_what_no_pipeline_can_be_is_one_line(workspace: Workspace, tmp_path: Path) -> None:
    lonely = PipelineData("lonely")
    reader = step(tmp_path, "reader", "true", inputs=[lonely])
    with pytest.raises(UserErrorException, match="reads 'lonely', which no step writes"):
        Pipeline(workspace, [reader])
    step(tmp_path, "writer", "true", outputs=[lonely])
    with pytest.raises(UserErrorException, match="is of step 'writer' already"):
        step(tmp_path, "another", "true", outputs=[lonely])
    with pytest.raises(UserErrorException, match="waited for and not in the pipeline"):
        Pipeline(workspace, [reader], resolve_closure=False)
    with pytest.raises(UserErrorException, match="no step uses a pipeline parameter 'numbr'; the parameters are none"):
        Pipeline(workspace, [reader]).submit("exp", pipeline_parameters={"numbr": 1})
    with pytest.raises(UserErrorException, match="at least one step"):
        Pipeline(workspace, [])
    with pytest.raises(UserErrorException, match="str is no step"):
        Pipeline(workspace, ["train.py"])
    with pytest.raises(UserErrorException, match=r"step 'no\.py': script 'no\.py': no such file"):
        Pipeline(workspace, PythonScriptStep("no.py", source_directory=str(tmp_path / "src"))).submit("exp")
    with pytest.raises(UserErrorException, match="without a service"):
        Pipeline(workspace, [reader]).publish("name")
    assert list(runs.read_all(workspace.folder)) == []


def test_a_parameter_may_be_a_dataset(workspace: Workspace, tmp_path: Path) -> None:
    make_tree(tmp_path / "a", {"a.txt": 5})
    make_tree(tmp_path / "b", {"b.txt": 6})
    Datastore.register_local_folder(workspace, "here", str(tmp_path))
    default = Dataset.File.from_files((Datastore.get(workspace, "here"), "a"))
    other = Dataset.File.from_files((Datastore.get(workspace, "here"), "b"))
    given = DatasetConsumptionConfig("files", PipelineParameter("which", default)).as_download()
    reads = CommandStep(["ls", given], name="reads", source_directory=str(tmp_path / "src"))
    pipeline = Pipeline(workspace, [reads])
    for parameters, name in (({}, "a.txt"), ({"which": other}, "b.txt")):
        run = pipeline.submit("exp", pipeline_parameters=parameters)
        run.wait_for_completion(show_output=False)
        (ended,) = run.get_steps()
        assert ended.get_stdout_log().split() == [name]
