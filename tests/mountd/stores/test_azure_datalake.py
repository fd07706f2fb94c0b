"""What only the Data Lake store has: real directories, pages, refusals, SAS tokens."""

import logging
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from azure.storage.filedatalake import FileSystemSasPermissions, generate_file_system_sas

from mountd.errors import (
    AccessDeniedError,
    BadInputError,
    DataChangedError,
    DefectError,
    MountdError,
    NotFoundError,
    StoreUnreachableError,
)
from mountd.freeze import freeze_source
from mountd.stores import registry
from mountd.stores.base import ObjectInfo
from mountd.stores.credentials import REMEDY, Credential
from tests.mountd.stores.lakes import KEY_CREDENTIAL, LAKE, listed, open_store, server, tree
from tests.support import datalake_operations
from tests.support.content import content
from tests.support.datalake_server import ACCOUNT, KEY, DataLakeServer, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["server"]  # a fixture


def test_directories_are_listed_as_such_and_unfinished_files_are_not(server: DataLakeServer) -> None:
    server.put(LAKE, "a/b/file", b"x")
    server.put(LAKE, "a/.moorage-0.partial", b"x")
    server.make_folder(LAKE, "a/empty")
    store = open_store(server)
    assert listed(store) == ["a/", "a/b/", "a/b/file", "a/empty/"]
    assert listed(store, "a/e") == ["a/empty/"]
    assert listed(store, "a/b") == ["a/b/", "a/b/file"]
    assert listed(open_store(server, "a/")) == ["b/", "b/file", "empty/"]
    assert listed(open_store(server, "none/")) == listed(store, "a//b") == listed(store, "../a") == []


def test_what_is_named_exactly_comes_first_and_costs_one_request(server: DataLakeServer) -> None:
    for number in range(5):
        server.put(LAKE, f"d/{number}", b"x")
    server.put(LAKE, "d/3-more", b"x")
    store, before = open_store(server, "d/"), len(server.requests)
    listing = store.list("3")
    assert next(listing).key == "3"
    assert [operation for operation, _ in server.requests[before:]] == ["properties"]
    assert [info.key for info in listing] == ["3-more"]


@pytest.mark.parametrize("hollow", [False, True])
def test_pages_are_put_together_and_each_is_asked_for_again_by_itself(server: DataLakeServer, hollow: bool) -> None:  # noqa: FBT001 - a parameter
    for number in range(5):
        server.put(LAKE, f"p/{number}", b"x")
    server.account.page_size, server.account.hollow_pages = 2, hollow
    server.faults += [Fault("list"), Fault("list", lost=True)]
    assert listed(open_store(server, "p/")) == [str(number) for number in range(5)]
    assert len(server.asked("list")) == 3 + hollow + 2


def test_a_listing_tells_the_time_and_etag_that_a_read_does_in_every_time_zone(
    server: DataLakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(LAKE, "file", b"x")
    monkeypatch.setenv("TZ", "Etc/GMT+7")
    time.tzset()
    try:
        store, node = open_store(server), server.account.filesystems[LAKE].nodes["file"]
        (whole,), (exact,) = store.list(), store.list("file")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert whole == exact == ObjectInfo("file", 1, node.etag.strip('"'), node.modified_s * 1_000_000_000)


def _elsewhere(path: str, node: Any) -> dict[str, str]:
    return {**_TOLD(path, node), "name": f"other/{path}"}


def _without_etag(path: str, node: Any) -> dict[str, str]:
    return {name: value for name, value in _TOLD(path, node).items() if name != "etag"}


_TOLD, _TOKEN = datalake_operations._listed, datalake_operations._token


@pytest.mark.parametrize(
    ("place", "lie", "said"),
    [
        ("_listed", _elsewhere, "tells of another directory"),
        ("_listed", _without_etag, "tells no ETag"),
        ("_token", lambda _: "AAAAMQ==", "does not come to an end"),
        ("_token", lambda end: _TOKEN(end if end < 3 else 1), "lead in a circle"),
    ],
)
def test_a_listing_that_lies_is_an_error(
    server: DataLakeServer, monkeypatch: pytest.MonkeyPatch, place: str, lie: Any, said: str
) -> None:
    for number in range(4):
        server.put(LAKE, f"p/{number}", b"x")
    server.account.page_size = 1
    monkeypatch.setattr(datalake_operations, place, lie)
    with pytest.raises(StoreUnreachableError, match=said):
        listed(open_store(server, "p/", deadline_s=1))


def test_a_forked_process_is_refused(server: DataLakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(server)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    for ask in (lambda: list(store.list()), lambda: store.write("x", b""), lambda: store.delete("x")):
        with pytest.raises(DefectError, match="a fork"):
            ask()


def test_a_file_where_a_folder_is_named(server: DataLakeServer, tmp_path: Path) -> None:
    server.put(LAKE, "d/file", b"data")
    with pytest.raises(BadInputError, match=r"d/file: is a file, not a folder; name it without"):
        freeze_source(server.url(LAKE, "d/file/"), KEY_CREDENTIAL, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert freeze_source(server.url(LAKE, "d/file"), KEY_CREDENTIAL, tmp_path / "m").files == 1
    assert freeze_source(server.url(LAKE, "d"), KEY_CREDENTIAL, tmp_path / "n").files == 1
    with pytest.raises(NotFoundError, match="holds no files"):
        freeze_source(server.url(LAKE, "none"), KEY_CREDENTIAL, tmp_path / "m")


VERBS = ("list", "read", "write", "delete")


def verbs(
    url: str, credential: Credential | None, deadline_s: float = 20, only: tuple[str, ...] = VERBS
) -> dict[str, MountdError]:
    """What each verb raises."""
    raised: dict[str, MountdError] = {}
    asks: dict[str, Callable[[], object]] = {
        "list": lambda: list(registry.open_lister(url, credential, deadline_s=deadline_s).list()),
        "read": lambda: registry.open_reader(url, credential, deadline_s=deadline_s).read("file", 0, 1, ""),
        "write": lambda: registry.open_writer(url, credential, deadline_s=deadline_s).write("new", b"1"),
        "delete": lambda: registry.open_writer(url, credential, deadline_s=deadline_s).delete("file"),
    }
    for name in only:
        try:
            asks[name]()
        except MountdError as error:
            raised[name] = error
    assert not any("\n" in str(error) for error in raised.values())
    return raised


def test_a_missing_file_system_is_named(server: DataLakeServer) -> None:
    raised = verbs(server.url("elsewhere"), KEY_CREDENTIAL)
    assert {name: type(error) for name, error in raised.items()} == dict.fromkeys(
        ("list", "read", "write"), NotFoundError
    )
    assert "elsewhere@" in str(raised["list"])
    assert "no such file system; create it or check its name" in str(raised["write"])
    assert "no such container" in str(raised["read"])


@pytest.mark.parametrize(
    "credential", [Credential("key", "d3Jvbmc="), Credential("sas", "sv=2024-01-01&sig=bad"), None]
)
def test_who_has_no_right_is_told_the_remedy(server: DataLakeServer, credential: Credential | None) -> None:
    server.put(LAKE, "file", b"data")
    raised = verbs(server.url(LAKE), credential)
    assert {name: type(error) for name, error in raised.items()} == dict.fromkeys(VERBS, AccessDeniedError)
    for error in raised.values():
        assert REMEDY in str(error)
        assert "d3Jvbmc" not in str(error)
        assert "sig=" not in str(error)
    assert tree(server) == {"file": b"data"}


def test_a_right_that_is_missing_for_one_verb_is_told_and_nothing_is_left(server: DataLakeServer) -> None:
    server.put(LAKE, "file", b"data")
    server.access.refused |= {"rename", "read"}
    raised = verbs(server.url(LAKE), KEY_CREDENTIAL)
    assert {name: type(error) for name, error in raised.items()} == dict.fromkeys(("read", "write"), AccessDeniedError)
    assert "AuthorizationPermissionMismatch" in str(raised["write"])
    assert tree(server) == {}


@pytest.mark.parametrize(
    ("host", "only", "said"),
    [("127.0.0.1:9", ("list", "write"), "refused"), ("moorage.invalid:443", ("list",), "host name was not found")],
)
def test_a_store_out_of_reach_is_told_by_each_verb(host: str, only: tuple[str, ...], said: str) -> None:
    raised = verbs(f"abfs://{LAKE}@{host}/{ACCOUNT}/", KEY_CREDENTIAL, 1, only)
    assert {name: type(error) for name, error in raised.items()} == dict.fromkeys(only, StoreUnreachableError)
    for error in raised.values():
        assert said in str(error)


def test_a_service_that_asks_to_wait_is_heard(server: DataLakeServer) -> None:
    server.faults.append(Fault("list", headers=(("Retry-After", "30"),)))
    with pytest.raises(StoreUnreachableError, match=r"HTTP 503.*asks to wait 30 s"):
        listed(open_store(server, deadline_s=3))
    assert len(server.requests) == 1


@pytest.mark.parametrize("operation", ["list", "properties", "rename"])
def test_a_service_that_says_nothing_is_given_up_at_the_deadline(server: DataLakeServer, operation: str) -> None:
    server.faults += [Fault(operation, silent=True)] * 8
    store, begun_s = open_store(server, deadline_s=1), time.monotonic()
    with pytest.raises(StoreUnreachableError, match="no answer in time"):
        list(store.list()) if operation == "list" else store.write("file", b"data")
    assert time.monotonic() - begun_s < 15  # without a limit it is 300 s
    assert tree(server) in ({}, {"file": b"data"} if operation == "properties" else {})


def test_a_changed_file_is_told_with_both_etags_and_a_folder_is_no_file(server: DataLakeServer) -> None:
    server.put(LAKE, "d/file", b"old bytes")
    (info,) = open_store(server).list("d/file")
    reader = registry.open_reader(server.url(LAKE), KEY_CREDENTIAL)
    server.put(LAKE, "d/file", b"new bytes")
    (now,) = open_store(server).list("d/file")
    with pytest.raises(DataChangedError, match=f"abfs://.*/d/file: was {info.etag}, is {now.etag}"):
        reader.read("d/file", 0, 9, info.etag)
    server.remove(LAKE, "d/file")
    server.make_folder(LAKE, "d/file")
    with pytest.raises(DataChangedError):
        reader.read("d/file", 0, 9, now.etag)


def test_verified_reads_ask_for_the_md5_of_each_range(server: DataLakeServer) -> None:
    server.put(LAKE, "file", content("file", 0, 5 << 20))
    (info,) = open_store(server).list("file")
    reader = registry.open_reader(server.url(LAKE), KEY_CREDENTIAL, verified=True)
    registry.require_verifiable([server.url(LAKE)])
    assert reader.read("file", 5, 9 << 19, info.etag) == content("file", 5, 9 << 19)
    assert len(server.asked("read")) == 2  # of 4 MiB at most


def test_a_sas_token_opens_every_verb_and_reaches_no_log(
    server: DataLakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    permission = FileSystemSasPermissions(read=True, write=True, list=True, delete=True, create=True)
    token = generate_file_system_sas(ACCOUNT, LAKE, KEY, permission, expiry=datetime.now(UTC) + timedelta(hours=1))
    server.access.signatures.add(parse_qs(token)["sig"][0])
    signature, credential = token.partition("sig=")[2].partition("&")[0], Credential("sas", token)
    server.put(LAKE, "file", b"data")
    with caplog.at_level(logging.DEBUG):
        assert verbs(server.url(LAKE), credential) == {}
        store = open_store(server, credential=credential)
        server.access.signatures.clear()
        refused = verbs(server.url(LAKE), credential)
    assert tree(server) == {"new": b"1"}
    assert len(refused) == 4
    assert caplog.records
    shown = [record.getMessage() for record in caplog.records] + [str(error) for error in refused.values()]
    assert not any(signature in text for text in [*shown, repr(store), repr(store._requests)])
