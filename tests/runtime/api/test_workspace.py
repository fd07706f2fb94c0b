"""Workspace's further calls: create, list, runs, details and secrets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest

from runtime import UserErrorException, Workspace
from runtime.errors import UnknownNameError
from runtime.job import runs
from runtime.job.spec import JobSpec
from tests.runtime.test_keeping import MemoryKeyring


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MOORAGE_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    before, found = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(found)
    yield found
    keyring.set_keyring(before)


def test_what_is_created_is_listed_and_not_made_twice() -> None:
    assert Workspace.list() == {}
    made = Workspace.create("team", subscription_id="s", resource_group="g", location="eastus", sku="basic")
    assert (made.name, made.subscription_id, made.resource_group, made.sku) == ("team", "s", "g", "Basic")
    with pytest.raises(UserErrorException, match=r"'team' already; use Workspace\.get"):
        Workspace.create("team")
    assert Workspace.create("team", exist_ok=True).folder == Workspace.get(name="team", location="x").folder
    assert [each.folder for each in Workspace.list("s")["team"]] == [made.folder]
    assert Workspace.list("other") == Workspace.list("s", resource_group="other") == {}


def test_the_strings_are_never_missing() -> None:
    made = Workspace.get("team")
    told = made.get_details()
    assert all(isinstance(each, str) for each in (made.subscription_id, made.resource_group, made.location))
    assert None not in told.values()
    assert (told["name"], told["location"], told["id"].split("/")[-1]) == ("team", "local", "team")
    nothing: Any = None
    with pytest.raises(UserErrorException, match="subscription_id None is no text"):
        Workspace(nothing, "g", "w")


def test_runs_and_experiments_are_found() -> None:
    workspace = Workspace.get("team")
    assert workspace.experiments == {}
    runs.create(workspace.folder, JobSpec("first_1_aa", "first", ("true",), "/"))
    runs.create(workspace.folder, JobSpec("second_1_aa", "second", ("true",), "/"))
    assert [*workspace.experiments] == ["first", "second"]
    assert workspace.experiments["second"].workspace.folder == workspace.folder
    found = workspace.get_run("second_1_aa")
    assert (found.id, found.experiment.name) == ("second_1_aa", "second")
    with pytest.raises(UnknownNameError):
        workspace.get_run("third_1_aa")


def test_secrets_are_in_the_keyring_and_in_no_file(ring: MemoryKeyring) -> None:
    workspace = Workspace.get("team")
    vault = workspace.get_default_keyvault()
    vault.set_secrets({"token": "hunter1", "other": "x"})
    vault.set_secret(name="token", value="hunter2")
    assert vault.get_secret("token") == "hunter2"
    assert vault.get_secrets(["token", "gone"]) == {"token": "hunter2", "gone": None}
    assert vault.list_secrets() == [{"name": "other"}, {"name": "token"}]
    assert sorted(ring.items.values()) == ["hunter2", "x"]
    kept = b"".join(path.read_bytes() for path in workspace.folder.path.iterdir() if path.is_file())
    assert b"hunter" not in kept
    vault.delete_secrets(["other", "never"])
    with pytest.raises(UnknownNameError, match="no secret 'other' in this workspace; there are: token"):
        vault.get_secret("other")
    with pytest.raises(UserErrorException, match="'a b' is no name for a secret"):
        vault.set_secret("a b", "x")
    ring.is_locked = True
    with pytest.raises(UserErrorException, match="the keyring does not give it"):
        vault.get_secret("token")


def test_without_a_keyring_a_secret_is_refused_and_not_written_down() -> None:
    vault = Workspace.get("team").get_default_keyvault()
    with pytest.raises(UserErrorException, match="no keyring here that keeps it; install"):
        vault.set_secret("token", "hunter2")
    assert vault.list_secrets() == []


@pytest.mark.warns
def test_a_keyring_that_is_locked_keeps_nothing_and_says_so(
    ring: MemoryKeyring, caplog: pytest.LogCaptureFixture
) -> None:
    vault = Workspace.get("team").get_default_keyvault()
    ring.is_locked = True
    with pytest.raises(UserErrorException, match="no keyring here that keeps it"):
        vault.set_secret("token", "hunter2")
    assert "the keyring refuses a secret (KeyringLocked); it is not kept" in caplog.text
    assert vault.list_secrets() == []
