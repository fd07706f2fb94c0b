"""Where metrics leave a worker: a port of this machine, a file, or both.

    port   http://127.0.0.1:PORT/metrics, one scrape after the other, by one thread; who is slow is hung up on
    file   written every 15 s under another name, then renamed, so that nobody reads half of it; removed at the end

A port or file of another mount is refused when the mount begins. If it is this very mount's (its last worker has not ended
yet, or was killed) it is taken over: the port as soon as it is free.

Invariants: nothing that happens here reaches a reader; nobody but this machine can reach the port; one thread each.
"""

import contextlib
import errno
import logging
import os
import socket
import socketserver
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

from mountd.daemon import exposition
from mountd.errors import BadInputError, MountdError

_LOG = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_EVERY_S = 15.0
_FRESH_S = 3 * _EVERY_S  # a file that is older has no writer any more
_CLIENT_S = 2.0
_RETRY_S = 0.5
_JOIN_S = 2.0
_LOOK_BYTES = 1 << 20

Render = Callable[[], bytes]


@contextmanager
def exporting(
    mountpoint: Path, port: int | None, file: Path | None, status: Callable[[], exposition.Status]
) -> Iterator[None]:
    """Export what `status` says, as metrics, for the length of a `with` block.

    Raises:
        BadInputError: the port or file is in use by somebody else, or cannot be used.
    """
    if file is not None and file.resolve().is_relative_to(mountpoint):
        raise BadInputError(f"--metrics-file: {file} lies below the mount point {mountpoint}; write it elsewhere")
    name, render = exposition.plain(mountpoint), partial(exposition.render, status)
    with ExitStack() as parts:
        if port is not None:
            parts.enter_context(_Port(port, name, render))
        if file is not None:
            parts.enter_context(_File(file, name, render))
        yield


class _Port:
    """The port's thread; it waits for the port first where this mount's last worker still has it."""

    def __init__(self, port: int, mountpoint: str, render: Render) -> None:
        self._port, self._render = port, render
        self._stop = threading.Event()
        self._server = self._bound()
        if self._server is None and (other := _owner_of_port(port)) != mountpoint:
            raise BadInputError(
                f"--metrics-port: {_HOST}:{port} is in use by {_named(other)}; choose another for each mount"
            )
        self._thread = threading.Thread(target=self._run, name="metrics-port", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for a client
        self._thread.join(_JOIN_S)

    def _bound(self) -> "_Server | None":
        try:
            return _Server(self._port, self._render)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return None
            raise BadInputError(f"--metrics-port: {_HOST}:{self._port}: {error.strerror}") from None

    def _run(self) -> None:
        while self._server is None and not self._stop.wait(_RETRY_S):
            self._server = self._bound()
        if self._server is None:
            return
        with self._server:
            while not self._stop.is_set():
                self._server.handle_request()


class _Server(socketserver.TCPServer):
    allow_reuse_address = True  # connections that have just ended do not keep the port from the next worker

    def __init__(self, port: int, render: Render) -> None:
        self.render = render
        super().__init__((_HOST, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say it in the log: a client that hangs up is no news, and the base class prints a traceback."""
        del request, client_address
        _LOG.debug("a scrape failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "moorage", ""
    timeout: ClassVar[float] = _CLIENT_S

    def do_GET(self) -> None:
        """The metrics at /metrics, and nothing anywhere else."""
        found = self.path.partition("?")[0] == "/metrics"
        body = self.server.render() if found else b"metrics are at /metrics\n"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8" if found else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the base class names it so
        """Scrapes are not logged."""


class _File:
    """The file's thread."""

    def __init__(self, path: Path, mountpoint: str, render: Render) -> None:
        self._path, self._render = path, render
        self._half = path.with_name(path.name + ".half")  # not .prom: the collector must not read it
        self._stop = threading.Event()
        self._has_failed = False
        other = _owner_of_file(path)
        if other not in {None, mountpoint}:
            raise BadInputError(f"--metrics-file: {path} is written by {_named(other)}; choose another for each mount")
        try:
            self._write(render())
        except OSError as error:
            _remove(self._half)
            raise BadInputError(f"--metrics-file: {path}: {error.strerror}; name a file that may be written") from None
        self._thread = threading.Thread(target=self._run, name="metrics-file", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)
        _remove(self._path)
        _remove(self._half)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            try:
                self._write(self._render())
                self._has_failed = False
            except (OSError, MountdError) as error:
                if not self._has_failed:  # once: the next one comes in 15 s
                    _LOG.warning("--metrics-file: %s: %s; goes on trying", self._path, error)
                self._has_failed = True

    def _write(self, text: bytes) -> None:
        with self._half.open("wb") as stream:
            os.fchmod(stream.fileno(), 0o644)  # node_exporter is another user
            stream.write(text)
        self._half.replace(self._path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is not there, or its folder is not
        path.unlink()


def _owner_of_port(port: int) -> str | None:
    # No proxy: what the environment says of those is for the network, and this is our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{_HOST}:{port}/metrics", timeout=_CLIENT_S) as answer:
            return exposition.owner_of(answer.read(_LOOK_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError, HTTPException):
        return None


def _owner_of_file(path: Path) -> str | None:
    try:
        if time.time() - path.stat().st_mtime > _FRESH_S:
            return None
        with path.open("rb") as stream:
            return exposition.owner_of(stream.read(_LOOK_BYTES).decode("utf-8", "replace"))
    except OSError:
        return None


def _named(owner: str | None) -> str:
    return f"the mount on {owner}" if owner else "another process"
