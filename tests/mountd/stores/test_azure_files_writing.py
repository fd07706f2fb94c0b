"""Writes to a file share, and what it refuses: whole or absent, names without case, each refusal with its remedy."""

import os
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from mountd.errors import (
    AccessDeniedError,
    BadInputError,
    CorruptDataError,
    DestinationExistsError,
    NotFoundError,
    StoreUnreachableError,
)
from mountd.stores import registry
from mountd.stores.credentials import Credential
from mountd.stores.share import access as share_access
from mountd.stores.share import writing as share_writing
from mountd.uploading.uploader import upload
from tests.mountd.stores.file_shares import OWN, behind, fill, is_step, keys, open_store, proxy, sas, server
from tests.support.azurite import ACCOUNT
from tests.support.content import content
from tests.support.fault_proxy import FaultProxy
from tests.support.fileshare_server import FileShares
from tests.support.wire_faults import Answer, Fault, refusal

__all__ = ["proxy", "server"]  # fixtures

LOST = Fault("lost", lambda _: Answer(503, {}, b""))  # done, and nobody hears of it


class TestWriting:
    @pytest.fixture(autouse=True)
    def small_ranges(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(share_writing, "_RANGE_BYTES", 1024)

    @pytest.mark.parametrize("size", [0, 1, 1024, 1025, 5000])
    def test_a_file_goes_in_ranges_and_its_md5_stays_with_it(self, server: FileShares, size: int) -> None:
        store, data = open_store(server.url("share")), content("w", 0, size)
        info = store.write("a/b/c", data)
        assert bytes(store.read("a/b/c", 0, size, info.etag)) == data
        puts = [told for asked, _, told in server.requests if asked == "PUT  range"]
        assert len(puts) == -(-size // 1024)
        assert keys(store) == ["a/b/c"]

    @pytest.mark.parametrize("actual", [4999, 5001, 0])
    def test_a_file_that_changes_its_length_is_not_stored(self, server: FileShares, actual: int) -> None:
        store, stream = open_store(server.url("share")), BytesIO(bytes(actual))
        stream.name = "source"
        with pytest.raises(CorruptDataError, match="source: changed its length"):
            store._writing.write("file", stream, 5000, overwrite=False)
        assert server.files("share") == []

    def test_what_fails_on_the_way_leaves_nothing(self, server: FileShares, proxy: FaultProxy) -> None:
        store = open_store(behind(proxy))
        for step in ("comp=range", "comp=properties", "comp=rename"):
            proxy.clear()
            proxy.inject(refusal(403, "AuthorizationFailure"), when=is_step(step))
            with pytest.raises(AccessDeniedError, match="share/d/file: "):
                store.write("d/file", bytes(3000))
            assert server.files("share") == []

    def test_the_target_is_not_there_before_it_is_whole(
        self, server: FileShares, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, seen = open_store(server.url("share")), list[list[str]]()
        put = store._writing._put

        def watched(partial: str, data: bytes, offset: int, path: str) -> None:
            seen.append(keys(store))
            put(partial, data, offset, path)

        monkeypatch.setattr(store._writing, "_put", watched)
        store.write("file", bytes(3000))
        assert seen == [[], [], []]

    def test_a_lost_answer_to_a_rename_is_no_conflict(self, server: FileShares, proxy: FaultProxy) -> None:
        store = open_store(behind(proxy))
        lost = proxy.inject(LOST, when=is_step("comp=rename"), times=2)
        assert store.write("file", b"mine").size == 4
        assert store.write("file", b"mine too", overwrite=True).size == 8
        assert lost.count == 2
        assert server.files("share") == ["file"]

    def test_a_target_that_appears_meanwhile_is_not_replaced(
        self, server: FileShares, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = open_store(server.url("share"))
        send = store._writing._send

        def slow(partial: str, stream: BytesIO, size: int, path: str) -> bytes:
            fill(server, "file")
            return send(partial, stream, size, path)

        monkeypatch.setattr(store._writing, "_send", slow)
        with pytest.raises(DestinationExistsError, match="exists already"):
            store.write("file", b"mine")
        assert server.files("share") == ["file"]
        assert bytes(store.read("file", 0, 4, "")) == b"file"

    def test_files_and_folders_in_each_others_way_are_named(self, server: FileShares) -> None:
        fill(server, "file", "folder/x")
        store = open_store(server.url("share"))
        with pytest.raises(DestinationExistsError, match="share/file: a file, and a folder is needed there"):
            store.write("file/x", b"1")
        for overwrite in (True, False):
            with pytest.raises(DestinationExistsError, match=r"share/folder: "):
                store.write("folder", b"1", overwrite=overwrite)
        assert server.files("share") == ["file", "folder/x"]

    def test_a_name_that_a_share_does_not_take_is_refused_before_anything_is_sent(self, server: FileShares) -> None:
        with pytest.raises(BadInputError, match=r"'a:b' cannot be a name in a file share \(it holds ':'\)"):
            open_store(server.url("share")).write("d/a:b", b"1")
        assert server.requests == []


class TestUploading:
    def test_names_that_differ_in_case_alone_are_refused_before_a_byte(
        self, server: FileShares, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_bytes(b"1")
        fill(server, "Out/There")
        store = open_store(server.url("share"))
        for wanted in (["a/x", "A/y"], ["data", "DATA"], ["out/other"], ["Out/there"]):
            with pytest.raises(BadInputError, match="are one name in this store"):
                upload([(tmp_path / "file", key) for key in wanted], store, store, overwrite=True)
        assert server.files("share") == ["Out/There"]
        upload([(tmp_path / "file", "Out/There"), (tmp_path / "file", "Out/b")], store, store, overwrite=True)
        assert server.files("share") == ["Out/There", "Out/b"]


class TestRefusals:
    def asked(self, url: str, credential: Credential | None, deadline_s: float = 20) -> Iterator[object]:
        """Every verb; each yields what it raises."""
        reader = registry.open_reader(url, credential, deadline_s=deadline_s)
        for ask in (
            lambda: reader.read("file", 0, 1, ""),
            lambda: list(registry.open_lister(url, credential, deadline_s=deadline_s).list()),
            lambda: registry.open_writer(url, credential, deadline_s=deadline_s).write("new", b"1"),
        ):
            with pytest.raises(Exception, match=r".") as caught:
                ask()
            assert "\n" not in str(caught.value)
            yield caught.value

    def test_a_missing_share_is_named(self, server: FileShares) -> None:
        for error in self.asked(server.url("nowhere"), OWN):
            assert isinstance(error, NotFoundError)
            assert "no such share" in str(error)

    @pytest.mark.parametrize(
        "credential",
        [Credential("key", "d3Jvbmc="), Credential("sas", "sv=2024-01-01&sp=rwl&sig=d3Jvbmc="), sas("rwl", -5)],
    )
    def test_a_credential_that_is_refused_says_what_to_set(self, server: FileShares, credential: Credential) -> None:
        for error in self.asked(server.url("share"), credential):
            assert isinstance(error, AccessDeniedError)
            assert "AZURE_STORAGE_KEY" in str(error) or "make a new one" in str(error)
            assert credential.secret not in str(error)

    def test_a_right_that_is_missing_is_told_for_the_verb_that_needs_it(self, server: FileShares) -> None:
        fill(server, "file")
        url = server.url("share")
        store = open_store(url, sas("rl"))
        assert keys(store) == ["file"]
        assert bytes(registry.open_reader(url, sas("rl")).read("file", 0, 4, "")) == b"file"
        with pytest.raises(AccessDeniedError, match="AuthorizationPermissionMismatch"):
            store.write("new", b"1")
        with pytest.raises(AccessDeniedError, match="AuthorizationPermissionMismatch"):
            keys(open_store(url, sas("r")))

    @pytest.mark.parametrize("credential", [None, Credential("anonymous")])
    def test_a_share_is_never_public(self, server: FileShares, credential: Credential | None) -> None:
        for opened in (registry.open_reader, registry.open_lister, registry.open_writer):
            with pytest.raises(AccessDeniedError, match=r"never public.*AZURE_STORAGE_KEY"):
                opened(server.url("share"), credential)
        assert server.requests == []

    def test_a_server_that_refuses_connections_is_told(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            for error in self.asked(
                f"azfile://127.0.0.1:{taken.getsockname()[1]}/{ACCOUNT}/share/", OWN, deadline_s=0.6
            ):
                assert isinstance(error, StoreUnreachableError)
                assert "connection was refused" in str(error)

    def test_an_account_that_is_not_there_is_a_host_that_is_not_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(StoreUnreachableError, match="host name was not found"):
            keys(open_store("https://nobody.file.core.windows.net/share/", deadline_s=0.6))

    def test_a_missing_package_is_named_before_anything_is_asked(
        self, server: FileShares, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(share_access, "find_spec", lambda _: None)
        for opened in (registry.open_reader, registry.open_lister, registry.open_writer):
            with pytest.raises(BadInputError, match=r"pip install 'moorage\[fileshare\]'"):
                opened(server.url("share"), OWN)

    def test_a_fork_is_refused_at_once(self, server: FileShares, monkeypatch: pytest.MonkeyPatch) -> None:
        store = open_store(server.url("share"))
        monkeypatch.setattr("mountd.stores.base.os", SimpleNamespace(getpid=lambda: os.getpid() + 1))
        with pytest.raises(Exception, match="a fork; open it there"):
            store.read("file.", 0, 1, "")
