import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mountd.errors import AccessDeniedError, BadInputError, NotFoundError
from mountd.stores.credentials import SECRET_VARIABLES, Credential, Kind, from_environment, from_option, resolve

KEY = "c2VjcmV0LWtleS1vZi10aGlzLXRlc3Q="
SAS = "sv=2024-01-01&sp=rl&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.windows.net"


@given(st.sampled_from(get_args(Kind)), st.text(min_size=12))
def test_no_rendering_shows_the_secret_and_json_keeps_it(kind: Kind, secret: str) -> None:
    assume(secret not in repr(Credential(kind)))  # hypothesis tries words of our own source, such as the kinds' names
    credential = Credential(kind, secret)
    for rendering in (repr(credential), str(credential), f"{credential}", f"{[credential]}"):
        assert secret not in rendering
    assert Credential.from_json(json.loads(json.dumps(credential.to_json()))) == credential


@pytest.mark.parametrize(
    "data", [{}, {"kind": "password", "secret": "hunter2hunter2"}, {"kind": "key", "secret": None}]
)
def test_damaged_json_is_bad_input_without_the_value(data: dict[str, str]) -> None:
    with pytest.raises(BadInputError) as caught:
        Credential.from_json(data)
    assert "hunter2" not in str(caught.value)


def test_environment_is_asked_in_order_and_empty_values_do_not_count() -> None:
    full = {
        "AZURE_STORAGE_CONNECTION_STRING": CONNECTION,
        "AZURE_STORAGE_KEY": KEY,
        "AZURE_STORAGE_SAS_TOKEN": "?" + SAS,
    }
    assert from_environment(full) == Credential("connection_string", CONNECTION)
    assert from_environment(full | {"AZURE_STORAGE_CONNECTION_STRING": " "}) == Credential("key", KEY)
    assert from_environment({"AZURE_STORAGE_SAS_TOKEN": "?" + SAS}) == Credential("sas", SAS)
    assert from_environment({"AZURE_STORAGE_ACCOUNT": "x"}) is None
    assert full.keys() <= set(SECRET_VARIABLES)


@pytest.mark.parametrize(
    ("text", "kind"), [(KEY, "key"), (SAS, "sas"), ("?" + SAS, "sas"), (CONNECTION, "connection_string")]
)
def test_option_names_a_file_or_a_variable_whose_form_tells_the_kind(tmp_path: Path, text: str, kind: str) -> None:
    file = tmp_path / "secret"
    file.write_text(text + "\n")
    expected = Credential.from_json({"kind": kind, "secret": text.removeprefix("?")})
    assert from_option(f"file:{file}", {}) == expected
    assert from_option("env:MINE", {"MINE": text}) == expected


def test_option_azure_default_and_anonymous() -> None:
    assert from_option("azure-default", {}) == Credential("azure_default")
    assert from_option("anonymous", {}) == Credential("anonymous")


@pytest.mark.parametrize("text", [KEY, SAS, CONNECTION, "key:" + KEY, "env:" + KEY, "env:", "file:", ""])
def test_a_value_on_the_command_line_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        from_option(text, {})
    assert KEY not in str(caught.value)
    assert "c2Vj" not in str(caught.value)
    assert "file:PATH" in str(caught.value)


def test_option_errors_name_the_place_and_not_the_content(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        from_option(f"file:{tmp_path}/nowhere", {})
    with pytest.raises(NotFoundError, match="env:MISSING"):
        from_option("env:MISSING", {})
    with pytest.raises(BadInputError, match="not a text file"):
        from_option(f"file:{tmp_path}", {})
    odd = tmp_path / "odd"
    odd.write_text("hunter2 hunter2")
    with pytest.raises(BadInputError, match="odd") as caught:
        from_option(f"file:{odd}", {})
    assert "hunter2" not in str(caught.value)


def test_resolve_takes_key_or_token_out_of_a_connection_string() -> None:
    assert resolve(Credential("connection_string", CONNECTION), "acct") == Credential("key", KEY)
    with_sas = f"BlobEndpoint=https://acct.blob.core.windows.net;SharedAccessSignature={SAS}"
    assert resolve(Credential("connection_string", with_sas), "acct") == Credential("sas", SAS)
    assert resolve(Credential("connection_string", "UseDevelopmentStorage=true"), "devstoreaccount1").kind == "key"
    assert resolve(None, "acct") == Credential("anonymous")
    assert resolve(Credential("azure_default"), "acct") == Credential("azure_default")


@pytest.mark.parametrize(
    "credential",
    [
        Credential("connection_string", CONNECTION.replace("acct", "other")),
        Credential("connection_string", "AccountName=acct"),
        Credential("key", "hunter2 is no base64"),
    ],
)
def test_resolve_refuses_what_does_not_fit_without_showing_it(credential: Credential) -> None:
    with pytest.raises(AccessDeniedError) as caught:
        resolve(credential, "acct")
    assert KEY not in str(caught.value)
    assert "hunter2" not in str(caught.value)
