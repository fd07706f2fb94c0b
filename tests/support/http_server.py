"""A small threaded http server whose manners and faults a test can switch.

It serves `files` (URL path -> bytes, or what makes them) by GET and HEAD over HTTP/1.1, and can withhold what servers in the
wild withhold: ranges, ETags, Last-Modified. `faults` is a queue of things to go wrong, one a request, the oldest first; when
it is empty the server is well. Every request is kept in `requests` as (method, path, range header).
"""

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Protocol, cast
from urllib.parse import unquote

from tests.support.serving import Handler, Listener, serving


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad answer: a status with headers, or one of the manners in `kind`.

    kind: 'status' · 'truncate' (right length in the header, half of the body) · 'reset' (the same, and the connection is
    broken) · 'brief' (half of the body, and its length in the header) · 'stall' (no answer until the server is closed) ·
    'wrong-range' (206 with bytes of another place) · 'whole' (200 with the whole file) · 'page' (200 with an html page)
    """

    kind: str = "status"
    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()


class Body(Protocol):
    """What is served: bytes, or something that makes them when a part is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


@dataclass
class HttpServer:
    """A running server: `endpoint` is its address without a `/` at the end; the rest may be changed while it runs."""

    endpoint: str = ""
    files: dict[str, Body] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)  # path -> the header as sent, quotes included; none without
    modified_s: dict[str, int] = field(default_factory=dict)  # path -> Last-Modified; none without
    ranges: bool = True
    if_match: bool = True
    refused: set[str] = field(default_factory=set)  # paths that answer 403
    faults: deque[Fault] = field(default_factory=deque)
    delay_s: Callable[[], float] | None = None  # asked once a request: how long its answer takes
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, data: Body, *, etag: str | None = None, modified_s: int | None = None) -> str:
        """Serve `data` at `path` (starts with `/`) and return the URL; without etag and time the server tells neither."""
        self.files[path] = data
        for table, value in ((self.etags, etag), (self.modified_s, modified_s)):
            table.pop(path, None)
            if value is not None:
                cast("dict[str, object]", table)[path] = value
        return self.endpoint + path

    def next_fault(self) -> Fault | None:
        """Take the oldest fault."""
        try:
            return self.faults.popleft()
        except IndexError:
            return None

    @staticmethod
    @contextmanager
    def start() -> Iterator["HttpServer"]:
        """Serve on a free loopback port for the length of a `with` block."""
        state = HttpServer()
        with serving(state, _Handler) as address:
            state.endpoint = address
            yield state


_AT_ONCE = struct.pack("ii", 1, 0)  # the linger that makes a close a reset


class _Handler(Handler):
    server: Listener[HttpServer]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        state, path = self.server.state, unquote(self.path)
        state.requests.append((self.command, path, self.headers.get("Range")))
        if state.delay_s is not None:
            state.closing.wait(state.delay_s())
        fault = state.next_fault()
        if fault is not None and fault.kind == "stall":
            state.closing.wait()
            self.close_connection = True
        elif fault is not None and fault.kind == "status":
            self._send(fault.status, b"<html>a page that is no data</html>", dict(fault.headers))
        elif fault is not None and fault.kind == "page":
            self._send(200, b"<html>a page that is no data</html>", {"Content-Type": "text/html"})
        elif path in state.refused:
            self._send(403, b"no", {})
        elif path not in state.files:
            self._send(404, b"no such file", {})
        else:
            self._file(state, path, fault.kind if fault else "")

    def _file(self, state: HttpServer, path: str, fault: str) -> None:
        data, headers = state.files[path], {}
        if etag := state.etags.get(path):
            headers["ETag"] = etag
        if path in state.modified_s:
            headers["Last-Modified"] = formatdate(state.modified_s[path], usegmt=True)
        wanted = self.headers.get("If-Match")
        if state.if_match and wanted and wanted != etag:
            self._send(412, b"changed", {})
            return
        asked = self.headers.get("Range") or self.headers.get("x-ms-range")
        asked = asked if state.ranges and fault != "whole" else None
        if asked is None:
            self._send(200, data, headers, fault)
            return
        first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        if first >= len(data):
            self._send(416, b"out of range", {"Content-Range": f"bytes */{len(data)}"})
            return
        if fault == "wrong-range":
            first, last = (first - 1, last - 1) if first else (first + 1, last + 1)
        last = min(last, len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        body = data[first : last + 1]
        self._send(206, body[: len(body) // 2] if fault == "brief" else body, headers, fault)

    def _send(self, status: int, body: Body, headers: dict[str, str], fault: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault in {"truncate", "reset"}:
            body = body[: len(body) // 2]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body[:])
        if fault == "reset":
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.connection.close()
