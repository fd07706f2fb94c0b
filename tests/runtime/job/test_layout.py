from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.consumption import InputSpec
from runtime.errors import UserErrorException
from runtime.job.layout import InputFacts, Layout, Surroundings, lay_out
from runtime.job.spec import JobSpec, Ranks
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


def test_a_data_references_variable_is_replaced_where_an_argument_begins_with_it() -> None:
    arguments = (
        "$AZUREML_DATAREFERENCE_d",
        "$AZUREML_DATAREFERENCE_d/sub",
        "$AZUREML_DATAREFERENCE_dd",
        "x$AZUREML_DATAREFERENCE_d",
    )
    layout = laid_out("x", *arguments, inputs=(InputSpec("d", "digits"),))
    path = "/ws/runs/run_1/inputs/d"
    assert layout.argv[1:] == (path, f"{path}/sub", *arguments[2:])


def test_given_variables_reach_the_child_with_tokens_replaced_and_never_in_place_of_ours() -> None:
    given = {"PATH": "/mine:/bin", "DATA": "DatasetConsumptionConfig:d/x", "d": "no", "MOORAGE_RUN_ID": "no"}
    spec = JobSpec("run_1", "job", ("x",), "/home/me", (InputSpec("d", "digits"),), environment=given)
    layout = lay_out(spec, {"d": FACTS}, around())
    path = "/ws/runs/run_1/inputs/d"
    found = {name: layout.environment[name] for name in given}
    assert found == {"PATH": "/mine:/bin", "DATA": f"{path}/x", "d": path, "MOORAGE_RUN_ID": "run_1"}


def test_names_without_a_version_are_listed_as_v1_lists_them() -> None:
    inputs = (
        InputSpec("a", "digits"),
        InputSpec("b", "digits@2"),
        InputSpec("c", FACTS.dataset_id),
        InputSpec("e", "x@latest"),
    )
    assert laid_out(inputs=inputs).environment["SkipValidateDatasets"] == "a,e"
    assert "SkipValidateDatasets" not in laid_out(inputs=inputs[1:3]).environment


@pytest.mark.parametrize(
    ("ranks", "starter"),
    [
        (None, ()),
        (Ranks("mpi", 4, 2), ("mpirun", "-n", "4")),
        (Ranks("pytorch", 4, 2), ("pytorch", "4", "2", "0")),
        (Ranks("tensorflow", 2, 2, 1), ("tensorflow", "2", "2", "1")),
    ],
)
def test_ranks_stand_in_front_of_the_command(ranks: Ranks | None, starter: tuple[str, ...]) -> None:
    spec = JobSpec("run_1", "job", ("train", "--n"), "/home/me", ranks=ranks)
    layout = lay_out(spec, {}, around())
    assert layout.started[-2 - len(starter) :] == (*starter, "train", "--n")
    assert layout.argv == ("train", "--n")
    assert ("OMPI_ALLOW_RUN_AS_ROOT" in layout.environment) == (ranks is not None and ranks.kind == "mpi")
