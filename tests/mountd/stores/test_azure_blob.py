"""What only the Azure store has: pages, directories, blocks, lost answers, quiet logs."""

import logging
import os
from hashlib import md5
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from mountd.errors import (
    CorruptDataError,
    DataChangedError,
    DestinationExistsError,
    NotFoundError,
    StoreUnreachableError,
)
from mountd.stores import azure_blob, registry
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.credentials import Credential
from mountd.stores.writing import pieces
from tests.support import wire_faults as faults
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.content import content
from tests.support.fault_proxy import FaultProxy
from tests.support.http_server import Fault, HttpServer

pytestmark = pytest.mark.azurite
SOON = "2999-01-01T00:00:00Z"


@pytest.fixture
def container(azurite: Azurite) -> str:
    name = "c" + os.urandom(6).hex()
    azurite.make_container(name)
    return name


def open_store(azurite: Azurite, container: str, prefix: str = "") -> AzureBlobStore:
    source = registry.parse_source(azurite.url(container, prefix))
    return AzureBlobStore(source, Credential("connection_string", azurite.connection_string), deadline_s=20)


def test_listing_tells_md5_and_directories(azurite: Azurite, container: str) -> None:
    azurite.put(container, "file", b"bytes")
    azurite.put(container, "folder", b"", metadata={"hdi_isfolder": "true"})
    azurite.put(container, "pre/", b"")
    azurite.put(container, "pre/x", b"x")
    found = {info.key: info for info in open_store(azurite, container).list()}
    assert found["file"].md5 == md5(b"bytes", usedforsecurity=False).digest()
    assert found["folder"].is_directory
    assert not found["file"].is_directory
    assert [info.key for info in open_store(azurite, container, "pre/").list()] == ["x"]


@pytest.mark.parametrize("size", [1024, 1025, 5000, 10_240])
def test_large_files_go_in_blocks(
    azurite: Azurite, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(azure_blob, "PIECE_BYTES", 1024)
    source = tmp_path / "source"
    source.write_bytes(content("s", 0, size))
    store = open_store(azurite, container)
    info = store.write("big", source)
    assert (info.size, info.md5) == (size, md5(source.read_bytes(), usedforsecurity=False).digest())
    assert store.read("big", 0, size, info.etag) == content("s", 0, size)
    with pytest.raises(DestinationExistsError, match="big"):
        store.write("big", source)
    assert store.write("big", source, overwrite=True).size == size


def test_blocks_grow_so_that_any_size_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_blob, "PIECE_BYTES", 10)
    monkeypatch.setattr(azure_blob, "_MOST_BLOCKS", 7)
    found = list(pieces(BytesIO(bytes(500)), 500, azure_blob._block_bytes(500)))
    assert len(found) <= 7
    assert sum(map(len, found)) == 500


class _Growing(BytesIO):
    name = "growing"


@pytest.mark.parametrize("actual", [0, 9, 11, 100])
def test_a_file_that_changes_its_length_is_not_stored(actual: int) -> None:
    with pytest.raises(CorruptDataError, match="growing"):
        list(pieces(_Growing(bytes(actual)), 10, 10))


def test_nothing_is_visible_before_the_commit(
    azurite: Azurite, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_blob, "PIECE_BYTES", 100)
    source = tmp_path / "source"
    source.write_bytes(bytes(1000))
    store = open_store(azurite, container)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_commit", die)
    with pytest.raises(KeyboardInterrupt):
        store.write("big", source)
    assert list(store.list()) == []


def test_a_lost_answer_to_a_write_is_no_conflict(azurite: Azurite, container: str) -> None:
    store, data = open_store(azurite, container), b"mine"
    digest = md5(data, usedforsecurity=False).digest()
    blob, calls = store._client.get_blob_client("file"), list[int]()

    def lost(timeouts: dict[str, Any]) -> dict[str, Any]:
        calls.append(1)
        blob.upload_blob(data, overwrite=False, **timeouts)
        raise ServiceResponseError("Connection broken")

    store._commit("file", lost, len(data), digest)
    assert len(calls) == 2
    with pytest.raises(DestinationExistsError):
        store._commit("file", lost, len(data), digest[::-1])


def test_a_name_that_obstore_cannot_ask_for_is_asked_for_again_and_counted(azurite: Azurite, container: str) -> None:
    azurite.put(container, "odd//file", b"bytes")
    with FaultProxy.start(azurite.endpoint) as proxy:
        proxy.inject(faults.refusal(500), times=1)
        again: list[None] = []
        url = azurite.url(container).replace(azurite.endpoint, proxy.endpoint)
        reader = registry.open_reader(url, Credential("key", KEY), on_retry=lambda: again.append(None))
        assert bytes(reader.read("odd//file", 0, 5, "")) == b"bytes"
    assert len(again) == 1


def test_missing_source_and_missing_container(azurite: Azurite, container: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no-such-source"):
        open_store(azurite, container).write("x", tmp_path / "no-such-source")
    with pytest.raises(NotFoundError, match="no such container"):
        open_store(azurite, "nowhere" + os.urandom(4).hex()).write("x", b"1")


def test_a_sas_token_works_and_reaches_no_log(
    azurite: Azurite, container: str, caplog: pytest.LogCaptureFixture
) -> None:
    azurite.put(container, "file", b"bytes")
    azurite.put(container, "odd//file", b"bytes")
    permission = ContainerSasPermissions(read=True, list=True, write=True)
    token = generate_container_sas(ACCOUNT, container, account_key=KEY, permission=permission, expiry=SOON)
    signature = token.partition("sig=")[2].partition("&")[0]
    credential = Credential("sas", token)
    with caplog.at_level(logging.DEBUG):
        reader = registry.open_reader(azurite.url(container), credential)
        infos = {info.key: info for info in registry.open_lister(azurite.url(container), credential).list()}
        for key, info in infos.items():
            assert bytes(reader.read(key, 0, 5, info.etag)) == b"bytes"
        registry.open_writer(azurite.url(container), credential).write("new", b"1")
    assert caplog.records
    assert not any(signature in record.getMessage() for record in caplog.records)
    assert signature not in repr(reader) + repr(registry.open_lister(azurite.url(container), credential))


def test_retry_after_is_honoured_and_a_lasting_503_is_an_error() -> None:
    with HttpServer.start() as server:
        server.faults.append(Fault(status=503, headers=(("Retry-After", "30"),)))
        lister = registry.open_lister(f"{server.endpoint}/acct/cont/", None, deadline_s=3)
        with pytest.raises(StoreUnreachableError, match=r"HTTP 503.*asks to wait 30 s"):
            list(lister.list())
        assert len(server.requests) == 1


@pytest.mark.parametrize("verified", [False, True])
def test_a_blob_that_changed_or_went_is_named_with_both_etags(
    azurite: Azurite, container: str, *, verified: bool
) -> None:
    azurite.put(container, "f/x", b"first")
    url, credential = azurite.url(container), Credential("key", KEY)

    def etag() -> str:
        return next(iter(registry.open_lister(url, credential).list("f/x"))).etag

    frozen = etag()
    reader = registry.open_reader(url, credential, verified=verified)
    assert bytes(reader.read("f/x", 0, 5, frozen)) == b"first"
    azurite.put(container, "f/x", b"second")
    with pytest.raises(DataChangedError, match=f"f/x: was {frozen}, is {etag()}; freeze the source again"):
        reader.read("f/x", 0, 5, frozen)
    with pytest.raises(DataChangedError, match="f/x: holds 6 bytes, 100 were frozen"):
        reader.read("f/x", 0, 100, etag())
    registry.open_writer(url, credential).delete("f/x")
    with pytest.raises(DataChangedError, match=f"f/x: was {frozen}, is gone; freeze the source again"):
        reader.read("f/x", 0, 5, frozen)


@pytest.mark.parametrize("status", [404, 412, 416])
def test_a_service_that_contradicts_itself_is_asked_again(status: int) -> None:
    with HttpServer.start() as server:
        server.put("/acct/cont/x", b"12345", etag='"1"', modified_s=1_700_000_000)
        reader = registry.open_reader(f"{server.endpoint}/acct/cont/", None, deadline_s=10)
        server.faults.append(Fault(status=status))  # and then it tells the very ETag that was asked for
        assert bytes(reader.read("x", 0, 5, "1")) == b"12345"
