"""A proxy that stands between a client and an http server, and spoils some of the answers.

`FaultProxy.start(upstream)` listens on a loopback port and hands every request on to `upstream`, one thread a connection.
`inject` says which requests are harmed by what: by a predicate on the request (so a phase of a mount is hit), by number, by
a share of them; `clear` ends all harm, and `refusing` closes the port for a while. What was injected is counted in
`report`, and the last requests are in `requests`.

Signatures hold: path, query and headers go on as they came (the Host too), and Azure signs neither address nor port.

Invariants: which requests a share hits depends on seed and request, and on how often the same was asked before, never on
the order in which threads come; connections end with the `with` block, also those that stand still. The lock protects
injections, counts and open connections; nothing is sent or asked under it.
"""

import random
import select
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import parse_qs, unquote

from tests.support.serving import Handler, Listener
from tests.support.wire_faults import Answer, Fault

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade"}
_AT_ONCE = struct.pack("ii", 1, 0)  # the linger that makes a close a reset
_KEPT = 10_000
_POLL_S = 0.05
_UPSTREAM_S = 30


@dataclass(slots=True)
class Request:
    """One request as it came. `range` is (first byte, byte after the last); `status` is what was answered, 0 for nothing."""

    number: int  # from 1
    method: str
    path: str  # unquoted
    query: str
    range: tuple[int, int] | None
    if_match: str | None
    repeated: int = 0  # how often the same was asked before
    fault: str = ""
    status: int = 0

    @property
    def reads(self) -> bool:
        """Whether it asks for the bytes of an object."""
        return self.method == "GET" and "comp=" not in self.query and "resource=" not in self.query

    @property
    def listed(self) -> str | None:
        """What a listing is about: a prefix in a container, or a directory in a file system."""
        asked = parse_qs(self.query)
        if asked.get("comp") == ["list"]:
            return asked.get("prefix", [""])[0]
        return asked.get("directory", [""])[0] if asked.get("resource") == ["filesystem"] else None


When = Callable[[Request], bool]


@dataclass(slots=True)
class Injection:
    """Harm for the requests that `when` picks: not the first `after` of them, `times` of them or all, a `share` of them."""

    faults: Sequence[Fault]
    when: When
    after: int
    times: float
    share: float
    met: int = 0
    count: int = 0  # how many were harmed

    def take(self, seed: int, request: Request) -> Fault | None:
        """The harm for a request that `when` has picked."""
        self.met += 1
        chosen = random.Random(f"{seed} {request.method} {request.path} {request.range} {request.repeated}")
        if self.met <= self.after or self.count >= self.times or chosen.random() >= self.share:
            return None
        self.count += 1
        return chosen.choice(self.faults)


@dataclass
class FaultProxy:
    """A running proxy; `endpoint` is its address without a `/` at the end."""

    upstream: str  # HOST:PORT
    seed: int = 0
    endpoint: str = ""
    report: Counter[str] = field(default_factory=Counter)
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=_KEPT))
    closing: threading.Event = field(default_factory=threading.Event)
    _injections: list[Injection] = field(default_factory=list)
    _asked: Counter[tuple[object, ...]] = field(default_factory=Counter)
    _connections: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _number: int = 0
    _refuses: bool = False

    def inject(
        self,
        *faults: Fault,
        when: When = lambda request: request.reads,
        after: int = 0,
        times: float = float("inf"),
        share: float = 1.0,
    ) -> Injection:
        """Harm requests from now on, each by one of `faults`; the oldest injection that wants a request has it."""
        injection = Injection(faults, when, after, times, share)
        with self._lock:
            self._injections.append(injection)
        return injection

    def clear(self) -> None:
        """No harm from now on; what is on its way ends as it was meant to."""
        with self._lock:
            self._injections.clear()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse every connection for the length of a `with` block; those that there are break off."""
        self._close()
        self.report["connection refused"] += 1
        try:
            yield
        finally:
            self._listen()

    def note(self, request: Request) -> Fault | None:
        """Count a request, and say what is to be done to it."""
        same = (request.method, request.path, request.query, request.range)
        with self._lock:
            self._number += 1
            request.number, request.repeated = self._number, self._asked[same]
            self._asked[same] += 1
            self.requests.append(request)
            injections = [*self._injections]
        for injection in injections:
            if injection.when(request):
                with self._lock:
                    fault = injection.take(self.seed, request)
                    if fault is not None:
                        request.fault = fault.name
                        self.report[fault.name] += 1
                        return fault
        return None

    @contextmanager
    def connected(self, connection: socket.socket) -> Iterator[bool]:
        """Know of a client's connection while it is served; False: it came too late and is not to be served."""
        with self._lock:
            self._connections.add(connection)
            is_open = not self._refuses
        try:
            yield is_open
        finally:
            with self._lock:
                self._connections.discard(connection)

    @staticmethod
    @contextmanager
    def start(upstream: str, seed: int = 0) -> Iterator["FaultProxy"]:
        """Stand before the endpoint `upstream` (http://HOST:PORT) for the length of a `with` block."""
        proxy = FaultProxy(upstream.removeprefix("http://"), seed)
        # This socket never listens: it only keeps the port ours while connections are refused.
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(("127.0.0.1", 0))
            proxy.endpoint = f"http://127.0.0.1:{holder.getsockname()[1]}"
            proxy._listen()
            try:
                yield proxy
            finally:
                proxy.closing.set()
                proxy._close()

    def _listen(self) -> None:
        self._refuses = False
        self._listener = _Listener(("127.0.0.1", int(self.endpoint.rpartition(":")[2])), _Handler)
        self._listener.state = self
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _close(self) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
        with self._lock:
            self._refuses = True
            connections = [*self._connections]
        for connection in connections:
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)


class _Listener(Listener["FaultProxy"]):
    allow_reuse_port = True


class _Handler(Handler):
    server: _Listener

    def handle(self) -> None:
        self._upstream = HTTPConnection(self.server.state.upstream, timeout=_UPSTREAM_S)
        with self.server.state.connected(self.connection) as is_open, closing(self._upstream):
            if is_open:
                super().handle()

    def _hand_on(self) -> None:
        request = self._request()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.state.note(request)
        answer = Answer(0, {}, b"")
        if fault is None or fault.asks != "nothing":
            answer = self._asked(body, whole=fault is not None and fault.asks == "whole")
        if fault is not None:
            answer = fault.change(answer)
        request.status = answer.status if answer.sent_bytes != -1 else 0
        self._send(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _hand_on  # noqa: N815 - the base class names them so

    def _request(self) -> Request:
        path, _, query = self.path.partition("?")
        told = self.headers.get("x-ms-range") or self.headers.get("Range") or ""
        first, _, last = told.removeprefix("bytes=").partition("-")
        asked = (int(first), int(last) + 1) if first and last else None
        return Request(0, self.command, unquote(path), query, asked, self.headers.get("If-Match"))

    def _asked(self, body: bytes, *, whole: bool) -> Answer:
        """What the upstream says; a connection that it closed meanwhile is made anew once."""
        left_out = {"range", "x-ms-range", "authorization"} if whole else set()
        headers = {name: told for name, told in self.headers.items() if name.lower() not in left_out | {"connection"}}
        for is_last in (False, True):
            try:
                self._upstream.request(self.command, self.path, body or None, headers)
                told = self._upstream.getresponse()
                data = told.read()
            except (OSError, HTTPException):
                self._upstream.close()
                if is_last:
                    return Answer(502, {}, b"the proxy's upstream does not answer")
            else:
                kept = {name.lower(): value for name, value in told.getheaders() if name.lower() not in _HOP_BY_HOP}
                length = int(told.headers.get("Content-Length") or 0) if self.command == "HEAD" else None
                return Answer(told.status, kept, data, length)
        raise AssertionError

    def _send(self, answer: Answer) -> None:
        self.server.state.closing.wait(answer.delay_s)
        if answer.sent_bytes != -1:
            self._send_head(answer)
            body = answer.body[: answer.sent_bytes] if self.command != "HEAD" else b""
            step = answer.piece_bytes or len(body) or 1
            for start in range(0, len(body), step):
                if answer.pause_s:
                    self.wfile.flush()
                    self.server.state.closing.wait(answer.pause_s)
                self.wfile.write(body[start : start + step])
            self.wfile.flush()
        if answer.ending:
            self._end(answer.ending)

    def _send_head(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, told in answer.headers.items():
            self.send_header(name, told)
        if answer.status >= 200 and answer.status not in {204, 304}:
            length = len(answer.body) if answer.told_bytes is None else answer.told_bytes
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _end(self, ending: str) -> None:
        self.close_connection = True
        if ending == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.connection.close()
        while ending == "stall" and not self.server.state.closing.wait(_POLL_S):
            if select.select([self.connection], [], [], 0)[0]:  # the client has hung up
                return
