"""A small server that speaks the REST protocol of Azure Files, as far as Microsoft's own client needs it.

It knows shares (create, delete, properties, list), directories (create, delete, properties, rename, list with prefix, pages
and `include`) and files (create, put range, get, properties, headers, metadata, rename, delete), each with the service's
status, error code and XML. As the service does, it refuses conditional headers (ConditionHeadersNotSupported) instead of
minding them. What it does not know is 501, with the operation's name. The operations are in `fileshare_operations`, the tree
in `fileshare_tree`, credentials in `fileshare_rights`.

The lock protects the tree and the lists of requests; a request is carried out under it, its answer is sent outside.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import uuid4

from tests.support import fileshare_xml as xml
from tests.support.azurite import ACCOUNT, KEY
from tests.support.fileshare_operations import OPERATIONS, Account, Answer, Request
from tests.support.fileshare_rights import Rights
from tests.support.fileshare_tree import Directory, File, Refused, find, make_directory, make_file, paths, remove, split
from tests.support.serving import Handler, Listener, serving

_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


@dataclass
class FileShares:
    """A running server; what it holds and its manners may be changed while it runs."""

    account: Account = field(default_factory=lambda: Account(ACCOUNT))
    rights: Rights = field(default_factory=lambda: Rights(ACCOUNT, KEY))
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # operation, share/path, range
    faults: deque[int] = field(default_factory=deque)  # statuses to answer the next requests with
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def account_url(self) -> str:
        """The address with the account; no `/` at the end."""
        return self.account.url

    @property
    def connection_string(self) -> str:
        """What a user would put in AZURE_STORAGE_CONNECTION_STRING."""
        scheme = "DefaultEndpointsProtocol=http"
        return f"{scheme};AccountName={ACCOUNT};AccountKey={KEY};FileEndpoint={self.account_url};"

    def url(self, share: str, prefix: str = "") -> str:
        """The base URL, in Moorage's words, of a share or of a directory in it (`prefix` ends in `/`)."""
        return f"azfile{self.account_url.removeprefix('http')}/{share}/{quote(prefix)}"

    def make_share(self, name: str) -> str:
        """Create a share and return its base URL."""
        with self.lock:
            self.account.shares[name] = Directory("")
        return self.url(name)

    def put(self, share: str, path: str, data: bytes) -> File:
        """Store `data` in a file, replacing what is there; directories are made."""
        names = split(path, trailing_dot=True)
        with self.lock:
            for number in range(1, len(names)):
                self._ensure(self.account.shares[share], names[:number])
            file = make_file(self.account.shares[share], names, 0)
            file.data[:] = data
            return file

    def remove(self, share: str, path: str) -> None:
        """Delete a file."""
        with self.lock:
            remove(self.account.shares[share], split(path, trailing_dot=True), File)

    def files(self, share: str) -> list[str]:
        """The path of every file in a share."""
        with self.lock:
            return sorted(paths(self.account.shares[share]))

    def carry_out(self, request: Request) -> Answer:
        """The answer to a request."""
        with self.lock:
            self.requests.append((request.operation, f"{request.share}/{request.path}", request.range))
            try:
                return self._carried_out(request)
            except Refused as refused:
                headers = {"x-ms-error-code": refused.code, "Content-Type": "application/xml"}
                return Answer(refused.status, headers, xml.error(refused.code))

    def _carried_out(self, request: Request) -> Answer:
        if self.faults:
            raise Refused(self.faults.popleft(), "ServerBusy")
        carry_out, permission = OPERATIONS.get(request.operation, (None, ""))
        if carry_out is None:
            raise Refused(501, f"NotImplemented: {request.operation}")
        self.rights.check(request.method, request.target, request.headers, permission)
        if any(name in request.headers for name in _CONDITIONS):
            raise Refused(400, "ConditionHeadersNotSupported")
        if request.share and request.operation != "PUT share" and request.share not in self.account.shares:
            raise Refused(404, "ShareNotFound")
        return carry_out(self.account, request)

    @staticmethod
    def _ensure(root: Directory, names: list[str]) -> None:
        try:
            find(root, names)
        except Refused:
            make_directory(root, names)

    @staticmethod
    @contextmanager
    def start() -> Iterator["FileShares"]:
        """Serve on a free loopback port for the length of a `with` block."""
        state = FileShares()
        with serving(state, _Handler) as address:
            state.account.url = f"{address}/{ACCOUNT}"
            yield state


class _Handler(Handler):
    server: Listener[FileShares]

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        _, account, share, path = (unquote(parts.path) + "///").split("/", 3)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length") or 0))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(self.command, share, path.strip("/"), query, headers, body, self.path)
        state = self.server.state
        if account != state.account.name:
            answer = Answer(400, {"x-ms-error-code": "InvalidUri"}, xml.error("InvalidUri"))
        else:
            answer = state.carry_out(request)
        self._send(answer)

    do_GET = do_HEAD = do_PUT = do_DELETE = _answer  # noqa: N815 - the base class names them so

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {"Content-Length": str(len(answer.body)), "x-ms-request-id": str(uuid4()), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
