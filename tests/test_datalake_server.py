"""The Data Lake server of these tests, asked by Microsoft's own client, unmodified, and by hand where that cannot."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
import requests
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.filedatalake import (
    ContentSettings,
    DataLakeServiceClient,
    FileSystemClient,
    FileSystemSasPermissions,
    generate_file_system_sas,
)

from tests.support.content import content
from tests.support.datalake_server import ACCOUNT, KEY, DataLakeServer, Fault

ODD = ["a b/ü", "100%", "a%20b", "q?x=1", "h#y", "p+q", "tab\tx", "🎉/x", "'\"", "a&b;c,d:e@f$g!"]
NOW = datetime.now(UTC)


@pytest.fixture
def server() -> Iterator[DataLakeServer]:
    with DataLakeServer.start() as server:
        yield server


@pytest.fixture
def service(server: DataLakeServer) -> Iterator[DataLakeServiceClient]:
    credential = {"account_name": ACCOUNT, "account_key": KEY}
    with DataLakeServiceClient(server.endpoint, credential=credential, retry_total=0) as client:
        yield client


@pytest.fixture
def lake(service: DataLakeServiceClient) -> FileSystemClient:
    return service.create_file_system("fs" + secrets.token_hex(4))


def refused(error: pytest.ExceptionInfo[AzureError]) -> tuple[int | None, str]:
    assert isinstance(error.value, HttpResponseError)
    code = getattr(error.value, "error_code", "")
    return error.value.status_code, str(getattr(code, "value", code))


def listed(lake: FileSystemClient, path: str | None = None, *, recursive: bool = True) -> list[str]:
    found = lake.get_paths(path, recursive=recursive)
    return [each.name + "/" * each.is_directory for each in found]


def test_file_systems_are_made_told_and_removed(service: DataLakeServiceClient) -> None:
    lake = service.create_file_system("fs-1")
    assert [each.name for each in service.list_file_systems()] == ["fs-1"]
    assert lake.exists()
    assert lake.get_file_system_properties().etag
    with pytest.raises(HttpResponseError) as error:
        service.create_file_system("fs-1")
    assert refused(error) == (409, "ContainerAlreadyExists")
    lake.delete_file_system()
    assert not lake.exists()
    with pytest.raises(HttpResponseError) as error:
        listed(lake)
    assert refused(error) == (404, "FilesystemNotFound")


def test_what_was_appended_is_read_in_any_range(lake: FileSystemClient) -> None:
    file = lake.create_file("a/file")
    for start in range(0, 3000, 1000):
        file.append_data(content("f", start, 1000), start, validate_content=True)
    assert file.get_file_properties().size == 0  # nothing of it is there before the flush
    file.flush_data(3000, content_settings=ContentSettings(content_md5=bytearray(b"x" * 16)))
    assert file.download_file().readall() == content("f", 0, 3000)
    assert file.download_file(offset=700, length=900, validate_content=True).readall() == content("f", 700, 900)
    assert file.get_file_properties().content_settings.content_md5 == bytearray(b"x" * 16)
    with pytest.raises(HttpResponseError) as error:
        file.download_file(offset=3000, length=1).readall()
    assert refused(error) == (416, "InvalidRange")
    with pytest.raises(HttpResponseError) as error:
        lake.get_file_client("a/none").download_file()
    assert refused(error) == (404, "BlobNotFound")


def test_odd_names_are_kept(lake: FileSystemClient) -> None:
    for name in ODD:
        lake.get_file_client(name).upload_data(name.encode(), overwrite=True)
    assert {name for name in listed(lake) if not name.endswith("/")} == set(ODD)
    assert [lake.get_file_client(name).download_file().readall() for name in ODD] == [name.encode() for name in ODD]


def test_a_flush_takes_neither_gaps_nor_another_length(lake: FileSystemClient) -> None:
    file = lake.create_file("file")
    file.append_data(b"1234", 0)
    for position in (3, 5):
        with pytest.raises(HttpResponseError) as error:
            file.flush_data(position)
        assert refused(error) == (400, "InvalidFlushPosition")
    file.append_data(b"6", 5)
    with pytest.raises(HttpResponseError) as error:
        file.flush_data(6)
    assert refused(error) == (400, "InvalidFlushPosition")
    assert file.flush_data(4)["etag"]


def test_an_etag_changes_with_each_change_and_not_with_the_name(lake: FileSystemClient) -> None:
    file, etags = lake.create_file("file"), list[object]()
    etags.append(file.get_file_properties().etag)
    file.append_data(b"1", 0)
    assert file.get_file_properties().etag == etags[0]
    etags.append(file.flush_data(1)["etag"])
    etags.append(file.set_metadata({"a": "b"})["etag"])
    etags.append(file.set_http_headers(ContentSettings(content_type="text/plain"))["etag"])
    told = lake.get_file_client("file").get_file_properties()
    assert (told.metadata, told.content_settings.content_type) == ({"a": "b"}, "text/plain")
    assert len(set(etags)) == 4
    assert etags[-1] == f'"{next(iter(lake.get_paths())).etag}"'  # listings tell it without quotes
    assert file.rename_file(f"{lake.file_system_name}/other").get_file_properties().etag == etags[-1]


def test_conditions_are_minded(lake: FileSystemClient) -> None:
    file = lake.create_file("file")
    old = file.get_file_properties().etag
    file.upload_data(b"new", overwrite=True)
    for ask in (file.download_file, file.get_file_properties, file.delete_file):
        with pytest.raises(HttpResponseError) as error:
            ask(etag=old, match_condition=MatchConditions.IfNotModified)
        assert error.value.status_code == 412
    other, place = lake.create_file("other"), f"{lake.file_system_name}/file"
    with pytest.raises(HttpResponseError) as error:
        other.rename_file(place, match_condition=MatchConditions.IfMissing)
    assert refused(error) == (409, "PathAlreadyExists")
    with pytest.raises(HttpResponseError) as error:
        other.rename_file(place, source_etag=old, source_match_condition=MatchConditions.IfNotModified)
    assert refused(error) == (412, "SourceConditionNotMet")
    with pytest.raises(HttpResponseError) as error:
        file.create_file(match_condition=MatchConditions.IfMissing)
    assert refused(error) == (409, "PathAlreadyExists")
    other.rename_file(place)
    assert listed(lake) == ["file"]


@pytest.mark.parametrize("hollow", [False, True])
def test_listings_come_in_pages_and_by_directory(server: DataLakeServer, lake: FileSystemClient, hollow: bool) -> None:  # noqa: FBT001 - a parameter
    for name in ("a/1", "a/b/2", "a/b/3", "a-4", "c"):
        lake.create_file(name)
    lake.create_directory("empty")
    server.account.page_size, server.account.hollow_pages = 2, hollow
    everything = ["a/", "a/1", "a/b/", "a/b/2", "a/b/3", "a-4", "c", "empty/"]
    assert listed(lake) == everything
    assert len(server.asked("list")) == 4 + hollow
    assert listed(lake, recursive=False) == ["a/", "a-4", "c", "empty/"]
    assert listed(lake, "a/b") == ["a/b/2", "a/b/3"]
    assert [len(list(page)) for page in lake.get_paths(max_results=1).by_page()] == [0] * hollow + [1] * 8


def test_directories_are_real(lake: FileSystemClient) -> None:
    lake.create_file("a/b/file")
    assert lake.get_directory_client("a/b").get_directory_properties().metadata == {"hdi_isfolder": "true"}
    lake.create_directory("a")  # it is there, and stays as it is
    for ask, code in (
        (lambda: lake.create_file("a/b/file/below"), "PathConflict"),
        (lambda: lake.create_file("a/b"), "PathConflict"),
        (lambda: lake.create_directory("a/b/file"), "PathConflict"),
        (lambda: lake.get_file_client("a").delete_file(), "DirectoryNotEmpty"),
        (
            lambda: lake.get_file_client("a/b/file").rename_file(f"{lake.file_system_name}/a/b"),
            "InvalidSourceOrDestination",
        ),
        (
            lambda: lake.get_directory_client("a").rename_directory(f"{lake.file_system_name}/a/b/c"),
            "InvalidRenameSource",
        ),
        (
            lambda: lake.get_file_client("a/b/file").rename_file(f"{lake.file_system_name}/x/y"),
            "RenameDestinationParent",
        ),
        (lambda: lake.get_file_client("none").rename_file(f"{lake.file_system_name}/y"), "SourcePathNotFound"),
    ):
        with pytest.raises(HttpResponseError) as error:
            ask()
        assert refused(error)[1].startswith(code)
    lake.get_directory_client("a").rename_directory(f"{lake.file_system_name}/z")
    assert listed(lake) == ["z/", "z/b/", "z/b/file"]
    lake.delete_directory("z")
    assert listed(lake) == []


def test_a_wrong_key_and_a_missing_right_are_refused(server: DataLakeServer, lake: FileSystemClient) -> None:
    lake.create_file("file")
    wrong = {"account_name": ACCOUNT, "account_key": "d3Jvbmc="}
    with (
        FileSystemClient(server.endpoint, lake.file_system_name, credential=wrong, retry_total=0) as stranger,
        pytest.raises(HttpResponseError) as error,
    ):
        listed(stranger)
    assert refused(error) == (403, "AuthenticationFailed")
    server.access.refused.add("rename")
    with pytest.raises(HttpResponseError) as error:
        lake.get_file_client("file").rename_file(f"{lake.file_system_name}/x")
    assert refused(error) == (403, "AuthorizationPermissionMismatch")
    server.access.accepts.clear()
    with pytest.raises(HttpResponseError) as error:
        listed(lake)
    assert refused(error) == (403, "AuthorizationFailure")


def test_a_sas_token_is_good_until_it_ends_and_is_wanted_for_a_rename_s_source(
    server: DataLakeServer, lake: FileSystemClient
) -> None:
    def token(hours: int) -> str:
        permission = FileSystemSasPermissions(read=True, write=True, list=True, delete=True)
        name = lake.file_system_name
        made = generate_file_system_sas(ACCOUNT, name, KEY, permission, expiry=NOW + timedelta(hours=hours))
        server.access.signatures.add(parse_qs(made)["sig"][0])
        return made

    lake.create_file("file")
    good = FileSystemClient(server.endpoint, lake.file_system_name, credential=token(1), retry_total=0)
    good.get_file_client("file").rename_file(f"{lake.file_system_name}/other")
    assert listed(good) == ["other"]
    over = FileSystemClient(server.endpoint, lake.file_system_name, credential=token(-1), retry_total=0)
    with pytest.raises(HttpResponseError) as error:
        listed(over)
    assert refused(error) == (403, "AuthenticationFailed")
    address = f"{server.endpoint}/{lake.file_system_name}/third?mode=legacy&{token(1)}"
    source = {"x-ms-rename-source": f"/{lake.file_system_name}/other"}
    assert requests.put(address, headers=source, timeout=10).status_code == 403
    assert not any("sig=" in each for _, each in server.requests)


def test_bearer_tokens_and_strangers(server: DataLakeServer, lake: FileSystemClient) -> None:
    server.access.tokens.add("good")
    address = f"{server.endpoint}/{lake.file_system_name}?resource=filesystem&recursive=true"

    def status(**headers: str) -> int:
        return requests.get(address, headers=headers, timeout=10).status_code

    assert (status(Authorization="Bearer good"), status(Authorization="Bearer bad"), status()) == (200, 401, 401)
    server.access.accepts.add("anonymous")
    assert status() == 200


def test_what_it_does_not_know_it_says(server: DataLakeServer, lake: FileSystemClient) -> None:
    server.access.accepts.add("anonymous")
    with pytest.raises(HttpResponseError) as error:
        lake.create_file("file").get_access_control()
    assert error.value.status_code == 501
    address = f"{server.endpoint}/{lake.file_system_name}/file"
    answer = requests.put(address, data=b"a blob", headers={"x-ms-blob-type": "BlockBlob"}, timeout=10)
    assert (answer.status_code, "PUT" in answer.text) == (501, True)
    wrong = {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    answer = requests.patch(f"{address}?action=append&position=0", data=b"1", headers=wrong, timeout=10)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "Md5Mismatch")


def test_faults_come_once_and_a_lost_answer_was_carried_out(server: DataLakeServer, lake: FileSystemClient) -> None:
    server.faults += [Fault("create file", lost=True), Fault("list", status=503)]
    with pytest.raises(AzureError):
        lake.create_file("file")
    with pytest.raises(HttpResponseError) as error:
        listed(lake)
    assert error.value.status_code == 503
    assert listed(lake) == ["file"]
