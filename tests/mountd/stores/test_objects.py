"""Reads over the network when the network, the server or the process misbehaves."""

import os
import socket
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import closing

import pytest

from mountd.errors import (
    AccessDeniedError,
    BadInputError,
    DataChangedError,
    DefectError,
    HostilePathError,
    NotFoundError,
    StoreUnreachableError,
)
from mountd.stores import azure_blob, objects, registry
from mountd.stores.base import ObjectInfo, RangeReader, TimedReader, Within, normal_etag
from mountd.stores.credentials import Credential
from tests.support.azurite import KEY, Azurite
from tests.support.content import content
from tests.support.http_server import Fault, HttpServer
from tests.support.waiting import until

DATA = content("x", 0, 100_000)
SAS = "sv=2024-01-01&ss=b&srt=sco&sp=rl&sig=aHVudGVyMmh1bnRlcjI%3D"
OTHER_KEY = "aHVudGVyMmh1bnRlcjI="


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer.start() as found:
        yield found


def web(server: HttpServer, deadline_s: float = 20) -> RangeReader:
    return registry.open_reader(f"{server.endpoint}/", None, deadline_s=deadline_s)


def head(server: HttpServer, key: str = "x") -> ObjectInfo:
    return next(iter(registry.open_lister(f"{server.endpoint}/", None).list(key)))


def refused_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503, headers=(("Retry-After", "1"),)),
        Fault(status=429),
        Fault("truncate"),
        Fault("wrong-range"),
        Fault("page"),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status}",
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_passing_fault_costs_time_and_never_bytes(server: HttpServer, fault: Fault, times: int) -> None:
    server.put("/x", DATA, etag='"1"')
    server.faults.extend([fault] * times)
    assert bytes(web(server).read("x", 1000, 70_000, "1")) == DATA[1000:71_000]


@pytest.mark.parametrize("fault", [Fault(status=503), Fault("truncate"), Fault("wrong-range"), Fault("stall")], ids=str)
def test_a_lasting_fault_is_an_error_by_the_deadline(server: HttpServer, fault: Fault) -> None:
    server.put("/x", DATA, etag='"1"')
    server.faults.extend([fault] * 1000)
    start = time.monotonic()
    with pytest.raises(StoreUnreachableError, match=r"/x: .*attempts? in") as caught:
        web(server, deadline_s=1.0).read("x", 1000, 70_000, "1")
    assert time.monotonic() - start < 2.0
    assert "\n" not in str(caught.value)
    assert "a page" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("folder", ["", "devstoreaccount1/cont/"], ids=["web", "blob"])
def test_retry_after_is_heard_and_waited_for(server: HttpServer, status: int, folder: str) -> None:
    server.put(f"/{folder}x", DATA, etag='"1"', modified_s=1_700_000_000)
    server.faults.extend([Fault(status=status), Fault(status=status, headers=(("Retry-After", "1"),))])
    reader = registry.open_reader(f"{server.endpoint}/{folder}", None, deadline_s=20)
    start_s = time.monotonic()
    assert bytes(reader.read("x", 1000, 70_000, "1")) == DATA[1000:71_000]
    assert time.monotonic() - start_s >= 1
    assert len(server.requests) == 4  # turned away twice; let in, which one byte tells; the read
    server.faults.extend([Fault(status=status), Fault(status=status, headers=(("Retry-After", "60"),))])
    with pytest.raises(StoreUnreachableError, match=f"HTTP {status}.*; the service asks to wait 60 s"):
        reader.read("x", 1000, 70_000, "1")
    assert time.monotonic() - start_s < 15  # and not when the deadline is over


@pytest.mark.parametrize("address", ["{0}/", "{0}/devstoreaccount1/cont/", "{1}/devstoreaccount1/share/"])
def test_what_is_gone_when_reads_are_let_in_again_is_a_changed_file(server: HttpServer, address: str) -> None:
    server.faults.append(Fault(status=503))
    url = address.format(server.endpoint, server.endpoint.replace("http:", "azfile:"))
    reader = registry.open_reader(url, Credential("key", KEY), deadline_s=20)
    with pytest.raises(DataChangedError, match="/x: was 1, is gone"):
        reader.read("x", 0, 10, "1")


def test_the_look_at_what_was_changed_ends_with_the_read(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_blob, "_LOOK_S", 60)
    server.faults.extend([Fault(status=412), Fault("stall")])
    reader = registry.open_reader(f"{server.endpoint}/devstoreaccount1/cont/", None, deadline_s=1, verified=True)
    start_s = time.monotonic()
    with pytest.raises(DataChangedError, match="/x: was 1, is another"):
        reader.read("x", 0, 10, "1")
    assert time.monotonic() - start_s < 15


def test_a_stall_is_given_up_early_enough_for_another_attempt(server: HttpServer) -> None:
    server.put("/x", DATA, etag='"1"')
    server.faults.append(Fault("stall"))
    assert bytes(web(server, deadline_s=4).read("x", 0, 10, "1")) == DATA[:10]


def test_an_attempt_ends_when_it_was_told_to_and_the_next_one_is_timed(server: HttpServer) -> None:
    server.put("/x", DATA, etag='"1"')
    server.faults.append(Fault("stall"))
    reader, took_s = web(server, deadline_s=40), list[float]()
    assert isinstance(reader, TimedReader)
    start_s = time.monotonic()
    data = reader.read_within("x", 0, 10, "1", Within(30, attempt_s=1, took=took_s.append))
    assert bytes(data) == DATA[:10]
    assert time.monotonic() - start_s < 8  # and not the ten that the store would wait by itself
    assert len(took_s) == 1
    assert took_s[0] < time.monotonic() - start_s - 0.5
    with pytest.raises(StoreUnreachableError, match="of 0 s"):
        reader.read_within("x", 0, 10, "1", Within(0))


@pytest.mark.parametrize("path_style", [True, False])
def test_a_refused_connection_is_one_line_within_the_deadline(path_style: bool) -> None:  # noqa: FBT001 - a parameter
    url = f"http://127.0.0.1:{refused_port()}/" + ("devstoreaccount1/cont/" if path_style else "")
    for ask in (
        lambda: registry.open_reader(url, Credential("sas", SAS), deadline_s=0.6).read("x", 0, 1, "1"),
        lambda: list(registry.open_lister(url, Credential("sas", SAS), deadline_s=0.6).list("x")),
    ):
        start = time.monotonic()
        with pytest.raises(StoreUnreachableError, match="connection was refused") as caught:
            ask()
        assert time.monotonic() - start < 1.6
        assert "\n" not in str(caught.value)


def test_a_server_without_etags_is_pinned_by_time_and_length(server: HttpServer) -> None:
    server.put("/x", DATA, modified_s=1_700_000_000)
    info = head(server)
    assert (info.etag, info.mtime_ns) == (f"lm:1700000000-{len(DATA)}", 1_700_000_000 * 10**9)
    assert bytes(web(server).read("x", 5, 5, info.etag)) == DATA[5:10]
    server.put("/x", DATA, modified_s=1_700_000_001)
    with pytest.raises(DataChangedError, match="lm:1700000001"):
        web(server).read("x", 5, 5, info.etag)


def test_a_server_that_tells_nothing_is_pinned_by_length(server: HttpServer) -> None:
    server.put("/x", DATA)
    info = head(server)
    assert info.etag == f"len:{len(DATA)}"
    assert bytes(web(server).read("x", 5, 5, info.etag)) == DATA[5:10]
    server.put("/x", DATA + b"!")
    with pytest.raises(DataChangedError, match="len:100001"):
        web(server).read("x", 5, 5, info.etag)


def test_a_weak_etag_is_compared_and_never_sent(server: HttpServer) -> None:
    server.put("/x", DATA, etag='W/"1"')
    assert head(server).etag == "W/1"
    assert bytes(web(server).read("x", 0, 3, "W/1")) == DATA[:3]
    server.put("/x", DATA, etag='W/"2"')
    with pytest.raises(DataChangedError, match="was W/1, is W/2"):
        web(server).read("x", 0, 3, "W/1")


def test_a_server_that_ignores_if_match_is_not_believed(server: HttpServer) -> None:
    server.if_match = False
    server.put("/x", DATA, etag='"2"')
    with pytest.raises(DataChangedError, match="was 1, is 2"):
        web(server).read("x", 0, 3, "1")
    server.put("/x", DATA)
    with pytest.raises(StoreUnreachableError, match="without the ETag"):
        web(server, deadline_s=0.5).read("x", 0, 3, "1")


def test_a_server_that_ignores_ranges_gives_right_bytes_within_a_bound(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ranges = False
    server.put("/x", DATA, etag='"1"')
    for offset, size in ((0, 10), (0, len(DATA)), (99_999, 1), (65_000, 2_000)):
        assert bytes(web(server).read("x", offset, size, "1")) == DATA[offset : offset + size]
    with pytest.raises(DataChangedError):
        web(server).read("x", 99_999, 2, "1")
    monkeypatch.setattr(objects, "_WHOLE_LIMIT_BYTES", 50_000)
    with pytest.raises(BadInputError, match="ignores ranges"):
        web(server).read("x", 50_000, 1, "1")


def test_a_page_in_the_place_of_a_far_range_is_no_server_that_ignores_ranges(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_WHOLE_LIMIT_BYTES", 50_000)
    server.put("/x", DATA, etag='"1"')
    for times in (1, 2):
        server.faults.extend([Fault("page")] * times)
        assert bytes(web(server).read("x", 60_000, 5, "1")) == DATA[60_000:60_005]
    server.faults.extend([Fault("page")] * 1000)
    with pytest.raises(StoreUnreachableError, match="without the ETag"):
        web(server, deadline_s=0.5).read("x", 60_000, 5, "1")


def test_web_errors(server: HttpServer) -> None:
    server.put("/x", DATA, etag='"1"')
    server.refused.add("/x")
    with pytest.raises(AccessDeniedError, match="HTTP 403"):
        web(server).read("x", 0, 1, "1")
    with pytest.raises(NotFoundError, match="nothing"):
        head(server, "nothing")
    with pytest.raises(BadInputError, match="cannot be listed"):
        head(server, "")
    with pytest.raises(BadInputError, match="not supported"):
        web(server).read("a//b", 0, 1, "1")
    server.faults.append(Fault(status=405))
    with pytest.raises(BadInputError, match="HTTP 405"):
        head(server)


@pytest.mark.azurite
def test_names_no_client_can_ask_for_are_refused(azurite: Azurite) -> None:
    reader = registry.open_reader(azurite.url("cont"), Credential("key", KEY))
    for key in ("../x", "a/./b", ".."):
        with pytest.raises(HostilePathError):
            reader.read(key, 0, 1, "1")


@pytest.mark.azurite
@pytest.mark.parametrize(
    "credential", [None, Credential("anonymous"), Credential("key", OTHER_KEY), Credential("sas", SAS)], ids=repr
)
def test_a_wrong_or_missing_credential_says_what_to_set(azurite: Azurite, credential: Credential | None) -> None:
    url = azurite.make_container("denied" + os.urandom(6).hex())
    azurite.put(url.split("/")[-2], "file", b"x")
    for ask in (
        lambda: registry.open_reader(url, credential).read("file", 0, 1, "1"),
        lambda: list(registry.open_lister(url, credential).list()),
        lambda: registry.open_writer(url, credential).write("new", b"x"),
    ):
        with pytest.raises(AccessDeniedError, match=r"AZURE_STORAGE_KEY.*--credential|no right to write") as caught:
            ask()
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert "\n" not in str(caught.value)
        assert not any(secret in shown for secret in ("aHVudGVyMmh1bnRlcjI", "sig=a"))


@pytest.mark.azurite
def test_a_public_container_needs_no_credential(azurite: Azurite) -> None:
    name = "public" + os.urandom(6).hex()
    url = azurite.make_container(name, public=True)
    azurite.put(name, "file", b"bytes")
    (info,) = registry.open_lister(url, None).list()
    assert bytes(registry.open_reader(url, None).read("file", 0, 5, info.etag)) == b"bytes"


@pytest.mark.azurite
def test_a_container_that_is_not_there(azurite: Azurite) -> None:
    url = azurite.url("nowhere" + os.urandom(6).hex())
    with pytest.raises(NotFoundError, match="no such container"):
        registry.open_reader(url, Credential("key", KEY)).read("x", 0, 1, "1")
    with pytest.raises(NotFoundError, match="no such container"):
        list(registry.open_lister(url, Credential("key", KEY)).list())


@pytest.mark.azurite
def test_the_environment_does_not_decide_where_or_as_whom(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "env" + os.urandom(6).hex()
    url = azurite.make_container(name)
    azurite.put(name, "file", b"bytes")
    for variable, value in {
        "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/",
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURE_STORAGE_SAS_TOKEN": SAS,
        "AZURE_STORAGE_ACCOUNT_KEY": OTHER_KEY,
        "AZURE_STORAGE_ACCOUNT_NAME": "someoneelse",
        "AZURE_CONTAINER_NAME": "elsewhere",
        "AZURE_SKIP_SIGNATURE": "true",
    }.items():
        monkeypatch.setenv(variable, value)
    reader = registry.open_reader(url, Credential("key", KEY), deadline_s=5)
    assert bytes(reader.read("file", 0, 5, "")) == b"bytes"


def test_a_fork_is_refused_at_once(server: HttpServer) -> None:
    server.put("/x", DATA, etag='"1"')
    reader, lister = web(server), registry.open_lister(f"{server.endpoint}/acct/cont/", None)
    assert bytes(reader.read("x", 0, 1, "1")) == DATA[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
        child = os.fork()
    if not child:
        os._exit(_refusals(lambda: reader.read("x", 0, 1, "1"), lambda: list(lister.list())))
    ended: list[int] = []

    def has_ended() -> bool:
        ended.extend(status for pid, status in [os.waitpid(child, os.WNOHANG)] if pid)
        return bool(ended)

    until(has_ended, what="the child")
    assert os.waitstatus_to_exitcode(ended[0]) == 2
    assert bytes(reader.read("x", 0, 1, "1")) == DATA[:1]


def _refusals(*calls: object) -> int:
    count = 0
    for call in calls:
        try:
            call()  # type: ignore[operator]  # a lambda
        except DefectError:
            count += 1
    return count


def test_etags_are_normal() -> None:
    assert [normal_etag(each) for each in ('"x"', "x", 'W/"x"', ' "a"b" ', None, "")] == [
        "x",
        "x",
        "W/x",
        'a"b',
        "",
        "",
    ]


def test_what_changed_or_is_gone_is_named_with_both_etags(server: HttpServer) -> None:
    url = server.put("/d/file", b"old", etag='"one"')
    reader = registry.open_reader(url.removesuffix("file"), None)
    server.put("/d/file", b"new", etag='"two"')
    with pytest.raises(DataChangedError, match=r"/d/file: was one, is two; freeze the source again"):
        reader.read("file", 0, 3, "one")
    del server.files["/d/file"]
    with pytest.raises(DataChangedError, match=r"/d/file: was one, is gone; freeze the source again"):
        reader.read("file", 0, 3, "one")
