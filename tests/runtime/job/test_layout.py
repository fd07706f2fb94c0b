from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.consumption import InputSpec
from runtime.errors import UserErrorException
from runtime.job.layout import InputFacts, Layout, Surroundings, lay_out
from runtime.job.spec import JobSpec
from runtime.outputs import OutputSpec

FACTS = InputFacts("5f0c1d8e-0000-0000-0000-000000000000", "d" * 8, 3)
ENVIRON = {"PATH": "/bin", "AZURE_STORAGE_KEY": "hush", "AZUREML_DATASET_FILE_OUTPUTS": "stale"}


def around(no_fuse: str | None = None) -> Surroundings:
    ws = Path("/ws")
    return Surroundings(ws, ws / "runs", ws / "spool", ENVIRON, {"AZURE_STORAGE_KEY", "NOT_SET"}, no_fuse)


def laid_out(
    *command: str,
    inputs: tuple[InputSpec, ...] = (),
    outputs: tuple[OutputSpec, ...] = (),
    facts: InputFacts = FACTS,
    no_fuse: str | None = None,
    no_output_mount: str | None = None,
) -> Layout:
    spec = JobSpec("run_1", "job", command or ("true",), "/home/me", inputs, outputs)
    return lay_out(
        spec, {each.name: facts for each in inputs}, replace(around(no_fuse), no_output_mount=no_output_mount)
    )


def test_a_mounted_input_is_a_path_in_every_variable() -> None:
    layout = laid_out(inputs=(InputSpec("digits", "digits@3"),))
    path = "/ws/runs/run_1/inputs/digits"
    for name in ("digits", "DIGITS", "AZUREML_DATAREFERENCE_digits", "AZURE_ML_INPUT_digits"):
        assert layout.environment[name] == path
    assert layout.environment["AZUREML_DATASET_ENVIRONMENT_VARS"] == "digits:mount"
    assert layout.environment["MOORAGE_RUN_ID"] == layout.environment["AZUREML_RUN_ID"] == "run_1"
    assert layout.environment["MOORAGE_WORKSPACE"] == "/ws"


def test_an_output_is_its_spool_folder_in_every_variable() -> None:
    layout = laid_out(outputs=(OutputSpec("model"), OutputSpec("log", source="logs", path="x/{output-name}/{run-id}")))
    assert layout.outputs[0].folder == Path("/ws/spool/run_1/model")
    assert layout.outputs[0].prefix == "dataset/run_1/model/"
    assert (layout.outputs[1].folder, layout.outputs[1].prefix) == (Path("/home/me/logs"), "x/log/run_1/")
    for name in ("model", "MODEL", "AZUREML_DATAREFERENCE_model", "AZURE_ML_OUTPUT_model"):
        assert layout.environment[name] == "/ws/spool/run_1/model"
    assert layout.environment["AZUREML_DATASET_FILE_OUTPUTS"] == "model;log"


def test_direct_gives_the_id_of_the_dataset() -> None:
    layout = laid_out("x", "DatasetConsumptionConfig:d", inputs=(InputSpec("d", "digits", "direct"),))
    assert layout.argv[1] == layout.environment["d"] == FACTS.dataset_id
    assert layout.environment["AZUREML_DATASET_ENVIRONMENT_VARS"] == "d:direct"


@pytest.mark.parametrize(
    ("mode", "inside"), [("mount", "/ws/runs/run_1/inputs/d/one.csv"), ("download", "/ws/runs/run_1/inputs/d")]
)
def test_a_single_file_is_itself_when_mounted_and_its_folder_when_downloaded(mode: str, inside: str) -> None:
    spec = InputSpec("d", "one", mode)  # type: ignore[arg-type] # a parameter of the test
    layout = laid_out("{inputs.d}", inputs=(spec,), facts=InputFacts("id", "x", 1, "one.csv"))
    assert layout.argv == (inside,)
    assert {layout.environment[name] for name in ("d", "D", "AZURE_ML_INPUT_d")} == {inside}


def test_without_fuse_a_mount_becomes_a_download_at_the_same_place_and_says_so() -> None:
    one = InputFacts("id", "x", 1, "one.csv")
    mounted = laid_out(inputs=(InputSpec("d", "one"),), facts=one)
    downloaded = laid_out(inputs=(InputSpec("d", "one"),), facts=one, no_fuse="no /dev/fuse here")
    assert downloaded.inputs[0].mode == "download"
    assert downloaded.environment == mounted.environment
    assert downloaded.notes == ("input 'd' is downloaded instead of mounted: no /dev/fuse here",)
    assert mounted.notes == ()


def test_storage_secrets_and_an_outer_jobs_variables_do_not_reach_the_child() -> None:
    layout = laid_out()
    assert "AZURE_STORAGE_KEY" not in layout.environment
    assert "AZUREML_DATASET_FILE_OUTPUTS" not in layout.environment
    assert layout.environment["PATH"] == "/bin"
    assert layout.removed == ("AZURE_STORAGE_KEY",)
    assert "hush" not in layout.describe() + repr(layout) + repr(around())


def test_tokens_of_every_kind_are_replaced_within_an_element() -> None:
    layout = laid_out(
        "--in=DatasetConsumptionConfig:d2,{inputs.d}",
        "DatasetOutputConfig:m/{outputs.m}",
        inputs=(InputSpec("d", "x", path_on_compute="/data/d"), InputSpec("d2", "x", path_on_compute="here")),
        outputs=(OutputSpec("m", source="/out"),),
    )
    assert layout.argv == ("--in=/home/me/here,/data/d", "/out//out")


@given(st.text().filter(lambda text: "DatasetConsumption" not in text and "\0" not in text and text))
def test_what_is_no_token_stays_as_it_is(text: str) -> None:
    assert laid_out("x", text.replace("{inputs.", "").replace("{outputs.", "")).argv[1] == text.replace(
        "{inputs.", ""
    ).replace("{outputs.", "")


@pytest.mark.parametrize(
    "token",
    [
        "{input.d}",
        "{output.d}",
        "{inputs.no}",
        "{outputs.no}",
        "DatasetConsumptionConfig:no",
        "DatasetOutputConfig:d",
        "{inputs.}",
    ],
)
def test_a_token_of_nothing_is_an_error_that_names_what_there_is(token: str) -> None:
    with pytest.raises(UserErrorException, match=r"in the command: the job's inputs and outputs are \{inputs\.d\}"):
        laid_out(token, inputs=(InputSpec("d", "x"),))


def test_names_that_the_system_needs_keep_their_meaning() -> None:
    layout = laid_out(inputs=(InputSpec("path", "x"),))
    assert layout.environment["PATH"] == "/bin"
    assert "path" not in layout.environment
    assert layout.environment["AZURE_ML_INPUT_path"] == "/ws/runs/run_1/inputs/path"
    assert "$AZURE_ML_INPUT_path" in layout.notes[0]


def test_inputs_and_outputs_share_no_folder() -> None:
    nested = (InputSpec("a", "x", path_on_compute="/d"), InputSpec("b", "x", path_on_compute="/d/e"))
    with pytest.raises(UserErrorException, match="input 'a' and input 'b' share the folder /d/e"):
        laid_out(inputs=nested)
    with pytest.raises(UserErrorException, match="outputs 'a' and 'b' share the place store/p/"):
        laid_out(outputs=(OutputSpec("a", "store", "p"), OutputSpec("b", "Store", "p/q")))


def test_an_output_of_mode_mount_is_mounted_or_staged_and_says_so() -> None:
    mounted = laid_out(outputs=(OutputSpec("m", mode="mount"),))
    assert mounted.outputs[0].mounted
    assert mounted.environment["m"] == "/ws/runs/run_1/outputs/m"
    assert mounted.notes == ()
    layout = laid_out(outputs=(OutputSpec("m", mode="mount"),), no_output_mount="no driver")
    assert not layout.outputs[0].mounted
    assert layout.notes == ("output 'm' is staged, and stored when the job ends: no driver",)
