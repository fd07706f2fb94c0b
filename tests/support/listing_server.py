"""A server of List Blobs for tests: any names in any order, by page, folder and range, and whatever lies a test writes.

It answers from `blobs` unless `scripted` has bodies left, which go out as they are. What it cannot do is as much a setting
as what it can: no ranges, or refusing them as an older service does. Nothing is authorised.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from tests.support.serving import Handler, Listener, serving

_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob; `directory` as hierarchical accounts list them."""

    key: str
    size: int
    etag: str = "0x1"
    directory: bool = False


@dataclass(repr=False)  # a test that is told with its arguments would tell thousands of blobs
class ListingServer:
    """A running server; `url` is a container of it."""

    url: str = ""
    blobs: list[Blob] = field(default_factory=list)
    scripted: list[bytes] = field(default_factory=list)
    ranged: bool = True
    refuses_ranges: bool = False
    hierarchical: bool = False
    order: Callable[[str], bytes] = str.encode
    delay_s: float = 0.0  # how long an answer takes
    requests: list[str] = field(default_factory=list)
    most_at_once: int = 0
    page_names: int = 5000  # the most on a page, whatever is asked for
    broken_after: int | None = None  # this many requests are answered, the others with 503
    _lock: threading.Lock = field(default_factory=threading.Lock)  # protects the two counts
    _at_once: int = 0

    def reset(self) -> None:
        """As it was at the start."""
        self.blobs, self.scripted, self.requests = [], [], []
        self.ranged, self.refuses_ranges, self.hierarchical, self.order = True, False, False, str.encode
        self.most_at_once, self.page_names, self.broken_after, self.delay_s = 0, 5000, None, 0.0

    def enter(self, path: str) -> None:
        """A request has come."""
        with self._lock:
            self.requests.append(path)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(self.delay_s)

    def leave(self) -> None:
        """It is answered."""
        with self._lock:
            self._at_once -= 1

    def answer(self, asked: dict[str, str]) -> tuple[int, bytes]:
        """Status and body of one request."""
        if self.broken_after is not None and len(self.requests) > self.broken_after:
            return 503, b""
        if "startFrom" in asked and self.refuses_ranges:
            return 400, b""
        with self._lock:
            if self.scripted:
                return 200, self.scripted.pop(0)
        return 200, self._page(asked)

    def _page(self, asked: dict[str, str]) -> bytes:
        prefix, delimiter, limit = (
            asked.get("prefix", ""),
            asked.get("delimiter", ""),
            min(self.page_names, int(asked.get("maxresults", "5000"))),
        )
        items = self._items(prefix, delimiter)
        start = asked.get("startFrom", "") if self.ranged else ""
        orders = [self.order(name) for name, _ in items]
        at = bisect_left(orders, self.order(asked["marker"])) if asked.get("marker") else 0
        at = max(at, bisect_left(orders, self.order(start)) if start else 0)
        body = "".join(self._xml(name, blob) for name, blob in items[at : at + limit])
        marker = items[at + limit][0] if at + limit < len(items) else ""
        return (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{body}</Blobs>'
            f"<NextMarker>{escape(marker)}</NextMarker></EnumerationResults>"
        ).encode()

    def _items(self, prefix: str, delimiter: str) -> list[tuple[str, Blob | None]]:
        found: dict[str, Blob | None] = {}
        for blob in self.blobs:
            if not blob.key.startswith(prefix):
                continue
            cut = blob.key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                found[blob.key[: cut + 1]] = None
            elif blob.directory and delimiter:
                found[blob.key + "/"] = None
            else:
                found[blob.key] = blob
        return sorted(found.items(), key=lambda each: self.order(each[0]))

    def _xml(self, name: str, blob: Blob | None) -> str:
        kind = "directory" if blob is None or blob.directory else "file"
        resource = f"<ResourceType>{kind}</ResourceType>" if self.hierarchical else ""
        if blob is None:
            properties = f"<Properties>{resource}</Properties>" if resource else ""
            return f"<BlobPrefix><Name>{escape(name)}</Name>{properties}</BlobPrefix>"
        return (
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{_MODIFIED}</Last-Modified><Etag>{blob.etag}</Etag>"
            f"{resource}<Content-Length>{blob.size}</Content-Length></Properties></Blob>"
        )

    @staticmethod
    @contextmanager
    def start() -> Iterator["ListingServer"]:
        """Serve on a free loopback port for the length of a `with` block."""
        state = ListingServer()
        with serving(state, _Handler) as address:
            state.url = f"{address}/acct/cont/"
            yield state


class _Handler(Handler):
    server: Listener[ListingServer]

    def do_GET(self) -> None:
        state = self.server.state
        state.enter(self.path)
        try:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            status, body = state.answer(asked)
        finally:
            state.leave()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
