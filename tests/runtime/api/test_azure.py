"""The v1 faces on a real Blob server: registered with its protocol and endpoint, or named by URL."""

from pathlib import Path

import pytest

from mountd.errors import AccessDeniedError, NotFoundError
from mountd.stores.credentials import SECRET_VARIABLES
from runtime import Dataset, Datastore, Workspace
from runtime.errors import UnknownNameError
from runtime.workspace import init
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.content import content, make_tree

pytestmark = pytest.mark.azurite


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.of(init(tmp_path / ".moorage"))


def registered(workspace: Workspace, azurite: Azurite, container: str, key: str = KEY) -> Datastore:
    return Datastore.register_azure_blob_container(
        workspace,
        "blob",
        container,
        ACCOUNT,
        account_key=key,
        protocol="http",
        endpoint=azurite.endpoint.removeprefix("http://"),
    )


def test_what_is_uploaded_can_be_registered_and_downloaded(
    workspace: Workspace, azurite: Azurite, tmp_path: Path
) -> None:
    azurite.make_container("api-main")
    blob = registered(workspace, azurite, "api-main")
    make_tree(tmp_path / "data", {"a.bin": 100, "sub dir/b [1].bin": 70_000})
    blob.upload(tmp_path / "data", "in/deep")
    folder = Dataset.File.from_files((blob, "in/deep")).register(workspace, "deep")
    assert folder.to_path() == ["/a.bin", "/sub dir/b [1].bin"]
    folder.download(tmp_path / "got")
    assert (tmp_path / "got/sub dir/b [1].bin").read_bytes() == content("sub dir/b [1].bin", 0, 70_000)
    one = Dataset.File.from_files((blob, "in/deep/a.bin")).frozen()
    assert (one.single_file, one.files) == ("a.bin", 1)
    assert KEY not in f"{one} {blob!r}"


@pytest.mark.usefixtures("workspace")
def test_a_url_is_opened_by_the_environment(azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRET_VARIABLES, "MOORAGE_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    url = azurite.make_container("api-url")
    azurite.put("api-url", "wd/a.bin", content("a", 0, 10))
    dataset = Dataset.File.from_files(f"{url}wd/*.bin")
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AccessDeniedError, NotFoundError)):
        dataset.to_path()  # no credential: refused
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    assert dataset.to_path() == ["/a.bin"]


def test_a_registration_that_cannot_be_opened_is_refused_and_kept_nowhere(
    workspace: Workspace, azurite: Azurite
) -> None:
    azurite.make_container("api-refused")
    with pytest.raises(AccessDeniedError):
        registered(workspace, azurite, "api-refused", key="d3Jvbmc=")
    with pytest.raises(NotFoundError):
        registered(workspace, azurite, "api-missing")
    with pytest.raises(UnknownNameError):
        Datastore.get(workspace, "blob")
