"""The proxy that spoils answers: it does what it says, counts it, and leaves the rest alone."""

import http.client
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from mountd.freeze import FreezeSource, freeze
from mountd.stores import registry
from mountd.stores.credentials import Credential
from tests.support import wire_faults as faults
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.content import content
from tests.support.fault_proxy import FaultProxy, Request
from tests.support.http_server import HttpServer
from tests.support.waiting import until

DATA = content("x", 0, 10_000)
PART = (1000, 3000)
RIGHT = DATA[slice(*PART)]


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with HttpServer.start() as server, FaultProxy.start(server.endpoint, seed=1) as proxy:
        server.put("/x", DATA, etag='"1"')
        yield proxy


class Client:
    """One kept connection that asks for PART."""

    def __init__(self, proxy: FaultProxy, timeout_s: float = 20) -> None:
        self._connection = http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=timeout_s)

    def ask(self, method: str = "GET", path: str = "/x", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {"Range": f"bytes={PART[0]}-{PART[1] - 1}", **headers}
        self._connection.request(method, path, headers=headers)
        answer = self._connection.getresponse()
        return answer, answer.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def test_what_is_not_harmed_goes_through_as_it_is(proxy: FaultProxy) -> None:
    with Client(proxy) as client:
        answer, body = client.ask(**{"If-Match": '"1"'})
        assert (answer.status, body) == (206, RIGHT)
        assert (answer.headers["ETag"], answer.headers["Content-Range"]) == ('"1"', "bytes 1000-2999/10000")
        head, nothing = client.ask("HEAD")
        assert (head.headers["Content-Length"], nothing) == ("2000", b"")
        assert client.ask(path="/y")[0].status == 404
    seen = [(each.method, each.path, each.range, each.if_match, each.status) for each in proxy.requests]
    assert seen == [
        ("GET", "/x", PART, '"1"', 206),
        ("HEAD", "/x", PART, None, 206),
        ("GET", "/y", PART, None, 404),
    ]
    assert proxy.report == {}


@pytest.mark.parametrize(
    ("fault", "status", "body", "headers"),
    [
        (faults.latency(0.01), 206, RIGHT, {}),
        (faults.trickle(1500, 0.01), 206, RIGHT, {}),
        (faults.brief(), 206, RIGHT[:1000], {"Content-Range": "bytes 1000-2999/10000"}),
        (faults.whole(), 200, DATA, {"ETag": '"1"'}),
        (faults.wrong_range(), 206, RIGHT[1:] + b"!", {"Content-Range": "bytes 1001-3000/10000"}),
        (faults.changed_etag('"2"'), 206, RIGHT, {"ETag": '"2"'}),
        (faults.flip(), 206, RIGHT[:1000] + bytes([RIGHT[1000] ^ 0x20]) + RIGHT[1001:], {}),
        (faults.page(), 200, faults.HTML, {"Content-Type": "text/html"}),
        (faults.page(206, headers=True), 206, faults.HTML, {"ETag": '"1"', "Content-Range": "bytes 1000-2999/10000"}),
        (faults.refusal(404), 404, faults.HTML, {}),
        (faults.refusal(503, "ServerBusy", retry_after="7"), 503, None, {"Retry-After": "7"}),
        (faults.expired_token(), 403, None, {"x-ms-error-code": "AuthenticationFailed"}),
    ],
    ids=lambda value: value.name if isinstance(value, faults.Fault) else "",
)
def test_a_fault_does_what_it_says_once_and_is_counted(
    proxy: FaultProxy, fault: faults.Fault, status: int, body: bytes | None, headers: dict[str, str]
) -> None:
    injection = proxy.inject(fault, times=1)
    with Client(proxy) as client:
        answer, came = client.ask()
        assert (answer.status, came if body is not None else None) == (status, body)
        assert {name: answer.headers[name] for name in headers} == headers
        assert client.ask()[1] == RIGHT  # over the same connection
    assert (proxy.report, injection.count) == ({fault.name: 1}, 1)
    assert [each.fault for each in proxy.requests] == [fault.name, ""]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.short(), http.client.IncompleteRead),
        (faults.reset(), ConnectionResetError),
        (faults.stall(), TimeoutError),
        (faults.stall(100), TimeoutError),
        (faults.trickle(1, 0.4), TimeoutError),
    ],
)
def test_a_connection_breaks_off_or_stands_still(
    proxy: FaultProxy, fault: faults.Fault, expected: type[Exception]
) -> None:
    proxy.inject(fault)
    # A trickle would end some day: this client has no patience with it either.
    with pytest.raises(expected), Client(proxy, timeout_s=0.2) as client:
        client.ask()
    assert proxy.report == {fault.name: 1}
    until(lambda: not proxy._connections, what="the end of the connection")


def test_harm_is_chosen_by_request_and_number_and_ends(proxy: FaultProxy) -> None:
    late = proxy.inject(faults.expired_token(), when=lambda request: request.method == "GET", after=2)
    third = proxy.inject(faults.refusal(500), when=lambda request: request.number == 2)
    with Client(proxy) as client:
        assert [client.ask()[0].status for _ in range(4)] == [206, 500, 403, 403]
        assert client.ask("HEAD")[0].status == 206
        proxy.clear()
        assert client.ask()[0].status == 206
    assert (late.count, third.count) == (2, 1)
    assert proxy.report == {"expired token": 2, "HTTP 500": 1}


def test_a_share_hits_the_same_requests_with_the_same_seed_however_threads_come() -> None:
    def hits(seed: int, order: list[int]) -> dict[int, list[int]]:
        with HttpServer.start() as server, FaultProxy.start(server.endpoint, seed) as proxy:
            for number in order:
                server.put(f"/{number}", DATA)
            proxy.inject(faults.refusal(500), faults.refusal(503), share=0.5)
            with Client(proxy) as client:
                asked = [(number, client.ask(path=f"/{number}")[0].status) for number in order for _ in range(3)]
        return {number: [status for each, status in asked if each == number] for number in sorted(order)}

    first = hits(7, [*range(20)])
    assert first == hits(7, [*reversed(range(20))])
    assert first != hits(8, [*range(20)])
    assert {status for statuses in first.values() for status in statuses} == {206, 500, 503}


def test_connections_are_refused_for_a_while_and_old_ones_break_off(proxy: FaultProxy) -> None:
    with Client(proxy) as kept:
        assert kept.ask()[1] == RIGHT
        with proxy.refusing():
            with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
                kept.ask()
            with pytest.raises(ConnectionRefusedError), Client(proxy) as client:
                client.ask()
    with Client(proxy) as client:
        assert client.ask()[1] == RIGHT
    assert proxy.report == {"connection refused": 1}


def test_nothing_is_left_when_it_ends_while_answers_stand_still() -> None:
    before = {*threading.enumerate()}
    with HttpServer.start() as server, FaultProxy.start(server.endpoint) as proxy:
        server.put("/x", DATA)
        injection = proxy.inject(faults.stall(), faults.stall(10), faults.trickle(), faults.latency(60), share=1)
        clients = [Client(proxy) for _ in range(8)]
        for client in clients:
            client._connection.request("GET", "/x")
        until(lambda: injection.count == len(clients), what="eight answers that stand still")
    for client in clients:
        client._connection.close()
    until(lambda: {*threading.enumerate()} <= before, what="the end of its threads")


def is_listing(request: Request) -> bool:
    return "comp=list" in request.query


@pytest.mark.azurite
def test_signed_requests_of_both_azure_clients_go_through(azurite: Azurite, tmp_path: Path) -> None:
    name = "proxy" + os.urandom(6).hex()
    azurite.make_container(name, public=True)
    azurite.put(name, "a b/x", DATA)
    with FaultProxy.start(azurite.endpoint) as proxy:
        url, credential = f"{proxy.endpoint}/{ACCOUNT}/{name}/", Credential("key", KEY)
        busy = proxy.inject(faults.refusal(503, "ServerBusy", retry_after="1"), when=is_listing, times=1)
        freeze([FreezeSource(url, credential)], tmp_path / "manifest")
        assert busy.count == 1
        etag = next(iter(registry.open_lister(url, credential).list())).etag
        for verified in (False, True):
            reader = registry.open_reader(url, credential, verified=verified)
            assert bytes(reader.read("a b/x", *PART[:1], len(RIGHT), etag)) == RIGHT
        whole = proxy.inject(faults.whole(), times=1)
        assert bytes(registry.open_reader(url, credential).read("a b/x", PART[0], len(RIGHT), etag)) == RIGHT
        assert whole.count == 1
        assert {request.path for request in proxy.requests if request.reads} == {f"/{ACCOUNT}/{name}/a b/x"}
        written = registry.open_writer(url, credential).write("new", RIGHT)
        assert bytes(registry.open_reader(url, credential).read("new", 0, len(RIGHT), written.etag)) == RIGHT
