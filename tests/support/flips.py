"""A proxy that flips a byte of what it hands on, for a server that speaks http and a client that asks for ranges."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_KEPT = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class FlippingProxy(ThreadingHTTPServer):
    """Hands requests on to `upstream` (HOST:PORT). Of the next `left` answers to a range one byte each is flipped.

    `flips` counts what was flipped; without `md5` the header Content-MD5 of an answer is lost.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.left, self.flips, self.md5 = upstream, 0, 0, True
        self.longest_bytes = 0
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """Its address, without a `/` at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def flip(self, body: bytes) -> bytes:
        """`body`, or what becomes of it."""
        with self.lock:
            self.longest_bytes = max(self.longest_bytes, len(body))
            if not self.left:
                return body
            self.left -= 1
            self.flips += 1
            middle = len(body) // 2
            return body[:middle] + bytes([body[middle] ^ 0x20]) + body[middle + 1 :]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client hangs up."""

    @staticmethod
    @contextmanager
    def start(endpoint: str) -> Iterator["FlippingProxy"]:
        """Stand before `endpoint` for the length of a `with` block."""
        with FlippingProxy(endpoint.removeprefix("http://")) as proxy:
            thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield proxy
            finally:
                proxy.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: FlippingProxy

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it so
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        with closing(HTTPConnection(self.server.upstream, timeout=30)) as upstream:
            upstream.request("GET", self.path, headers=dict(self.headers.items()))
            answer = upstream.getresponse()
            body = answer.read()
        if answer.status == 206:
            body = self.server.flip(body)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _KEPT and (self.server.md5 or name.lower() != "content-md5"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
