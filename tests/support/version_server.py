"""A Blob server that keeps versions, which Azurite does not: for tests, spoken to by Microsoft's own client and by ours.

One account, one container. Every PUT makes a version and its ETag, a DELETE leaves none current; GET and HEAD take
`versionid`, `snapshot`, ranges and If-Match; List Blobs takes `prefix`, `include` and pages. What a request may not do is
in `refused`. Nothing is authorised otherwise.
"""

import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.serving import Handler, Listener, serving

_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass(slots=True)
class Kept:
    """One version of a blob."""

    key: str
    moment: str
    data: bytes
    etag: str
    is_current: bool = True

    @property
    def md5(self) -> str:
        """As the service tells it."""
        return b64encode(md5(self.data, usedforsecurity=False).digest()).decode()


@dataclass
class VersionServer:
    """A running server; `url` is its container. `requests` holds (verb, path with query) of each request."""

    url: str = ""
    versions: list[Kept] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # 'list' (403), 'versions' (400): as an account that has none
    page_blobs: int = 5000
    unpinned: list[str] = field(default_factory=list)  # GETs of a version without If-Match
    requests: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # protects the list of versions
    _count: int = 0

    def put(self, key: str, data: bytes) -> Kept:
        """A new version of `key`."""
        with self._lock:
            self._count += 1
            self._retire(key)
            moment = f"2026-01-01T00:00:{self._count // 1000:02}.{self._count % 1000:07}Z"
            kept = Kept(key, moment, data, f"0x8D{self._count:06X}")
            self.versions.append(kept)
            return kept

    def remove(self, key: str) -> None:
        """Delete the blob; its versions stay."""
        with self._lock:
            self._retire(key)

    def find(self, key: str, moment: str) -> Kept | None:
        """A version by its moment, the current one without."""
        with self._lock:
            of_key = (each for each in self.versions if each.key == key)
            return next((each for each in of_key if (each.moment == moment if moment else each.is_current)), None)

    def listings(self) -> list[str]:
        """The requests that listed versions."""
        return [path for _, path in self.requests if "comp=list" in path and "versions" in path]

    def page(self, asked: dict[str, str]) -> bytes:
        """One page of List Blobs."""
        wanted = "versions" in asked.get("include", "")
        with self._lock:
            prefix = asked.get("prefix", "")
            found = [each for each in self.versions if each.key.startswith(prefix) and (wanted or each.is_current)]
        found.sort(key=lambda each: (each.key, each.moment))
        begin, limit = int(asked.get("marker") or 0), min(self.page_blobs, int(asked.get("maxresults", "5000")))
        body = "".join(_xml(each, wanted=wanted) for each in found[begin : begin + limit])
        marker = str(begin + limit) if begin + limit < len(found) else ""
        return (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{body}</Blobs>'
            f"<NextMarker>{marker}</NextMarker></EnumerationResults>"
        ).encode()

    def _retire(self, key: str) -> None:
        for each in self.versions:
            if each.key == key:
                each.is_current = False

    @staticmethod
    @contextmanager
    def start() -> Iterator["VersionServer"]:
        """Serve on a free loopback port for the length of a `with` block."""
        state = VersionServer()
        with serving(state, _Handler) as address:
            state.url = f"{address}/acct/cont/"
            yield state


def _xml(kept: Kept, *, wanted: bool) -> str:
    current = "<IsCurrentVersion>true</IsCurrentVersion>" if kept.is_current else ""
    version = f"<VersionId>{kept.moment}</VersionId>{current}" if wanted else ""
    return (
        f"<Blob><Name>{escape(kept.key)}</Name>{version}<Properties><Last-Modified>{_MODIFIED}</Last-Modified>"
        f"<Etag>{kept.etag}</Etag><Content-Length>{len(kept.data)}</Content-Length><Content-MD5>{kept.md5}</Content-MD5>"
        f"<BlobType>BlockBlob</BlobType></Properties></Blob>"
    )


class _Handler(Handler):
    server: Listener[VersionServer]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        key, _ = self._asked()
        kept = self.server.state.put(key, self.rfile.read(int(self.headers["Content-Length"])))
        self._send(201, b"", self._told(kept))

    def do_DELETE(self) -> None:
        key, _ = self._asked()
        self.server.state.remove(key)
        self._send(202, b"", {})

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        self.server.state.requests.append((self.command, self.path))
        return unquote(parts.path).removeprefix("/acct/cont").removeprefix("/"), {
            name: values[0] for name, values in parse_qs(parts.query).items()
        }

    def _answer(self) -> None:
        state, (key, asked) = self.server.state, self._asked()
        if asked.get("comp") == "list":
            if "list" in state.refused:
                self._refuse(403, "AuthorizationPermissionMismatch")
            elif "versions" in state.refused and "versions" in asked.get("include", ""):
                self._refuse(400, "FeatureVersionMismatch")
            else:
                self._send(200, state.page(asked), {"Content-Type": "application/xml"})
            return
        kept = state.find(key, asked.get("versionid", ""))
        wanted = self.headers.get("If-Match")
        if self.command == "GET" and "versionid" in asked and not wanted:
            state.unpinned.append(self.path)
        if kept is None or "snapshot" in asked:
            self._refuse(404, "BlobNotFound")
        elif wanted and wanted.strip('"') != kept.etag:
            self._refuse(412, "ConditionNotMet")
        else:
            self._blob(kept)

    def _blob(self, kept: Kept) -> None:
        headers = self._told(kept)
        asked = self.headers.get("x-ms-range") or self.headers.get("Range")
        if asked is None:
            self._send(200, kept.data, {**headers, "Content-MD5": kept.md5})
            return
        first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        data = kept.data[first : last + 1]
        headers["Content-Range"] = f"bytes {first}-{first + len(data) - 1}/{len(kept.data)}"
        if self.headers.get("x-ms-range-get-content-md5") == "true":
            headers["Content-MD5"] = b64encode(md5(data, usedforsecurity=False).digest()).decode()
        self._send(206, data, headers)

    @staticmethod
    def _told(kept: Kept) -> dict[str, str]:
        return {
            "ETag": f'"{kept.etag}"',
            "Last-Modified": _MODIFIED,
            "x-ms-version-id": kept.moment,
            "x-ms-blob-type": "BlockBlob",
        }

    def _refuse(self, status: int, code: str) -> None:
        body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>no</Message></Error>'
        self._send(status, body.encode(), {"x-ms-error-code": code, "Content-Type": "application/xml"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
