"""Registrations of every kind of datastore with v1's signatures: their URLs, their attributes, their refusals."""

from pathlib import Path
from typing import Any

import pytest

from mountd.errors import AccessDeniedError, BadInputError
from mountd.stores.credentials import SECRET_VARIABLES
from runtime import Datastore, Workspace
from runtime.api.azure_datastores import AzureBlobDatastore, AzureDataLakeGen2Datastore, AzureFileDatastore
from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import init
from tests.support import datalake_server
from tests.support.azurite import ACCOUNT, KEY
from tests.support.content import content, make_tree
from tests.support.datalake_server import DataLakeServer
from tests.support.fileshare_server import FileShares

ROBOT: dict[str, Any] = {"tenant_id": "t", "client_id": "c", "client_secret": "hunter2"}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in SECRET_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return Workspace.of(init(tmp_path / ".moorage"))


@pytest.mark.parametrize(
    ("protocol", "endpoint", "share", "lake"),
    [
        (None, None, "https://acct.file.core.windows.net/place/", "abfss://place@acct.dfs.core.windows.net/"),
        (
            "HTTPS",
            "core.usgovcloudapi.net",
            "https://acct.file.core.usgovcloudapi.net/place/",
            "abfss://place@acct.dfs.core.usgovcloudapi.net/",
        ),
        ("http", "127.0.0.1:10004", "azfile://127.0.0.1:10004/acct/place/", "abfs://place@127.0.0.1:10004/acct/"),
        ("https", "localhost:8443", "azfiles://localhost:8443/acct/place/", "abfss://place@localhost:8443/acct/"),
    ],
)
def test_protocol_and_endpoint_of_shares_and_lakes_are_honoured(
    workspace: Workspace, protocol: str | None, endpoint: str | None, share: str, lake: str
) -> None:
    made = Datastore.register_azure_file_share(
        workspace,
        "share",
        "place",
        "acct",
        account_key="a2V5",
        protocol=protocol,
        endpoint=endpoint,
        skip_validation=True,
    )
    robot = Datastore.register_azure_data_lake_gen2(
        workspace, "lake", "place", "acct", **ROBOT, protocol=protocol, endpoint=endpoint
    )
    assert (made.url, robot.url) == (share, lake)
    wanted = ((protocol or "https").lower(), endpoint or "core.windows.net")
    assert ((made.protocol, made.endpoint), (robot.protocol, robot.endpoint)) == (wanted, wanted)
    assert {each.container_name for each in (made, robot)} == {"place"}


def test_each_kind_has_v1s_class_and_attributes(workspace: Workspace) -> None:
    blob = Datastore.register_azure_blob_container(
        workspace, "blob", "cont", "acct", "?sv=1&sig=hunter2", "a2V5", skip_validation=True
    )
    share = Datastore.register_azure_file_share(workspace, "share", "place", "acct", None, "a2V5", skip_validation=True)
    lake = Datastore.register_azure_data_lake_gen2(workspace, "lake", "place", "acct", **ROBOT)
    bare = Datastore.register_azure_data_lake_gen2(workspace, "bare", "place", "acct")
    assert [type(Datastore(workspace, name)) for name in ("blob", "share", "lake")] == [
        *(AzureBlobDatastore, AzureFileDatastore, AzureDataLakeGen2Datastore)
    ]
    assert (blob.datastore_type, blob.credential_type, blob.sas_token, blob.account_key) == (
        *("AzureBlob", "Sas", "sv=1&sig=hunter2", None),
    )
    assert (share.datastore_type, share.credential_type, share.account_key) == ("AzureFile", "AccountKey", "a2V5")
    assert (lake.datastore_type, lake.credential_type) == ("AzureDataLakeGen2", "ServicePrincipal")
    assert (lake.tenant_id, lake.client_id, lake.client_secret) == ("t", "c", "hunter2")
    assert (lake.resource_url, lake.authority_url) == (
        *("https://storage.azure.com/", "https://login.microsoftonline.com"),
    )
    assert (bare.credential_type, bare.client_secret) == ("None", None)
    for each in (blob, share, lake):
        assert "hunter2" not in f"{each!r} {vars(each)}"
        assert "a2V5" not in f"{each!r} {vars(each)}"
    assert {name: type(each) for name, each in workspace.datastores.items()}["share"] is AzureFileDatastore


def test_what_cannot_be_registered_says_why_and_is_not_kept(workspace: Workspace) -> None:
    blob, lake = Datastore.register_azure_blob_container, Datastore.register_azure_data_lake_gen2
    with pytest.raises(UserErrorException, match="a service principal also needs client_secret, tenant_id"):
        lake(workspace, "x", "place", "acct", client_id="c")
    with pytest.raises(UserErrorException, match="grant_workspace_access needs subscription_id and resource_group"):
        blob(workspace, "x", "cont", "acct", skip_validation=True, grant_workspace_access=True)
    with pytest.raises(UserErrorException, match="protocol 'ftp': it is 'https'"):
        blob(workspace, "x", "cont", "acct", protocol="ftp", skip_validation=True)
    with pytest.raises(BadInputError, match="plain http would show the data"):
        blob(workspace, "x", "cont", "acct", protocol="http", skip_validation=True)
    with pytest.raises(UserErrorException, match="names of an account and of a container"):
        blob(workspace, "x", "", "acct", skip_validation=True)
    with pytest.raises(UserErrorException, match="'a-b' is no name for a datastore"):
        blob(workspace, "a-b", "cont", "unreachable")  # before anybody is asked
    with pytest.raises(UserErrorException, match="exists; add it with overwrite=True"):
        blob(workspace, "workspaceblobstore", "cont", "unreachable")
    assert list(workspace.datastores) == ["workspaceblobstore"]


def test_a_web_folder_is_a_datastore_whose_files_are_named(workspace: Workspace) -> None:
    web = Datastore.register_web_folder(workspace, "web", "https://example.org/data")
    assert (web.url, web.datastore_type, web.account_name) == ("https://example.org/data/", "Https", "")
    assert (web.path("x.csv", "name").path_on_datastore, web.path("x.csv", "name").name) == ("x.csv", "name")


def test_a_file_share_is_made_checked_and_used(workspace: Workspace, tmp_path: Path) -> None:
    make_tree(tmp_path / "data", {"a.bin": 100, "sub/b.bin": 7000})
    with FileShares.start() as server:
        where: dict[str, Any] = {"protocol": "http", "endpoint": server.url("x").split("/")[2], "account_key": KEY}
        with pytest.raises(Exception, match="no such share"):
            Datastore.register_azure_file_share(workspace, "share", "team", ACCOUNT, **where)
        for overwrite in (False, True):
            share = Datastore.register_azure_file_share(
                workspace,
                "share",
                "team",
                ACCOUNT,
                **where,
                overwrite=overwrite,
                create_if_not_exists=True,
            )
        share.upload(tmp_path / "data", "in/deep")
        assert share.download(tmp_path / "got", "in/deep") == 2
        assert (tmp_path / "got/in/deep/sub/b.bin").read_bytes() == content("sub/b.bin", 0, 7000)
        wrong = where | {"account_key": "aHVudGVyMg=="}
        with pytest.raises(AccessDeniedError):
            Datastore.register_azure_file_share(workspace, "other", "team", ACCOUNT, **wrong)
    with pytest.raises(UnknownNameError):
        Datastore.get(workspace, "other")


def test_a_data_lake_is_used_with_the_environments_credential(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(tmp_path / "data", {"a.bin": 100, "sub/b.bin": 7000})
    monkeypatch.setenv("AZURE_STORAGE_KEY", datalake_server.KEY)
    with DataLakeServer.start() as server:
        server.make("lake")
        lake = Datastore.register_azure_data_lake_gen2(
            workspace, "lake", "lake", datalake_server.ACCOUNT, protocol="http", endpoint=server.endpoint.split("/")[2]
        )
        assert lake.url == server.url("lake")
        lake.upload(tmp_path / "data", "in")
        assert lake.download(tmp_path / "got", "in/sub") == 1
        assert (tmp_path / "got/in/sub/b.bin").read_bytes() == content("sub/b.bin", 0, 7000)
