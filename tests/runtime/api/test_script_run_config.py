import sys
from pathlib import Path
from typing import Any

import pytest

from runtime import Dataset, DatasetConsumptionConfig, OutputFileDatasetConfig, ScriptRunConfig, Workspace
from runtime.consumption import InputSpec
from runtime.errors import RunConfigurationException, UserErrorException
from runtime.job.spec import JobSpec
from runtime.workspace import init
from tests.support.content import make_tree


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.of(init(tmp_path / ".moorage"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_tree(tmp_path / "src", {"train.py": 0})
    make_tree(tmp_path / "data", {"a.txt": 5})
    return tmp_path / "src"


def job(workspace: Workspace, config: ScriptRunConfig) -> JobSpec:
    return config.job(workspace.folder, "exp_1_a", "exp", {"k": "v"})


def test_inputs_and_outputs_in_arguments_become_tokens(workspace: Workspace, source: Path) -> None:
    dataset = Dataset.File.from_files(str(source.parent / "data")).register(workspace, "digits")
    model = OutputFileDatasetConfig("model").as_upload().register_on_complete("digits-model", tags={"a": "b"})
    given = dataset.as_named_input("digits").as_mount("/mnt/digits")
    config = ScriptRunConfig(source, "train.py", ["--data", given, "--out", model, "--n", 3, Path("x"), given])
    spec = job(workspace, config)
    assert spec.command == (
        *(sys.executable, "train.py", "--data", "DatasetConsumptionConfig:digits"),
        *("--out", "DatasetOutputConfig:model", "--n", "3", "x", "DatasetConsumptionConfig:digits"),
    )
    assert spec.inputs == (InputSpec("digits", str(dataset.id), "mount", "/mnt/digits"),)
    (output,) = spec.outputs
    assert (output.name, output.register_as, output.mode, output.tags) == (
        "model",
        "digits-model",
        "upload",
        {"a": "b"},
    )
    assert (spec.cwd, spec.tags) == (str(source), {"k": "v"})


def test_an_unregistered_dataset_is_kept_under_an_id(workspace: Workspace, source: Path) -> None:
    dataset = Dataset.File.from_files(str(source.parent / "data"))
    before = dataset.id
    spec = job(workspace, ScriptRunConfig(source, "train.py", [dataset.as_download()]))
    assert (before, spec.inputs[0].dataset) == (None, dataset.id)
    assert spec.inputs[0].mode == "download"


def test_a_name_in_the_catalog_is_looked_up_when_the_job_starts(workspace: Workspace, source: Path) -> None:
    latest = DatasetConsumptionConfig("a", (workspace, "digits"))
    second = DatasetConsumptionConfig("b", (workspace, "digits", 2)).as_download("there")
    spec = job(workspace, ScriptRunConfig(source, command=["cmd", latest, second]))
    assert spec.inputs == (InputSpec("a", "digits", "direct"), InputSpec("b", "digits@2", "download", "there"))
    assert spec.command[0] == "cmd"


def test_a_command_that_is_a_string_goes_to_the_shell(workspace: Workspace, source: Path) -> None:
    assert job(workspace, ScriptRunConfig(source, command="a | b")).command == ("/bin/sh", "-c", "a | b")


@pytest.mark.parametrize(
    "later",
    [
        {"distributed_job_config": object()},
        {"environment": object()},
        {"run_config": object()},
        {"compute_target": "cluster"},
        {"docker_runtime_config": object()},
        {"resume_from": object()},
        {"max_run_duration_seconds": 60},
    ],
)
def test_what_comes_later_says_so(source: Path, later: dict[str, Any]) -> None:
    with pytest.raises(RunConfigurationException, match=f"{next(iter(later))} comes with a later version"):
        ScriptRunConfig(source, "train.py", **later)


def test_parts_that_do_not_fit_together(source: Path) -> None:
    for wrong in ({}, {"script": "a", "command": "b"}, {"command": "b", "arguments": ["c"]}):
        with pytest.raises(RunConfigurationException):
            ScriptRunConfig(source, **wrong)


def test_a_bare_dataset_as_an_argument_says_what_to_call(workspace: Workspace, source: Path) -> None:
    dataset = Dataset.File.from_files(str(source.parent / "data"))
    with pytest.raises(UserErrorException, match=r"as_named_input\('x'\)\.as_mount\(\)"):
        job(workspace, ScriptRunConfig(source, "train.py", [dataset]))
    with pytest.raises(UserErrorException, match="of type dict cannot become text"):
        job(workspace, ScriptRunConfig(source, "train.py", [{}]))


def test_what_is_not_there_is_said_before_anything_starts(workspace: Workspace, source: Path) -> None:
    with pytest.raises(UserErrorException, match=r"script 'no\.py': no such file"):
        job(workspace, ScriptRunConfig(source, "no.py"))
    with pytest.raises(UserErrorException, match="no such folder"):
        job(workspace, ScriptRunConfig(source / "no", "train.py"))


def test_two_different_things_of_one_name_are_refused(workspace: Workspace, source: Path) -> None:
    one, other = (DatasetConsumptionConfig("a", (workspace, name)) for name in ("x", "y"))
    with pytest.raises(UserErrorException, match="two different inputs or outputs are called 'a'"):
        job(workspace, ScriptRunConfig(source, "train.py", [one, other]))


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "é"])
def test_names_that_are_no_variables_are_refused(name: str) -> None:
    with pytest.raises(UserErrorException, match="cannot be an environment variable"):
        DatasetConsumptionConfig(name, ("ws", "x"))


def test_modes_and_datasets_that_cannot_be(workspace: Workspace) -> None:
    for mode in ("hdfs", "rw"):
        with pytest.raises(UserErrorException):
            DatasetConsumptionConfig("a", ("ws", "x"), mode)
    with pytest.raises(UserErrorException, match="int is no dataset"):
        DatasetConsumptionConfig("a", 3).spec_in(workspace.folder)


def test_an_outputs_methods_return_copies() -> None:
    plain = OutputFileDatasetConfig("o", destination=("store", "a/{run-id}"))
    uploaded = plain.as_upload(overwrite=True, source_globs="*.txt")
    registered = uploaded.register_on_complete("n")
    assert (plain.spec.mode, uploaded.spec.mode, registered.spec.register_as) == ("mount", "upload", "n")
    assert (uploaded.spec.overwrite, uploaded.spec.source_globs, uploaded.spec.register_as) == (True, ("*.txt",), None)
    assert (registered.spec.datastore, registered.spec.path) == ("store", "a/{run-id}")
    with pytest.raises(ValueError, match="name of a dataset"):
        plain.register_on_complete("")
    for wrong in ("store/a", ("store",), (None, "a")):
        with pytest.raises(UserErrorException, match="destination"):
            OutputFileDatasetConfig("o", destination=wrong)


def test_an_unnamed_output_is_named_as_v1_does() -> None:
    assert OutputFileDatasetConfig().name.startswith("output_")
    assert len(OutputFileDatasetConfig().name) == len("output_") + 8


def test_an_output_is_an_input_only_after_its_job(workspace: Workspace, source: Path) -> None:
    output = OutputFileDatasetConfig("o").as_upload()
    given = output.as_input("again")
    assert (given.name, given.mode) == ("again", "mount")
    with pytest.raises(UserErrorException, match="'o' was not produced yet"):
        given.spec_in(workspace.folder)
    job(workspace, ScriptRunConfig(source, "train.py", [output]))
    assert str(output.as_input().dataset.produced().definition.paths[0]).endswith("/dataset/exp_1_a/o/")  # type: ignore[attr-defined] # an object, for callers
