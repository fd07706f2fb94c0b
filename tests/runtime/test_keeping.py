"""Secrets in a keyring, by the library's own interface; the backend is one in memory."""

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as FailKeyring
from keyring.backends.null import Keyring as NullKeyring
from keyring.errors import KeyringLocked, PasswordDeleteError

from mountd.errors import AccessDeniedError
from mountd.stores.credentials import Credential
from runtime import datastores
from runtime.datastores import DatastoreRecord
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder, init

SECRET = "c2VjcmV0LXNlY3JldA=="  # noqa: S105 # nobody's
BLOB = "https://account1.blob.core.windows.net/container/"


class MemoryKeyring(KeyringBackend):
    """As a desktop's: it keeps items, and can be locked."""

    priority = 5.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        self.items: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def set_password(self, service: str, username: str, password: str) -> None:
        self._open()
        self.items[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        self._open()
        return self.items.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        self._open()
        if self.items.pop((service, username), None) is None:
            raise PasswordDeleteError

    def _open(self) -> None:
        if self.is_locked:
            raise KeyringLocked


class FileKeyring(MemoryKeyring):
    """As one that keeps a plain file: its library does not recommend it."""

    priority = 0.5


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    before, found = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(found)
    yield found
    keyring.set_keyring(before)


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return init(tmp_path / ".moorage")


def add(workspace: WorkspaceFolder, secret: str = SECRET, *, overwrite: bool = False) -> DatastoreRecord:
    return datastores.add(workspace, DatastoreRecord("Training", BLOB, Credential("key", secret)), overwrite)


def test_a_secret_that_is_kept_is_in_the_keyring_and_not_in_the_file(
    workspace: WorkspaceFolder, ring: MemoryKeyring
) -> None:
    add(workspace)
    assert list(ring.items.values()) == [SECRET]
    assert SECRET not in workspace.datastores_path.read_text()
    assert datastores.get(workspace, "training").credential == Credential("key", SECRET)
    listed = datastores.load_all(workspace)["training"]
    assert listed.credential == Credential("key")
    assert listed.keyring


def test_replacing_and_removing_a_datastore_leaves_no_item(workspace: WorkspaceFolder, ring: MemoryKeyring) -> None:
    add(workspace)
    with pytest.raises(UserErrorException, match="exists"):
        add(workspace)
    add(workspace, "YW5vdGhlcg==", overwrite=True)
    assert list(ring.items.values()) == ["YW5vdGhlcg=="]
    datastores.remove(workspace, "training")
    assert ring.items == {}


def test_a_file_that_cannot_be_written_leaves_no_item(
    workspace: WorkspaceFolder, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datastores, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        add(workspace)
    assert ring.items == {}
    assert not workspace.datastores_path.exists()


@pytest.mark.parametrize("kind", [NullKeyring, FailKeyring, FileKeyring])
def test_what_is_no_real_keyring_is_not_used(
    workspace: WorkspaceFolder, ring: MemoryKeyring, kind: type[KeyringBackend]
) -> None:
    keyring.set_keyring(kind())
    add(workspace)
    assert f'secret = "{SECRET}"' in workspace.datastores_path.read_text()
    assert workspace.datastores_path.stat().st_mode & 0o777 == 0o600
    assert ring.items == {}
    assert datastores.get(workspace, "training").credential == Credential("key", SECRET)


@pytest.mark.warns
def test_a_keyring_that_is_locked_when_a_secret_comes_leaves_it_to_the_file(
    workspace: WorkspaceFolder, ring: MemoryKeyring, caplog: pytest.LogCaptureFixture
) -> None:
    ring.is_locked = True
    add(workspace)
    assert SECRET in workspace.datastores_path.read_text()
    assert "the keyring refuses a secret (KeyringLocked)" in caplog.text
    assert SECRET not in caplog.text


def test_a_keyring_that_does_not_give_a_secret_is_a_line_with_the_remedy(
    workspace: WorkspaceFolder, ring: MemoryKeyring
) -> None:
    add(workspace)
    ring.is_locked = True
    with pytest.raises(AccessDeniedError, match=r"'Training'.*refuses \(KeyringLocked\); unlock it, or add"):
        datastores.get(workspace, "training")
    ring.is_locked = False
    ring.items.clear()
    with pytest.raises(AccessDeniedError, match="has no such item"):
        datastores.get(workspace, "training")
    keyring.set_keyring(NullKeyring())  # type: ignore[no-untyped-call]  # as above
    with pytest.raises(AccessDeniedError, match="is not to be found here"):
        datastores.get(workspace, "training")
    assert datastores.load_all(workspace)["training"].url == BLOB  # what needs no secret goes on
