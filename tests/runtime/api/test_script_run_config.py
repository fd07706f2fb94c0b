import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import runtime.api.run_configuration as rc
from runtime import (
    DataPath,
    Dataset,
    DatasetConsumptionConfig,
    Environment,
    OutputFileDatasetConfig,
    RunConfiguration,
    ScriptRunConfig,
    Workspace,
)
from runtime.api import telling
from runtime.api.run_configuration import (
    Data,
    DataLocation,
    DataReferenceConfiguration,
    GlobsOptions,
    OutputData,
    OutputOptions,
    RegistrationOptions,
    UploadOptions,
)
from runtime.consumption import InputSpec
from runtime.errors import RunConfigurationException, UserErrorException
from runtime.job import runs
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


@pytest.fixture(autouse=True)
def _nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_told", set())
    monkeypatch.delenv("MOORAGE_STRICT", raising=False)


def job(workspace: Workspace, config: ScriptRunConfig) -> JobSpec:
    shutil.rmtree(workspace.folder.runs_path / "exp_1_a", ignore_errors=True)
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
    copied = workspace.folder.runs_path / "exp_1_a" / "source"
    assert (spec.cwd, spec.tags) == (str(copied), {"k": "v"})
    assert [each.name for each in copied.iterdir()] == ["train.py"]


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
    assert [(each.name, each.mode, each.path_on_compute) for each in spec.inputs] == [
        ("a", "direct", None),
        ("b", "download", "there"),
    ]
    assert spec.inputs[0].dataset.split("@")[0] == "digits"
    assert spec.inputs[1].dataset == "digits@2"


def test_a_command_goes_to_the_shell_a_string_as_it_is_and_a_list_joined(workspace: Workspace, source: Path) -> None:
    """Pieces of a list may be several words or shell words; only what we put in ourselves is quoted."""
    assert job(workspace, ScriptRunConfig(source, command="a | b")).command[1:] == ("-c", "a | b")
    data = DatasetConsumptionConfig("a", (workspace, "digits")).as_download()
    out = OutputFileDatasetConfig("o").as_upload()
    pieces = ["python -m x --rank $NODE_RANK", data, out, "DatasetConsumptionConfig:a", "&&", 3, Path("b c")]
    spec = job(workspace, ScriptRunConfig(source, command=pieces))
    assert spec.command[2] == (
        'python -m x --rank $NODE_RANK "$AZURE_ML_INPUT_a" "$AZURE_ML_OUTPUT_o" "$AZURE_ML_INPUT_a" && 3 \'b c\''
    )
    assert spec.environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)


def test_a_hand_written_token_finds_the_run_configurations_data(workspace: Workspace, source: Path) -> None:
    """microsoft/MLOps writes both itself."""
    dataset = Dataset.File.from_files(str(source.parent / "data")).register(workspace, "digits")
    config = RunConfiguration()
    make_tree(workspace.folder.blobstore_path, {"a/b/x": 1, "c/y": 1})
    by_id = DataLocation(rc.Dataset(dataset.id))
    config.data = {
        "mnist": Data(by_id, mechanism="Mount", environment_variable_name="WHERE"),
        "named": Data(DataLocation(rc.Dataset(dataset_name="digits", dataset_version="1")), mechanism="download"),
        "path": Data(DataLocation(data_path=rc.DataPath("workspaceblobstore", "a/b")), mechanism="mount"),
    }
    config.data_references = {"ref": DataReferenceConfiguration("workspaceblobstore", "download", "c")}
    options = OutputOptions(
        "out", RegistrationOptions("made"), UploadOptions(overwrite=True, source_globs=GlobsOptions("*.pt"))
    )
    place = DataLocation(data_path=rc.DataPath("workspaceblobstore", "models"))
    config.output_data = {"model": OutputData(place, "upload", options)}
    arguments = ["--data", "DatasetConsumptionConfig:mnist", "$AZUREML_DATAREFERENCE_ref", "DatasetOutputConfig:model"]
    spec = job(workspace, ScriptRunConfig(source, "train.py", arguments, run_config=config))
    assert spec.command[2:] == tuple(arguments)
    assert spec.inputs[0] == InputSpec("mnist", str(dataset.id), "mount")
    assert (spec.inputs[1].dataset, spec.inputs[1].mode) == ("digits@1", "download")
    assert [each.mode for each in spec.inputs[2:]] == ["mount", "download"]
    assert spec.environment["WHERE"] == "DatasetConsumptionConfig:mnist"
    (output,) = spec.outputs
    assert (output.path, output.source, output.register_as, output.overwrite) == ("models", "out", "made", True)
    assert output.source_globs == ("*.pt",)


@pytest.mark.parametrize("part", ["data", "output_data", "data_references"])
def test_what_is_no_data_in_a_run_configuration_is_named(workspace: Workspace, source: Path, part: str) -> None:
    for wrong in (3, {"mode": "mount", "colour": 1}):
        config = RunConfiguration()
        getattr(config, part)["x"] = wrong
        with pytest.raises(UserErrorException, match=rf"run_config\.{part}\['x'\]: (int|dict) is no"):
            job(workspace, ScriptRunConfig(source, "train.py", run_config=config))
    empty = RunConfiguration()
    empty.data["x"] = Data()
    with pytest.raises(UserErrorException, match="input 'x' has no data_location"):
        job(workspace, ScriptRunConfig(source, "train.py", run_config=empty))


def test_the_run_configurations_entry_wins_over_an_arguments_of_its_name(
    workspace: Workspace, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RunConfiguration()
    config.data["a"] = DatasetConsumptionConfig("a", (workspace, "x", 1)).as_download()
    other = DatasetConsumptionConfig("a", (workspace, "y", 1)).as_mount()
    spec = job(workspace, ScriptRunConfig(source, "train.py", [other], run_config=config))
    assert (spec.inputs[0].dataset, spec.command[2]) == ("x@1", "DatasetConsumptionConfig:a")
    assert "input 'a' is in the run configuration already" in capsys.readouterr().err


def test_a_run_configuration_wins_over_the_rest_and_the_script_over_its_own(
    workspace: Workspace, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RunConfiguration(script="no.py", arguments=["--no"])
    config.environment_variables = {"A": "config"}
    ignored = Environment("ignored", environment_variables={"A": "ignored"})
    made = ScriptRunConfig(source, "train.py", ["--yes"], run_config=config, environment=ignored)
    assert "run_config is given, so" in capsys.readouterr().err
    spec = job(workspace, made)
    assert (spec.command[1:], spec.environment["A"]) == (("train.py", "--yes"), "config")
    own = RunConfiguration(script="train.py", arguments=["--own"])
    assert job(workspace, ScriptRunConfig(source, run_config=own)).command[1:] == ("train.py", "--own")


def test_resume_from_is_an_argument_and_an_input(workspace: Workspace, source: Path) -> None:
    make_tree(workspace.folder.blobstore_path, {"models/old/net.pt": 9})
    left = DataPath(workspace.get_default_datastore(), "models/old")
    spec = job(workspace, ScriptRunConfig(source, "train.py", ["--n", 1], resume_from=left))
    assert spec.command[-2:] == ("--resume-from", "$AZUREML_DATAREFERENCE_MODEL_LOCATION")
    assert (spec.inputs[0].name, spec.inputs[0].mode) == ("MODEL_LOCATION", "mount")
    with pytest.raises(RunConfigurationException, match="resume_from: give a DataPath"):
        ScriptRunConfig(source, "train.py", resume_from="models/old")


def test_variables_are_the_jobs_and_no_records_business(workspace: Workspace, source: Path) -> None:
    environment = Environment("e", environment_variables={"WANDB_API_KEY": "hush-123", "N": 3})
    environment.python.user_managed_dependencies = True
    spec = job(workspace, ScriptRunConfig(source, "train.py", environment=environment))
    assert (spec.environment["WANDB_API_KEY"], spec.environment["N"]) == ("hush-123", "3")
    assert JobSpec.from_json(spec.to_json()) == spec
    runs.create(workspace.folder, spec)
    written = (runs.folder_of(workspace.folder, spec.run_id) / "run.json").read_text()
    assert "WANDB_API_KEY" in written
    assert "hush-123" not in written
    assert "hush-123" not in repr(spec)


@pytest.mark.parametrize(("name", "value"), [("AZURE_STORAGE_KEY", "x"), ("", "x"), ("A=B", "x"), ("A", "a\0b")])
def test_variables_that_no_job_gets(workspace: Workspace, source: Path, name: str, value: str) -> None:
    environment = Environment("e", environment_variables={name: value})
    environment.python.user_managed_dependencies = True
    with pytest.raises(UserErrorException, match=f"environment variable '?{name}"):
        job(workspace, ScriptRunConfig(source, "train.py", environment=environment))


@pytest.mark.parametrize(
    "wrong",
    [
        {"distributed_job_config": object()},
        {"distributed_job_config": "Mpi"},
        {"environment": "name"},
        {"max_run_duration_seconds": 0},
        {"max_run_duration_seconds": -1},
        {"max_run_duration_seconds": "60"},
        {"arguments": "--a b"},
    ],
)
def test_what_cannot_be_a_configuration_says_so(source: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(RunConfigurationException, match=next(iter(wrong))):
        ScriptRunConfig(source, "train.py", **wrong)


def test_another_compute_target_is_told_once_and_refused_when_strict(
    workspace: Workspace, source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ScriptRunConfig(source, "train.py", compute_target="cpu-cluster", max_run_duration_seconds=60)
    spec = job(workspace, config)
    assert (spec.configuration["target"], spec.max_duration_s) == ("cpu-cluster", 60.0)
    job(workspace, ScriptRunConfig(source, "train.py", compute_target="local"))
    told = "moorage: compute target 'cpu-cluster' is this machine here: the job runs locally\n"
    config.job(workspace.folder, "exp_2_a", "exp", {})
    assert capsys.readouterr().err == told
    monkeypatch.setenv("MOORAGE_STRICT", "1")
    with pytest.raises(UserErrorException, match="MOORAGE_STRICT is set, so nothing was started"):
        config.job(workspace.folder, "exp_3_a", "exp", {})
    assert not (workspace.folder.runs_path / "exp_3_a").exists()


def test_parts_that_do_not_fit_together(source: Path) -> None:
    for wrong in ({}, {"script": "a", "command": "b"}, {"command": "b", "arguments": ["c"]}):
        with pytest.raises(RunConfigurationException):
            ScriptRunConfig(source, **wrong)


def test_a_bare_dataset_as_an_argument_says_what_to_call(workspace: Workspace, source: Path) -> None:
    dataset = Dataset.File.from_files(str(source.parent / "data"))
    with pytest.raises(UserErrorException, match=r"as_named_input\('x'\)\.as_mount\(\)"):
        job(workspace, ScriptRunConfig(source, "train.py", [dataset]))
    for wrong, text in (({}, "of type dict"), (None, "None, which is no text"), (Data(), "is a Data"), (b"a", "bytes")):
        with pytest.raises(UserErrorException, match=f"argument 2 is {text}|argument 2.*{text}"):
            job(workspace, ScriptRunConfig(source, "train.py", ["--x", wrong]))
    with pytest.raises(UserErrorException, match="NUL"):
        job(workspace, ScriptRunConfig(source, "train.py", ["a\0b"]))


def test_what_is_not_there_is_said_before_anything_starts(workspace: Workspace, source: Path) -> None:
    with pytest.raises(UserErrorException, match=r"script 'no\.py': no such file"):
        job(workspace, ScriptRunConfig(source, "no.py"))
    with pytest.raises(UserErrorException, match="no such folder"):
        job(workspace, ScriptRunConfig(source / "no", "train.py"))
    with pytest.raises(UserErrorException, match="outside of source_directory"):
        job(workspace, ScriptRunConfig(source, "../data/a.txt"))
    assert job(workspace, ScriptRunConfig(source, source / "train.py")).command[1] == "train.py"


def test_two_different_things_of_one_name_are_refused(workspace: Workspace, source: Path) -> None:
    one, other = (DatasetConsumptionConfig("a", (workspace, name)) for name in ("x", "y"))
    with pytest.raises(UserErrorException, match="two different inputs or outputs are called 'a'"):
        job(workspace, ScriptRunConfig(source, "train.py", [one, other]))


def test_an_output_to_a_datastore_of_another_workspace_is_refused(
    workspace: Workspace, source: Path, tmp_path: Path
) -> None:
    other = Workspace.of(init(tmp_path / "other" / ".moorage")).get_default_datastore()
    output = OutputFileDatasetConfig("o", (other, "a")).as_upload()
    with pytest.raises(
        UserErrorException, match=r"output 'o': .* is one of the workspace .*/other/\.moorage, and the job"
    ):
        job(workspace, ScriptRunConfig(source, "train.py", [output]))
    here = OutputFileDatasetConfig("o", [workspace.get_default_datastore(), "a"])
    assert job(workspace, ScriptRunConfig(source, "train.py", [here])).outputs[0].path == "a"


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "é", None])
def test_names_that_are_no_variables_are_refused(name: Any) -> None:
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
