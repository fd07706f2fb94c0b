"""What the wire-level servers of tests share: a listener on a free loopback port, and a handler that says nothing.

A server is its state; `serving` has it answered for by threads for the length of a `with` block. A handler reads it as
`self.server.state`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Generic, TypeVar

State = TypeVar("State")


class Listener(ThreadingHTTPServer, Generic[State]):
    """Takes connections, each by a thread of its own."""

    daemon_threads = True
    block_on_close = False  # kept-alive connections end with the test process
    request_queue_size = 128
    state: State

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client hangs up: clients under test do."""


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.1 with connections that are kept."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # headers and body in one packet: no delayed acknowledgement in between

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the base class names it so
        """Keep the test's output clean."""


@contextmanager
def serving(state: State, handler: type[Handler]) -> Iterator[str]:
    """Answer for `state` at the address that is yielded: http://127.0.0.1:PORT."""
    with Listener[State](("127.0.0.1", 0), handler) as listener:
        listener.state = state
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}"
        finally:
            closing = getattr(state, "closing", None)
            if closing is not None:  # who waits on it ends first
                closing.set()
            listener.shutdown()
            thread.join()
