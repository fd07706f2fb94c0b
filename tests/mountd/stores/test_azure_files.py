"""What only a file share has when it is listed and read: a walk of directories, names without case, ETags in the answers."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport

from mountd.dataset.manifest import Manifest
from mountd.errors import (
    BadInputError,
    DataChangedError,
    HostilePathError,
    NotFoundError,
    StoreUnreachableError,
)
from mountd.freeze import freeze_source
from mountd.stores import objects, registry
from mountd.stores.base import ObjectInfo
from mountd.stores.credentials import Credential
from mountd.stores.share import access as share_access
from mountd.stores.share import requests as share_requests
from tests.mountd.stores.file_shares import OWN, behind, fill, keys, open_store, proxy, sas, server
from tests.support.content import content
from tests.support.fault_proxy import FaultProxy, Request
from tests.support.fileshare_server import FileShares
from tests.support.wire_faults import Answer, Fault, flip, page, refusal, reset

__all__ = ["proxy", "server"]  # fixtures

LOGIN = Credential("azure_default")


class TestListing:
    def test_directories_are_walked_page_by_page(self, server: FileShares) -> None:
        wanted = [f"d{number}/e{inner}/f{last}" for number in range(3) for inner in range(3) for last in range(5)]
        fill(server, *wanted, *(f"top{number}" for number in range(5)))
        server.account.page_size = 2
        assert keys(open_store(server.url("share"))) == sorted([*wanted, *(f"top{number}" for number in range(5))])
        pages = [asked for asked, _, _ in server.requests if asked == "GET directory list"]
        assert len(pages) == 4 + 3 * 2 + 9 * 3

    def test_empty_directories_are_told_and_what_is_ours_is_left_out(self, server: FileShares) -> None:
        fill(server, "a/b/file", "a/gone", ".moorage/outputs/x", "a/.moorage-12.partial", "sub/.moorage/kept")
        server.remove("share", "a/gone")
        fill(server, "empty/gone")
        server.remove("share", "empty/gone")
        store = open_store(server.url("share"))
        assert keys(store) == ["a/b/file", "empty/", "sub/.moorage/kept"]
        assert next(info for info in store.list("empty")).mtime_ns > 0
        assert keys(open_store(server.url("share", ".moorage/"))) == ["outputs/x"]
        assert keys(open_store(server.url("share", "empty/"))) == []

    def test_a_page_that_fails_is_asked_for_again_by_itself(self, server: FileShares, proxy: FaultProxy) -> None:
        fill(server, *(f"d/{number}" for number in range(5)))
        server.account.page_size = 2
        third = proxy.inject(refusal(503, "ServerBusy"), reset(), page(200, xml=True), when=_lists, after=2, times=3)
        assert keys(open_store(behind(proxy))) == [f"d/{number}" for number in range(5)]
        assert third.count == 3

    @pytest.mark.parametrize("body", [b"", b"{}", b"\xef\xbb\xbf", b"<html>"])
    def test_an_answer_that_is_no_xml_is_asked_for_again(
        self, server: FileShares, proxy: FaultProxy, body: bytes
    ) -> None:
        fill(server, "a")
        spoilt = proxy.inject(Fault("no XML", lambda answer: replace(answer, body=body)), when=_lists, times=2)
        assert keys(open_store(behind(proxy))) == ["a"]
        assert spoilt.count == 2

    def test_a_listing_that_tells_no_etags_costs_a_request_a_file(self, server: FileShares) -> None:
        fill(server, "d/a", "d/b")
        expected = list(open_store(server.url("share")).list())
        server.account.tells_etags = False
        assert sorted(open_store(server.url("share")).list(), key=_key) == sorted(expected, key=_key)

    @pytest.mark.parametrize("last", [b"F2", b"F3"])
    def test_a_service_that_never_ends_its_listing_is_given_up(
        self, server: FileShares, proxy: FaultProxy, last: bytes
    ) -> None:
        fill(server, *(f"f{number}" for number in range(4)))
        server.account.page_size = 1
        again = _replaced(b"<NextMarker>%b" % last, b"<NextMarker>F1")
        proxy.inject(again, when=_lists)
        with pytest.raises(StoreUnreachableError, match="lead in a circle"):
            keys(open_store(behind(proxy)))

    def test_a_name_that_leads_elsewhere_is_hostile(self, server: FileShares, proxy: FaultProxy) -> None:
        fill(server, "xx")
        for name in (b"..", b"a/b", b""):
            lie = _replaced(b">xx<", b">%b<" % name)
            proxy.clear()
            proxy.inject(lie, when=_lists)
            with pytest.raises(HostilePathError, match="which is no name"):
                keys(open_store(behind(proxy)))

    def test_names_are_found_in_any_case_and_keys_are_what_they_are(self, server: FileShares) -> None:
        fill(server, "Folder/File.TXT")
        store = open_store(server.url("share", "folder/"))
        assert keys(store) == ["File.TXT"]
        assert keys(store, "file") == []
        info = next(iter(store.list()))
        assert bytes(store.read("file.txt", 0, 6, info.etag)) == b"Folder"

    def test_a_file_in_the_place_of_a_folder_is_named(self, server: FileShares) -> None:
        fill(server, "d/file")
        with pytest.raises(BadInputError, match="a file, and no folder"):
            keys(open_store(server.url("share", "d/file/")))
        assert keys(open_store(server.url("share")), "d/file/x") == []

    def test_a_single_file_and_a_folder_are_told_apart_by_the_store(self, server: FileShares, tmp_path: Path) -> None:
        fill(server, "d/data", "d/data.csv", "d/data.d/x")
        for text, found in (("d/data", ["data"]), ("d/data.d", ["x"]), ("D/DATA.D", ["x"])):
            target = tmp_path / text.replace("/", "-")
            freeze_source(server.url("share", text), OWN, target)
            with Manifest.open(target) as manifest:
                assert [path for path, _ in manifest.files()] == found


def _replaced(old: bytes, new: bytes) -> Fault:
    return Fault("replaced", lambda answer: replace(answer, body=answer.body.replace(old, new)))


def _lists(request: Request) -> bool:
    return "comp=list" in request.query


def _key(info: ObjectInfo) -> str:
    return info.key


class TestReading:
    @pytest.mark.parametrize("verified", [False, True])
    def test_what_changed_is_told_with_both_etags(self, server: FileShares, verified: bool) -> None:  # noqa: FBT001 - a parameter
        fill(server, "file.", "file")
        store = open_store(server.url("share"))
        frozen = {info.key: info for info in store.list()}
        reader = registry.open_reader(server.url("share"), OWN, deadline_s=20, verified=verified)
        for key, info in frozen.items():
            assert bytes(reader.read(key, 1, 3, info.etag)) == b"ile"
        server.put("share", "file.", b"other")
        store._requests.file("file").set_file_metadata({"k": "v"})
        for key, info in frozen.items():
            found = next(each.etag for each in store.list(key) if each.key == key)
            with pytest.raises(DataChangedError, match=rf"{key}: was {info.etag}, is {found};"):
                reader.read(key, 1, 3, info.etag)

    def test_a_folder_where_a_file_was_frozen_is_a_changed_file(self, server: FileShares) -> None:
        fill(server, "now/folder", "too./folder")
        reader = registry.open_reader(server.url("share"), OWN, deadline_s=20)
        for key in ("now", "too."):
            with pytest.raises(DataChangedError, match="freeze the source again"):
                reader.read(key, 0, 1, "0x1")
            with pytest.raises(NotFoundError):
                reader.read(key, 0, 1, "")

    def test_a_verified_read_asks_again_for_bytes_that_do_not_match(
        self, server: FileShares, proxy: FaultProxy
    ) -> None:
        data = content("file", 0, 9 << 20)
        server.put("share", "file", data)
        reader = registry.open_reader(behind(proxy), OWN, deadline_s=20, verified=True)
        spoiled = proxy.inject(flip(), times=2)
        assert bytes(reader.read("file", 1, (9 << 20) - 2, "")) == data[1:-1]
        assert spoiled.count == 2
        registry.require_verifiable([server.url("share")])

    def test_a_service_that_tells_no_md5_cannot_be_verified(self, server: FileShares, proxy: FaultProxy) -> None:
        fill(server, "file")
        proxy.inject(Fault("no md5", lambda answer: replace(answer, headers=_without(answer, "content-md5"))))
        reader = registry.open_reader(behind(proxy), OWN, deadline_s=20, verified=True)
        with pytest.raises(BadInputError, match="leave --verify-wire out"):
            reader.read("file", 0, 1, "")

    def test_a_read_that_is_turned_away_waits_as_long_as_it_was_told(
        self, server: FileShares, proxy: FaultProxy
    ) -> None:
        fill(server, "file")
        reader = registry.open_reader(behind(proxy), OWN, deadline_s=20)
        proxy.inject(refusal(503, "ServerBusy", retry_after="1"), times=2)
        assert bytes(reader.read("file", 0, 4, "")) == b"file"
        assert [request.status for request in proxy.requests] == [503, 503, 206, 206]

    def test_a_file_that_a_windows_client_holds_is_asked_for_again(self, server: FileShares, proxy: FaultProxy) -> None:
        fill(server, "file.")
        proxy.inject(refusal(409, "SharingViolation"), times=2)
        assert bytes(open_store(behind(proxy)).read("file.", 0, 4, "")) == b"file"

    def test_a_token_comes_with_its_intent(self, server: FileShares, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(server, "file")
        server.rights.tokens.add("t0ken")
        token = {"token": "t0ken", "expires_at": datetime.now(UTC) + timedelta(hours=1)}
        monkeypatch.setattr(objects, "_token_provider", lambda *_: lambda: token)
        monkeypatch.setattr(share_access, "refuse_plain_login", lambda *_: None)
        reader = objects.open_blob(registry.parse_source(server.url("share")), LOGIN, deadline_s=20)
        assert bytes(reader.read("file", 0, 4, "")) == b"file"

    def test_the_sdk_sends_the_intent_too(self, server: FileShares, monkeypatch: pytest.MonkeyPatch) -> None:
        server.rights.tokens.add("t0ken")
        server.rights.accepts = {"bearer"}
        login = SimpleNamespace(get_token=lambda *_, **__: AccessToken("t0ken", 2**33))
        monkeypatch.setattr(share_requests, "sdk_credential", lambda *_: login)
        monkeypatch.setattr(share_requests, "transport", _without_tls)
        store = open_store(server.url("share").replace("azfile:", "azfiles:"), LOGIN)
        store.write("d/file.", b"by a token")
        assert keys(store) == ["d/file."]
        assert bytes(store.read("d/file.", 0, 10, "")) == b"by a token"
        store.delete("d/file.")
        assert server.files("share") == []

    def test_a_token_never_goes_over_plain_http(self, server: FileShares) -> None:
        for opened in (registry.open_reader, registry.open_lister, registry.open_writer):
            with pytest.raises(BadInputError, match="a login goes over https only"):
                opened(server.url("share"), LOGIN)

    def test_a_sas_token_works_and_reaches_no_log(
        self, server: FileShares, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        caplog.set_level(logging.DEBUG)
        fill(server, "d/file", "d/file.")
        credential, url = sas("rcwdl"), server.url("share", "d/")
        reader, store = registry.open_reader(url, credential, deadline_s=20), open_store(url, credential)
        (tmp_path / "big").write_bytes(bytes(5 << 20))
        store.write("new/big", tmp_path / "big")
        for key in ("file", "file."):
            assert bytes(reader.read(key, 2, 4, "")) == b"file"
        assert keys(store) == ["file", "file.", "new/big"]
        store.delete("new/big")
        assert "sig=" + credential.secret.partition("sig=")[2] not in caplog.text


class _Plain(requests.adapters.HTTPAdapter):
    """Says https to the SDK, which gives a token to nobody else, and http to the server."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        request.url = str(request.url).replace("https:", "http:")
        return super().send(request, *arguments, **options)


def _without_tls() -> RequestsTransport:
    session = requests.Session()
    session.mount("https://", _Plain())
    return RequestsTransport(session=session, session_owner=True)


def _without(answer: Answer, header: str) -> dict[str, str]:
    return {name: told for name, told in answer.headers.items() if name != header}
