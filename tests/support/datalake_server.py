"""A small server of the Data Lake (ADLS Gen2) protocol on loopback, good enough for Microsoft's own clients.

One address, path-style, serves what in Azure are an account's `dfs` and `blob` endpoints. `account` holds the tree, `access`
the rights, `faults` a queue of things to go wrong, and `requests` what was asked, as (operation, address). What it does not
know it answers with 501 and the request's own words. It keeps everything in memory.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.datalake_access import Access, unsigned
from tests.support.datalake_operations import Account, Answer, Request, named, perform, refusal
from tests.support.datalake_tree import Conditions, FileSystem, Refused
from tests.support.serving import Handler, Listener, serving

ACCOUNT = "lakeaccount1"
KEY = "bm90IGEgc2VjcmV0LCBidXQgYSBrZXkgZm9yIHRlc3RzIG9ubHk="


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad answer, to the next request of `operation`.

    `lost`: the request is carried out, and then the connection is closed instead of an answer. `silent`: nothing is
    answered until the server is closed. Else `status` is the answer. Neither of the last two carries anything out.
    """

    operation: str
    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()
    lost: bool = False
    silent: bool = False


@dataclass
class DataLakeServer:
    """A running server. `lock` guards the tree and the queues; nothing is sent under it."""

    address: str = ""  # http://host:port
    account: Account = field(default_factory=Account)
    access: Access = field(default_factory=lambda: Access(ACCOUNT, KEY))
    faults: deque[Fault] = field(default_factory=deque)
    requests: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def endpoint(self) -> str:
        """What Microsoft's clients take for an account's URL."""
        return f"{self.address}/{ACCOUNT}"

    def url(self, filesystem: str, prefix: str = "") -> str:
        """The base URL of a file system, or of a folder in it (`prefix` is quoted and ends in `/`)."""
        return f"abfs://{filesystem}@{self.address.removeprefix('http://')}/{ACCOUNT}/{prefix}"

    def make(self, filesystem: str) -> FileSystem:
        """Add an empty file system."""
        with self.lock:
            return self.account.filesystems.setdefault(filesystem, FileSystem())

    def put(self, filesystem: str, path: str, data: bytes) -> None:
        """Store a file, replacing what is there."""
        with self.lock:
            tree = self.account.filesystems[filesystem]
            tree.create(path, is_directory=False, conditions=Conditions())
            tree.append(path, 0, data)
            tree.flush(path, len(data), "", Conditions())

    def make_folder(self, filesystem: str, path: str) -> None:
        """Add a directory."""
        with self.lock:
            self.account.filesystems[filesystem].create(path, is_directory=True, conditions=Conditions())

    def remove(self, filesystem: str, path: str) -> None:
        """Remove a path and all below it."""
        with self.lock:
            self.account.filesystems[filesystem].delete(path, Conditions(), recursive=True)

    def asked(self, operation: str) -> list[str]:
        """The addresses that `operation` was asked of."""
        return [address for each, address in list(self.requests) if each == operation]

    def answer(self, method: str, raw_path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """The answer to one request; None where the connection is to break instead."""
        request = _request(method, raw_path, headers, body)
        operation = named(request)
        with self.lock:
            self.requests.append((operation, unsigned(raw_path)))
            fault = next((each for each in self.faults if each.operation == operation), None)
            if fault is not None:
                self.faults.remove(fault)
            if fault is None or fault.lost:
                answer = self._carry_out(operation, request, raw_path)
        if fault is None:
            return answer
        if fault.silent:
            self.closing.wait()
        if fault.lost or fault.silent:
            return None
        return Answer(fault.status, {"x-ms-error-code": "ServerBusy", **dict(fault.headers)})

    def _carry_out(self, operation: str, request: Request, raw_path: str) -> Answer:
        try:
            if not operation:
                what = f"{request.method} {unsigned(raw_path)} is not known to this server"
                raise Refused(501, "NotImplemented", what)  # noqa: TRY301 - one way for all that is refused
            self.access.check(operation, request.method, raw_path, request.headers)
            if operation == "rename":
                self.access.check_source(urlsplit(request.headers["x-ms-rename-source"]).query, raw_path)
            return perform(self.account, operation, request)
        except Refused as refused:
            return refusal(operation, refused)

    @staticmethod
    @contextmanager
    def start() -> Iterator["DataLakeServer"]:
        """Serve on a free loopback port for the length of a `with` block."""
        state = DataLakeServer()
        with serving(state, _Handler) as address:
            state.address = address
            yield state


def _request(method: str, raw_path: str, headers: dict[str, str], body: bytes) -> Request:
    raw, _, query = raw_path.partition("?")
    place = raw.removeprefix(f"/{ACCOUNT}").strip("/")
    filesystem, _, path = place.partition("/")
    return Request(method, unquote(filesystem), unquote(path), dict(parse_qsl(query)), headers, body)


class _Handler(Handler):
    server: Listener[DataLakeServer]

    def do_GET(self) -> None:
        self._respond()

    do_HEAD = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class names them so

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.state.answer(self.command, self.path, headers, body)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {
            "x-ms-version": "2023-11-03",
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
