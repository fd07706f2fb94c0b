import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.consumption import InputSpec, parse_input
from runtime.errors import UserErrorException
from runtime.job.spec import JobSpec, check_experiment, new_run_id
from runtime.outputs import OutputSpec, parse_output

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(_TEXT, min_size=1), st.floats(0, 1e6), st.dictionaries(_TEXT, _TEXT))
def test_a_spec_survives_json(command: list[str], grace_s: float, tags: dict[str, str]) -> None:
    outputs = (OutputSpec("o", "store", "a/b", "upload", True, "name", "text", tags, "src", ("*.txt",)),)
    inputs = (InputSpec("i", "digits@2", "direct"), InputSpec("j", "x", "download", "/there"))
    spec = JobSpec("r_1_a", "r", tuple(command), "/", inputs, outputs, grace_s, tags)
    assert JobSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("d=digits", InputSpec("d", "digits", "mount")),
        ("d=digits@4:download", InputSpec("d", "digits@4", "download")),
        ("_d=my digits:direct", InputSpec("_d", "my digits", "direct")),
    ],
)
def test_inputs_as_typed(text: str, spec: InputSpec) -> None:
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    "text", ["digits", "=digits", "d=", "d=digits:nfs", "d=digits:", "1d=digits", "d-d=digits", ""]
)
def test_inputs_that_cannot_be(text: str) -> None:
    with pytest.raises(UserErrorException):
        parse_input(text)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("m", OutputSpec("m")),
        ("m:register=model", OutputSpec("m", register_as="model")),
        ("m=store", OutputSpec("m", "store")),
        ("m=store/a/{run-id}:upload", OutputSpec("m", "store", "a/{run-id}")),
        ("m=store/a:mount:register=x y", OutputSpec("m", "store", "a", "mount", register_as="x y")),
    ],
)
def test_outputs_as_typed(text: str, spec: OutputSpec) -> None:
    assert parse_output(text) == spec


@pytest.mark.parametrize(
    "text", ["", "=s/p", "m=", "m=/p", "m=s/p:uplod", "m=s/p:register=", "m=s/../p", "m=s/.moorage/x"]
)
def test_outputs_that_cannot_be(text: str) -> None:
    with pytest.raises(UserErrorException):
        parse_output(text)


def test_names_that_would_write_the_same_variable_are_refused() -> None:
    with pytest.raises(UserErrorException, match="2 inputs or outputs are called 'data'"):
        JobSpec("r", "r", ("true",), "/", (InputSpec("data", "x"),), (OutputSpec("DATA"),))


@pytest.mark.parametrize(
    ("command", "grace_s"), [((), 1.0), (("",), 1.0), (("a\0b",), 1.0), (("a",), -1.0), (("a",), float("nan"))]
)
def test_a_command_or_grace_that_cannot_be(command: tuple[str, ...], grace_s: float) -> None:
    with pytest.raises(UserErrorException):
        JobSpec("r", "r", command, "/", grace_s=grace_s)


def test_run_ids_are_as_v1_forms_them() -> None:
    assert re.fullmatch(r"my-exp_\d{10}_[0-9a-f]{8}", new_run_id("my-exp"))
    for name in ("", "a/b", "..", "x" * 65, "-x"):
        with pytest.raises(UserErrorException):
            check_experiment(name)
