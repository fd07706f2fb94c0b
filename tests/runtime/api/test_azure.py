"""The v1 faces on a real Blob server: registered with its protocol and endpoint, or named by URL."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from mountd.errors import AccessDeniedError, NotFoundError
from mountd.stores.credentials import SECRET_VARIABLES
from runtime import Dataset, Datastore, Workspace
from runtime.cli import call
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


@pytest.mark.warns
def test_parts_partitions_and_repeated_uploads_work_on_blobs(
    workspace: Workspace, azurite: Azurite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    azurite.make_container("api-parts")
    blob = registered(workspace, azurite, "api-parts")
    make_tree(tmp_path / "data", {"2020/01/a b.csv": 100, "2020/02/c.csv": 30, "2021/01/d.csv": 70_000})
    for _ in range(2):
        made = Dataset.File.upload_directory(tmp_path / "data", (blob, "in"))
    assert "3 of 3 files are in blob/in/ already with the same bytes" in caplog.text
    dated = Dataset.File.from_files((blob, "in/**"), partition_format="in/{day:yyyy/MM}/{name}.csv")
    assert [row["name"] for row in dated.get_partition_key_values(["name"])] == ["a b", "c", "d"]
    recent = dated.filter((dated["day"] >= date(2020, 2, 1)) & (dated.file_metadata("Size") < 1000))
    assert recent.register(workspace, "recent").to_path() == ["/2020/02/c.csv"]
    assert made.skip(2).download(tmp_path / "got") == [f"{tmp_path}/got/2021/01/d.csv"]
    assert (tmp_path / "got/2021/01/d.csv").read_bytes() == content("2021/01/d.csv", 0, 70_000)


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


def test_a_container_can_be_made_on_the_way_and_one_that_is_there_is_left(
    workspace: Workspace, azurite: Azurite
) -> None:
    endpoint = azurite.endpoint.removeprefix("http://")
    for overwrite in (False, True):
        made = Datastore.register_azure_blob_container(
            workspace, "made", "api-made", ACCOUNT, None, KEY, "http", endpoint, overwrite, create_if_not_exists=True
        )
        azurite.put("api-made", "x", b"1")
    assert made.name == "made"
    assert [blob.name for blob in made.blob_service.get_container_client("api-made").list_blobs()] == ["x"]
    with pytest.raises(AccessDeniedError):
        Datastore.register_azure_blob_container(
            workspace,
            "not",
            "api-not",
            ACCOUNT,
            azurite.sas("api-not"),
            None,
            "http",
            endpoint,
            create_if_not_exists=True,
        )
    with pytest.raises(UnknownNameError):
        Datastore.get(workspace, "not")


def test_a_token_that_has_expired_or_may_not_list_is_not_registered(workspace: Workspace, azurite: Azurite) -> None:
    azurite.make_container("api-sas")
    endpoint = azurite.endpoint.removeprefix("http://")
    for token, said in (
        (azurite.sas("api-sas", lasts=timedelta(minutes=-1)), "the SAS token expired at"),
        (azurite.sas("api-sas", "r"), "no right to list"),
    ):
        with pytest.raises(AccessDeniedError, match=said) as caught:
            Datastore.register_azure_blob_container(
                workspace, "sas", "api-sas", ACCOUNT, sas_token="?" + token, protocol="http", endpoint=endpoint
            )
        assert token.partition("sig=")[2][:20] not in str(caught.value)
    assert list(workspace.datastores) == ["workspaceblobstore"]


def test_a_datastore_without_a_credential_takes_the_environments(
    workspace: Workspace, azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azurite.make_container("api-bare")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    endpoint = azurite.endpoint.removeprefix("http://")
    bare = Datastore.register_azure_blob_container(
        workspace, "bare", "api-bare", ACCOUNT, protocol="http", endpoint=endpoint
    )
    make_tree(tmp_path / "data", {"a.bin": 100})
    bare.upload(tmp_path / "data", "in")
    assert bare.download(tmp_path / "got", "in") == 1
    assert KEY not in workspace.folder.datastores_path.read_text()
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    assert Datastore.get(workspace, "bare").credential_type == "None"
    with pytest.raises((AccessDeniedError, NotFoundError)):
        bare.download(tmp_path / "again", "in")


def test_check_says_whether_a_datastore_can_be_used(
    workspace: Workspace, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, place = azurite.make_container("api-check"), workspace.folder.path / "token"
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(workspace.folder.path))

    def check(token: str, *flags: str) -> tuple[int, str, str]:
        place.write_text(token)
        code = call(["datastore", "check", "store", *flags])
        return code, *capsys.readouterr()

    place.write_text(azurite.sas("api-check"))
    assert call(["datastore", "add", "store", url, "--credential", f"file:{place}"]) == 0
    capsys.readouterr()
    listed = f"store: {url}: can be listed with sas; there is nothing to read in it\n"
    assert check(azurite.sas("api-check")) == (0, listed, "")
    azurite.put("api-check", "empty", b"")
    azurite.put("api-check", "full", b"12345")
    assert check(azurite.sas("api-check")) == (0, f"store: {url}: can be listed and read with sas\n", "")
    code, out, err = check(azurite.sas("api-check", lasts=timedelta(minutes=30)))
    assert (code, out.count("\n")) == (0, 1)
    assert "store: the SAS token expires in 30 minutes" in err
    for token, exit_code, said in (
        (azurite.sas("api-check", "l"), 5, "no right to read (sp=l); make one that has 'r' in it"),
        (azurite.sas("api-check", "r"), 5, "no right to list (sp=r)"),
        (azurite.sas("api-check", lasts=timedelta(hours=-1)), 5, "the SAS token expired"),
        (azurite.sas("another"), 5, "the credential is refused or lacks the right"),
        ("hunter2 hunter2", 3, f"the file {place} holds neither"),
    ):
        code, out, err = check(token)
        assert (code, out, err.count("\n")) == (exit_code, "", 1)
        assert said in err
        assert token.partition("sig=")[2][:20] not in err or "sig=" not in token
        assert "hunter2" not in err
    told = json.loads(check(azurite.sas("api-check"), "--json")[1])
    assert (told["name"], told["warning"]) == ("store", None)


def test_a_job_does_not_begin_with_an_expired_token(
    workspace: Workspace, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, place = azurite.make_container("api-expired"), workspace.folder.path / "token"
    azurite.put("api-expired", "a", b"12345")
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(workspace.folder.path))
    place.write_text(azurite.sas("api-expired"))
    assert call(["datastore", "add", "store", url, "--credential", f"file:{place}"]) == 0
    assert call(["dataset", "register", "d", "store/"]) == 0
    capsys.readouterr()
    place.write_text(azurite.sas("api-expired", lasts=timedelta(hours=-1)))
    assert call(["run", "--input", "d=d:download", "--", "true"]) == 64 + AccessDeniedError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert "the SAS token expired at" in line
    assert not list(workspace.folder.runs_path.iterdir())
