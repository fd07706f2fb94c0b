"""Frozen blobs that were overwritten or deleted, read from the versions and snapshots that the service keeps."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.storage.blob import BlobClient, ContainerClient

from mountd.errors import AccessDeniedError, DataChangedError, StoreUnreachableError
from mountd.stores import registry
from mountd.stores.base import RangeReader
from mountd.stores.blob.versions import Version, Versions
from mountd.stores.credentials import Credential
from tests.support.azurite import Azurite
from tests.support.content import content
from tests.support.version_server import VersionServer

SIZE = 5000
OLD, NEW = content("old", 0, SIZE), content("new", 0, SIZE)
ANYONE = Credential("anonymous", "")
WIRE = pytest.mark.parametrize("verified", [False, True], ids=["plain", "verified"])


@pytest.fixture
def server() -> Iterator[VersionServer]:
    with VersionServer.start() as server:
        yield server


def reader(server: VersionServer, *, verified: bool = False) -> RangeReader:
    return registry.open_reader(server.url, ANYONE, deadline_s=20, verified=verified)


def test_microsofts_client_takes_the_test_server_for_a_service_with_versions(server: VersionServer) -> None:
    with ContainerClient.from_container_url(server.url.rstrip("/")) as container:
        first = container.upload_blob("d/x", OLD).get_blob_properties()
        second = container.upload_blob("d/x", NEW, overwrite=True).get_blob_properties()
        container.delete_blob("d/x")
        container.upload_blob("d/xy", b"another")
        found = [
            (blob.name, blob.version_id, blob.is_current_version, blob.etag, blob.size)
            for blob in container.list_blobs(name_starts_with="d/x", include=["versions"])
        ]
        assert first.etag != second.etag
        assert found[:2] == [
            ("d/x", first.version_id, None, first.etag.strip('"'), SIZE),
            ("d/x", second.version_id, None, second.etag.strip('"'), SIZE),
        ]
        assert (found[2][0], found[2][2]) == ("d/xy", True)
        assert [blob.name for blob in container.list_blobs()] == ["d/xy"]
        old = container.download_blob("d/x", offset=7, length=9, version_id=first.version_id, validate_content=True)
        assert old.readall() == OLD[7:16]


@WIRE
def test_what_was_overwritten_or_deleted_is_read_from_its_version(server: VersionServer, *, verified: bool) -> None:
    frozen = {key: server.put(key, content(key, 0, SIZE)).etag for key in ("over written", "gone", "odd//name", "same")}
    server.put("over written", NEW)
    server.put("odd//name", NEW)
    server.remove("gone")
    store = reader(server, verified=verified)
    for key, etag in frozen.items():
        for offset, size in ((0, SIZE), (10, 100), (SIZE - 1, 1)):
            assert store.read(key, offset, size, etag) == content(key, offset, size)
    assert len(server.listings()) == 3
    assert server.unpinned == []
    assert server.put("same", NEW).etag != frozen["same"]
    assert store.read("same", 0, 5, frozen["same"]) == content("same", 0, 5)


def test_a_version_once_found_costs_no_more_requests_than_an_unchanged_blob(server: VersionServer) -> None:
    etag = server.put("x", OLD).etag
    server.put("x", NEW)
    store = reader(server)
    store.read("x", 0, 1, etag)
    server.requests.clear()
    for offset in range(20):
        assert store.read("x", offset, 10, etag) == OLD[offset : offset + 10]
    assert [verb for verb, _ in server.requests] == ["GET"] * 20
    assert all("versionid=" in path for _, path in server.requests)


def test_a_blob_that_nobody_touched_costs_no_listing(server: VersionServer) -> None:
    etag = server.put("x", OLD).etag
    assert reader(server).read("x", 0, SIZE, etag) == OLD
    assert [verb for verb, _ in server.requests] == ["GET"]


def test_however_many_read_an_overwritten_blob_one_listing_is_made(server: VersionServer) -> None:
    etag = server.put("x", OLD).etag
    server.put("x", NEW)
    store = reader(server)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda offset: bytes(store.read("x", offset, 8, etag)), range(64)))
    assert found == [OLD[offset : offset + 8] for offset in range(64)]
    assert len(server.listings()) == 1


@WIRE
def test_without_the_frozen_version_it_is_a_changed_blob_and_says_so(server: VersionServer, *, verified: bool) -> None:
    etag = server.put("x", OLD).etag
    newer = server.put("x", NEW).etag
    del server.versions[0]
    server.put("x-sibling", OLD)
    store = reader(server, verified=verified)
    for _ in range(3):
        with pytest.raises(
            DataChangedError, match=rf"x: was {etag}, is {newer}; .*; no version or snapshot of it is kept"
        ):
            store.read("x", 0, 10, etag)
    assert len(server.listings()) == 1


@pytest.mark.parametrize(
    ("refused", "said"),
    [("list", "this credential may not list"), ("versions", "no version or snapshot of it is kept")],
)
def test_where_versions_cannot_be_looked_for_the_error_says_why(server: VersionServer, refused: str, said: str) -> None:
    frozen = {key: server.put(key, OLD).etag for key in "ab"}
    for key in frozen:
        server.put(key, NEW)
    server.refused.add(refused)
    store = reader(server)
    for key, etag in [*frozen.items(), ("a", frozen["a"])]:
        with pytest.raises(DataChangedError, match=said):
            store.read(key, 0, 10, etag)
    assert len(server.listings()) == (1 if refused == "list" else 2)


def test_a_version_that_is_removed_later_is_looked_for_again_and_then_a_changed_blob(server: VersionServer) -> None:
    first = server.put("x", OLD)
    server.put("x", NEW)
    store = reader(server)
    assert store.read("x", 0, 9, first.etag) == OLD[:9]
    server.versions.remove(first)
    with pytest.raises(DataChangedError, match="no version or snapshot of it is kept"):
        store.read("x", 0, 9, first.etag)
    assert len(server.listings()) == 2


def test_a_memory_that_confuses_two_versions_costs_requests_and_never_wrong_bytes(
    server: VersionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = server.put("x", OLD).etag
    newer = server.put("x", NEW)
    monkeypatch.setattr(Versions, "known", lambda *_: Version("versionid", newer.moment))
    store = reader(server)
    for _ in range(2):
        assert store.read("x", 0, 50, etag) == OLD[:50]
    assert reader(server).read("x", 0, 50, newer.etag) == NEW[:50]


def test_a_version_on_a_later_page_is_found(server: VersionServer) -> None:
    etags = [server.put("x", content(str(number), 0, 50)).etag for number in range(7)]
    server.page_blobs = 2
    assert reader(server).read("x", 0, 50, etags[5]) == content("5", 0, 50)


@pytest.mark.azurite
@WIRE
def test_a_snapshot_has_the_etag_of_its_blob_and_is_read_when_that_was_overwritten(
    azurite: Azurite, *, verified: bool
) -> None:
    name = "snap" + os.urandom(6).hex()
    url = azurite.make_container(name)
    azurite.put(name, "d/x", OLD)
    with BlobClient.from_connection_string(azurite.connection_string, name, "d/x") as blob:
        etag = blob.get_blob_properties().etag
        assert blob.create_snapshot()["etag"] == etag
    azurite.put(name, "d/x", NEW)
    credential = Credential("connection_string", azurite.connection_string)
    store = registry.open_reader(url + "d/", credential, deadline_s=20, verified=verified)
    for offset in (0, 700):
        assert store.read("x", offset, 300, etag.strip('"')) == OLD[offset : offset + 300]


@pytest.mark.azurite
def test_a_token_without_the_right_to_list_reads_no_snapshot_and_the_error_says_so(azurite: Azurite) -> None:
    name = "snap" + os.urandom(6).hex()
    url = azurite.make_container(name)
    azurite.put(name, "x", OLD)
    with BlobClient.from_connection_string(azurite.connection_string, name, "x") as blob:
        etag = str(blob.create_snapshot()["etag"]).strip('"')
    azurite.put(name, "x", NEW)
    store = registry.open_reader(url, Credential("sas", azurite.sas(name, "r")), deadline_s=20)
    with pytest.raises(DataChangedError, match="this credential may not list"):
        store.read("x", 0, 10, etag)


def version(number: int) -> Version:
    return Version("snapshot" if number % 2 else "versionid", f"2026-01-01T00:00:00.{number:07}Z")


def test_what_was_found_is_remembered_and_the_table_never_grows() -> None:
    known = Versions(sets=64)
    for number in range(1, 5001):
        assert known.find(str(number), "e", lambda number=number: version(number), 1) == version(number)  # type: ignore[misc]
    told = [number for number in range(1, 5001) if known.known(str(number), "e") is not None]
    assert all(known.known(str(number), "e") == version(number) for number in told)
    assert len(told) == 64 * 8
    assert min(told) > 3000  # the newest ones stayed
    known.forget(str(told[0]), "e")
    assert known.known(str(told[0]), "e") is None


def test_what_is_used_stays() -> None:
    known = Versions(sets=1)
    for number in range(1, 100):
        known.find(str(number), "e", lambda number=number: version(number), 1)  # type: ignore[misc]
        assert known.known("1", "e") == version(1)


def test_that_there_is_none_is_believed_for_a_minute() -> None:
    now_s, asked = [100.0], []
    known = Versions(clock=lambda: now_s[0])

    def look() -> None:
        asked.append(now_s[0])

    for now_s[0] in (100.0, 130.0, 159.0, 161.0, 170.0):
        assert known.find("k", "e", look, 1) is None
    assert asked == [100.0, 161.0]


@pytest.mark.parametrize(
    "moment", ["2026-01-01T00:00:00Z", "0000-00-00T00:00:00.0000000Z", "2026-02-30T00:00:00.0000000Z"]
)
def test_a_moment_that_a_number_cannot_hold_is_used_and_not_remembered(moment: str) -> None:
    known, odd = Versions(), Version("versionid", moment)
    assert known.find("k", "e", lambda: odd, 1) == odd
    assert known.known("k", "e") is None


def test_who_waits_for_a_look_that_fails_gets_its_error_and_who_has_no_time_says_so() -> None:
    known, begun, go_on = Versions(), threading.Event(), threading.Event()

    def look() -> Version | None:
        begun.set()
        assert go_on.wait(60)
        raise AccessDeniedError("denied")

    def never() -> Version | None:
        raise AssertionError

    def as_well() -> Version | None:  # asked only if the first is over before the second begins
        raise AccessDeniedError("denied")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(known.find, "k", "e", look, 60)
        assert begun.wait(60)
        with pytest.raises(StoreUnreachableError, match="no time"):
            known.find("k", "e", never, 0.01)
        second = pool.submit(known.find, "k", "e", as_well, 60)
        go_on.set()
        for each in (first, second):
            with pytest.raises(AccessDeniedError, match="denied"):
                each.result(60)
    assert known.find("k", "e", lambda: version(1), 1) == version(1)  # an error is not remembered
