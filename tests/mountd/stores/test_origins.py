"""Where credentials are looked up, and that no error repeats what was found there."""

import json
import sys
from pathlib import Path

import pytest

from mountd.errors import AccessDeniedError, BadInputError, MountdError, NotFoundError
from mountd.stores.credentials import SECRET_VARIABLES, Credential, origins
from mountd.stores.credentials.origins import from_environment, from_option, variable_of
from tests.mountd.stores.test_credentials import CONNECTION, KEY, SAS

PRINCIPAL = {"tenant_id": "t", "client_id": "c", "client_secret": "hunter2"}


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


def test_a_credential_remembers_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text(KEY)
    monkeypatch.chdir(tmp_path)
    assert from_option("file:secret", {}).origin == f"file:{tmp_path}/secret"
    assert from_option("env:MINE", {"MINE": KEY}).origin == "env:MINE"
    assert variable_of(from_option("env:MINE", {"MINE": KEY})) == "MINE"
    assert variable_of(from_option("file:secret", {})) is None


@pytest.mark.parametrize(
    "told",
    [
        PRINCIPAL,
        {"tenant": "t", "appId": "c", "password": "hunter2", "displayName": "robot"},
        {"tenantId": "t", "clientId": "c", "clientSecret": "hunter2", "subscriptionId": "s"},
    ],
)
def test_a_service_principal_is_json_as_azure_prints_it(tmp_path: Path, told: dict[str, str]) -> None:
    (tmp_path / "robot.json").write_text(json.dumps(told))
    found = from_option(f"file:{tmp_path}/robot.json", {})
    assert (found.kind, json.loads(found.secret)) == ("service_principal", PRINCIPAL)
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    "text", ['{"tenant_id": "t", "client_secret": "hunter2"}', '{"password": "hunter2"', '{"a": 1}']
)
def test_half_a_service_principal_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    (tmp_path / "robot.json").write_text(text)
    with pytest.raises(BadInputError, match=r"robot.json.*service principal") as caught:
        from_option(f"file:{tmp_path}/robot.json", {})
    assert "hunter2" not in str(caught.value)


def test_azure_default_takes_the_principal_of_the_environment_along() -> None:
    environ = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "hunter2"}
    found = from_option("azure-default", environ)
    assert (found.kind, json.loads(found.secret)) == ("service_principal", PRINCIPAL)
    assert from_option("azure-default", {"AZURE_CLIENT_ID": "c"}) == Credential("azure_default")
    assert from_option("managed-identity", {}) == Credential("managed_identity")
    assert from_option("managed-identity:c", {}) == Credential("managed_identity", "c")


def test_what_a_command_prints_is_a_credential() -> None:
    line = f'{sys.executable} -c "print({SAS!r})"'
    found = from_option(f"command:{line}", {})
    assert (found, found.origin) == (Credential("sas", SAS), f"command:{line}")


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("-c 'import sys; print(\"hunter2\"); sys.exit(3)'", AccessDeniedError, "failed with code 3; run it by hand"),
        ("-c 'print(\"hunter2\")'", BadInputError, "what the command prints holds neither"),
        ("-c 'import time; time.sleep(600)'", AccessDeniedError, "no end within 1 s"),
        ('-c "never closed', BadInputError, "check its quotes"),
    ],
)
def test_a_command_that_gives_none_is_an_error_without_what_it_prints(
    line: str, kind: type[MountdError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins, "COMMAND_LIMIT_S", 1.0 if "sleep" in line else 30.0)
    with pytest.raises(kind, match=said) as caught:
        from_option(f"command:{sys.executable} {line}", {})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(NotFoundError, match="no such program"):
        from_option("command:/nonexistent/prints-a-key", {})
