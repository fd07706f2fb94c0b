"""The fake Azure Files server, asked by Microsoft's own client as it is."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare import (
    AccountSasPermissions,
    ContentSettings,
    FileProperties,
    ResourceTypes,
    ShareClient,
    ShareSasPermissions,
    ShareServiceClient,
    generate_account_sas,
    generate_share_sas,
)

from tests.support.azurite import ACCOUNT, KEY
from tests.support.content import content
from tests.support.fileshare_server import FileShares
from tests.support.fileshare_tree import File

_WRONG_KEY = "d3Jvbmc="


@pytest.fixture(scope="module")
def server() -> Iterator[FileShares]:
    with FileShares.start() as running:
        yield running


@pytest.fixture
def share(server: FileShares) -> Iterator[ShareClient]:
    name = f"s{uuid4().hex}"
    with ShareClient.from_connection_string(server.connection_string, name, retry_total=0) as client:
        client.create_share()
        yield client
        client.delete_share()


def code(error: pytest.ExceptionInfo[HttpResponseError]) -> str:
    told = error.value.error_code  # type: ignore[attr-defined]
    return str(getattr(told, "value", told))


def test_shares_are_made_listed_told_and_deleted(server: FileShares) -> None:
    with ShareServiceClient.from_connection_string(server.connection_string) as service:
        made = service.create_share("made-here", metadata={"a": "b"})
        assert made.get_share_properties().metadata == {"a": "b"}
        assert [each.name for each in service.list_shares("made")] == ["made-here"]
        with pytest.raises(ResourceExistsError) as caught:
            service.create_share("made-here")
        assert code(caught) == "ShareAlreadyExists"
        made.delete_share()
        with pytest.raises(ResourceNotFoundError) as missing:
            list(made.list_directories_and_files())
        assert code(missing) == "ShareNotFound"


def test_a_file_is_uploaded_in_ranges_and_read_in_part_and_as_a_whole(share: ShareClient) -> None:
    data = content("file", 0, (9 << 20) + 7)
    share.create_directory("d")
    file = share.get_file_client("d/ü x.bin")
    file.upload_file(data, validate_content=True, content_settings=ContentSettings(content_md5=bytearray(b"x" * 16)))
    assert file.download_file().readall() == data
    assert file.download_file(offset=5, length=5 << 20, validate_content=True).readall() == data[5 : 5 + (5 << 20)]
    told = file.get_file_properties()
    assert (told.size, told.content_settings.content_md5) == (len(data), bytearray(b"x" * 16))
    with pytest.raises(HttpResponseError) as beyond:
        file.download_file(offset=len(data), length=1)
    assert (beyond.value.status_code, code(beyond)) == (416, "InvalidRange")


def test_every_change_of_a_file_gives_it_another_etag(share: ShareClient) -> None:
    file = share.get_file_client("file")
    seen = [file.create_file(4)["etag"], file.upload_range(b"1234", 0, 4)["etag"]]
    seen += [file.set_http_headers(ContentSettings(content_type="text/plain"))["etag"]]
    seen += [file.set_file_metadata({"k": "v"})["etag"]]
    assert file.get_file_properties().etag == seen[-1]
    seen += [file.rename_file("other").get_file_properties().etag]
    assert len(set(seen)) == len(seen)


def test_a_range_with_the_wrong_md5_or_beyond_the_size_is_refused(share: ShareClient) -> None:
    file = share.get_file_client("file")
    file.create_file(4)
    with pytest.raises(HttpResponseError) as wrong:
        file.upload_range(b"1234", 0, 4, headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    assert code(wrong) == "Md5Mismatch"
    with pytest.raises(HttpResponseError) as beyond:
        file.upload_range(b"1234", 1, 4)
    assert code(beyond) == "InvalidRange"
    assert file.download_file().readall() == b"\0\0\0\0"


def test_a_directory_is_listed_by_page_and_prefix_with_what_include_names(
    server: FileShares, share: ShareClient
) -> None:
    for name in ("a/x1", "a/x2", "a/y", "a/deep/z", "b", "a/&\ufffe"):
        server.put(share.share_name, name, b"12345")
    folder = share.get_directory_client("a")
    pages = folder.list_directories_and_files(results_per_page=2, include=["Timestamps", "Etag"]).by_page()
    found = [list(page) for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    told = {each.name: each for page in found for each in page}
    assert {name for name, each in told.items() if each.is_directory} == {"deep"}
    assert set(told) == {"x1", "x2", "y", "deep", "&\ufffe"}
    assert told["y"].etag == folder.get_file_client("y").get_file_properties().etag
    assert told["y"].last_write_time
    assert isinstance(told["y"], FileProperties)
    assert told["y"].size == 5
    plain = list(folder.list_directories_and_files("X"))
    assert [each.name for each in plain] == ["x1", "x2"]
    assert not any(each.etag for each in plain)
    assert share.get_directory_client("a/none").exists() is False


def test_names_keep_their_case_and_are_found_without_it(server: FileShares, share: ShareClient) -> None:
    server.put(share.share_name, "Folder/File.TXT", b"1")
    share.get_file_client("FOLDER/file.txt").upload_file(b"22")
    assert [each.name for each in share.get_directory_client("folder").list_directories_and_files()] == ["File.TXT"]
    with pytest.raises(ResourceExistsError):
        share.create_directory("fOLDER")


@pytest.mark.parametrize("name", ["a:b", "a|b", "a*b", "com1", "n" * 256, "tab\tx"])
def test_names_that_the_service_does_not_take_are_refused(share: ShareClient, name: str) -> None:
    with pytest.raises(HttpResponseError) as caught:
        share.get_file_client(name).create_file(0)
    assert (caught.value.status_code, code(caught)) == (400, "InvalidResourceName")


def test_trailing_dots_are_cut_off_unless_asked_for(server: FileShares, share: ShareClient) -> None:
    share.get_file_client("cut..").create_file(0)
    url, key = server.account_url, {"account_name": ACCOUNT, "account_key": KEY}
    with ShareClient(url, share.share_name, credential=key, allow_trailing_dot=True) as dotted:
        dotted.get_file_client("kept.").create_file(0)
    assert sorted(each.name for each in share.list_directories_and_files()) == ["cut", "kept."]


def test_what_is_not_there_or_of_another_kind_is_told_by_code(server: FileShares, share: ShareClient) -> None:
    server.put(share.share_name, "d/f", b"1")
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: share.get_file_client("none").get_file_properties(), "ResourceNotFound"),
        (lambda: share.get_file_client("none/f").create_file(1), "ParentNotFound"),
        (lambda: share.get_file_client("d").create_file(1), "ResourceTypeMismatch"),
        (lambda: share.get_file_client("d").download_file(), "ResourceTypeMismatch"),
        (lambda: list(share.get_directory_client("d/f").list_directories_and_files()), "ResourceTypeMismatch"),
        (lambda: share.delete_directory("d"), "DirectoryNotEmpty"),
        (lambda: share.create_directory("d"), "ResourceAlreadyExists"),
    ]
    for ask, said in cases:
        with pytest.raises(HttpResponseError) as caught:
            ask()
        assert code(caught) == said


def test_a_rename_replaces_only_when_asked_to(server: FileShares, share: ShareClient) -> None:
    for name in ("d/new", "d/old"):
        server.put(share.share_name, name, name.encode())
    new = share.get_file_client("d/new")
    with pytest.raises(ResourceExistsError) as caught:
        new.rename_file("d/old")
    assert code(caught) == "ResourceAlreadyExists"
    new.rename_file("d/old", overwrite=True)
    assert share.get_file_client("d/old").download_file().readall() == b"d/new"
    assert not new.exists()
    share.get_directory_client("d").rename_directory("e")
    assert share.get_file_client("e/old").exists()
    share.get_file_client("e/old").delete_file()
    share.delete_directory("e")
    assert list(share.list_directories_and_files()) == []


def test_a_conditional_header_is_refused_and_an_unknown_operation_is_named(
    server: FileShares, share: ShareClient
) -> None:
    server.put(share.share_name, "f", b"1")
    token = generate_share_sas(ACCOUNT, share.share_name, KEY, ShareSasPermissions(read=True), _soon())
    url = f"{server.account_url}/{share.share_name}/f?{token}"
    answer = requests.get(url, headers={"If-Match": "*"}, timeout=10)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "ConditionHeadersNotSupported")
    with pytest.raises(HttpResponseError) as caught:
        share.create_snapshot()
    assert caught.value.status_code == 501
    assert "PUT share snapshot" in str(caught.value)


def _soon(minutes: int = 5) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def test_keys_and_sas_tokens_are_verified(server: FileShares, share: ShareClient) -> None:
    server.put(share.share_name, "f", b"1")
    account = (ACCOUNT, KEY, ResourceTypes(object=True, container=True), AccountSasPermissions(read=True, list=True))
    good = generate_account_sas(*account, _soon())
    late = generate_share_sas(ACCOUNT, share.share_name, KEY, ShareSasPermissions(read=True), _soon(-1))
    weak = generate_share_sas(ACCOUNT, share.share_name, KEY, ShareSasPermissions(list=True), _soon())
    elsewhere = generate_share_sas(ACCOUNT, "elsewhere", KEY, ShareSasPermissions(read=True), _soon())
    cases = [
        (good, ""),
        (late, "AuthenticationFailed"),
        (weak, "AuthorizationPermissionMismatch"),
        (elsewhere, "AuthenticationFailed"),
        ({"account_name": ACCOUNT, "account_key": _WRONG_KEY}, "AuthenticationFailed"),
    ]
    for credential, said in cases:
        with ShareClient(server.account_url, share.share_name, credential=credential, retry_total=0) as client:  # type: ignore[arg-type]
            if not said:
                assert client.get_file_client("f").download_file().readall() == b"1"
                continue
            with pytest.raises(HttpResponseError) as caught:
                client.get_file_client("f").download_file()
            assert code(caught) == said
    anybody = requests.get(f"{server.account_url}/{share.share_name}/f", timeout=10)
    assert (anybody.status_code, anybody.headers["x-ms-error-code"]) == (401, "NoAuthenticationInformation")


def test_bearer_tokens_need_the_intent_and_kinds_can_be_switched_off(server: FileShares, share: ShareClient) -> None:
    server.put(share.share_name, "f", b"1")
    server.rights.tokens.add("t0ken")
    url, bearer = f"{server.account_url}/{share.share_name}/f", {"Authorization": "Bearer t0ken"}
    intent = {"x-ms-file-request-intent": "backup"}
    assert requests.get(url, headers=bearer, timeout=10).status_code == 400
    assert requests.get(url, headers=bearer | intent, timeout=10).content == b"1"
    assert requests.get(url, headers={"Authorization": "Bearer other"} | intent, timeout=10).status_code == 401
    server.rights.accepts.remove("key")
    with pytest.raises(HttpResponseError) as caught:
        share.get_file_client("f").get_file_properties()
    server.rights.accepts.add("key")
    assert caught.value.status_code == 403


def test_an_empty_file_has_no_range(server: FileShares, share: ShareClient) -> None:
    assert isinstance(server.put(share.share_name, "empty", b""), File)
    assert share.get_file_client("empty").download_file().readall() == b""
