"""What the fake Azure Files server can do: one function an operation, from a request to an answer.

Each has the service's statuses, error codes and headers; `OPERATIONS` names them by method, `restype` and `comp`. As the
service does, it puts no more than 4 MiB in one range, and keeps in a file's MD5 whatever its writer said.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tests.support import fileshare_xml as xml
from tests.support.fileshare_tree import (
    Directory,
    File,
    Node,
    Refused,
    find_directory,
    find_file,
    make_directory,
    make_file,
    remove,
    rename,
    split,
)

_RANGE_BYTES = 4 << 20
_SHARE_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass
class Account:
    """The shares of an account; `url` has no `/` at the end, `page_size` is the most entries of a listing's page."""

    name: str
    url: str = ""
    shares: dict[str, Directory] = field(default_factory=dict)
    page_size: int = 5000
    tells_etags: bool = True  # False: as versions of the service before 2020-10-02


@dataclass(frozen=True, slots=True)
class Request:
    """One request, taken apart: `path` is the part below the share, `query` without the credential."""

    method: str
    share: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # as they came, names in lower case
    body: bytes
    target: str  # path and query as they came

    @property
    def range(self) -> str:
        """The range asked for, in whichever of the two headers."""
        return self.headers.get("x-ms-range") or self.headers.get("range", "")

    @property
    def operation(self) -> str:
        """What is asked for, as `OPERATIONS` names it."""
        kind, comp = self.query.get("restype", ""), self.query.get("comp", "")
        return f"{'GET' if self.method == 'HEAD' else self.method} {kind} {comp}".strip()

    def names(self, path: str | None = None) -> list[str]:
        """The names of the path."""
        dots = self.headers.get("x-ms-allow-trailing-dot", "").lower() == "true"
        return split(self.path if path is None else path, trailing_dot=dots)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def _list_shares(account: Account, request: Request) -> Answer:
    return Answer(200, {"Content-Type": "application/xml"}, xml.shares(account.url, account.shares, request.query))


def _create_share(account: Account, request: Request) -> Answer:
    if not _SHARE_NAME.fullmatch(request.share):
        raise Refused(400, "InvalidResourceName")
    if request.share in account.shares:
        raise Refused(409, "ShareAlreadyExists")
    root = account.shares[request.share] = Directory("", metadata=_metadata(request))
    return Answer(201, xml.versions(root))


def _share_properties(account: Account, request: Request) -> Answer:
    root = account.shares[request.share]
    return Answer(200, {**xml.versions(root), **_told(root), "x-ms-share-quota": "5120"})


def _delete_share(account: Account, request: Request) -> Answer:
    del account.shares[request.share]
    return Answer(202)


def _create_directory(account: Account, request: Request) -> Answer:
    made = make_directory(account.shares[request.share], request.names())
    made.metadata = _metadata(request)
    return Answer(201, xml.times(made))


def _directory_properties(account: Account, request: Request) -> Answer:
    node = find_directory(account.shares[request.share], request.names())
    return Answer(200, {**xml.times(node), **_told(node), "x-ms-file-attributes": "Directory"})


def _list_directory(account: Account, request: Request) -> Answer:
    node = find_directory(account.shares[request.share], request.names())
    size = int(request.query.get("maxresults", 5000))
    if not 1 <= size <= 5000:
        raise Refused(400, "OutOfRangeQueryParameterValue")
    asked = request.query if account.tells_etags else request.query | {"include": "Timestamps"}
    body = xml.entries(account.url, request.share, request.path, node, asked, min(size, account.page_size))
    return Answer(200, {"Content-Type": "application/xml"}, body)


def _delete_directory(account: Account, request: Request) -> Answer:
    remove(account.shares[request.share], request.names(), Directory)
    return Answer(202)


def _create_file(account: Account, request: Request) -> Answer:
    if request.headers.get("x-ms-type") != "file":
        raise Refused(400, "MissingRequiredHeader")
    made = make_file(account.shares[request.share], request.names(), int(request.headers["x-ms-content-length"]))
    made.metadata = _metadata(request)
    made.md5 = request.headers.get("x-ms-content-md5", "")
    return Answer(201, xml.times(made))


def _put_range(account: Account, request: Request) -> Answer:
    file = find_file(account.shares[request.share], request.names())
    first, last = _range(request)
    if last is None or request.headers.get("x-ms-write") != "update" or last - first + 1 != len(request.body):
        raise Refused(400, "InvalidHeaderValue")
    if len(request.body) > _RANGE_BYTES:
        raise Refused(413, "RequestBodyTooLarge")
    if last >= len(file.data):
        raise Refused(416, "InvalidRange")
    digest = _md5(request.body)
    if request.headers.get("content-md5", digest) != digest:
        raise Refused(400, "Md5Mismatch")
    file.data[first : last + 1] = request.body
    file.touch()
    return Answer(201, {**xml.times(file), "Content-MD5": digest})


def _get_file(account: Account, request: Request) -> Answer:
    file = find_file(account.shares[request.share], request.names())
    headers = {**xml.times(file), **_told(file), "Content-Type": file.content_type, "Accept-Ranges": "bytes"}
    whole = {"Content-MD5": file.md5} if file.md5 else {}
    if not request.range or request.method == "HEAD":
        return Answer(200, {**headers, **whole, "Content-Length": str(len(file.data))}, bytes(file.data))
    first, last = _range(request)
    last = len(file.data) - 1 if last is None else min(last, len(file.data) - 1)
    if first >= len(file.data) or last < first:
        raise Refused(416, "InvalidRange")
    part = bytes(file.data[first : last + 1])
    headers["Content-Range"] = f"bytes {first}-{last}/{len(file.data)}"
    if file.md5:
        headers["x-ms-content-md5"] = file.md5
    if request.headers.get("x-ms-range-get-content-md5", "").lower() == "true":
        if len(part) > _RANGE_BYTES:
            raise Refused(400, "OutOfRangeInput")
        headers["Content-MD5"] = _md5(part)
    return Answer(206, headers, part)


def _set_headers(account: Account, request: Request) -> Answer:
    file = find_file(account.shares[request.share], request.names())
    file.md5 = request.headers.get("x-ms-content-md5", "")
    file.content_type = request.headers.get("x-ms-content-type", "application/octet-stream")
    if "x-ms-content-length" in request.headers:
        size = int(request.headers["x-ms-content-length"])
        file.data[:] = file.data[:size].ljust(size, b"\0")
    file.change()
    return Answer(200, xml.times(file))


def _set_metadata(account: Account, request: Request) -> Answer:
    file = find_file(account.shares[request.share], request.names())
    file.metadata = _metadata(request)
    file.change()
    return Answer(200, xml.versions(file))


def _delete_file(account: Account, request: Request) -> Answer:
    remove(account.shares[request.share], request.names(), File)
    return Answer(202)


def _rename(account: Account, request: Request) -> Answer:
    source = urlsplit(request.headers["x-ms-file-rename-source"]).path
    _, name, share, path = source.split("/", 3)
    if (name, share) != (account.name, request.share):
        raise Refused(400, "InvalidRenameSourcePath")
    dots = request.headers.get("x-ms-source-allow-trailing-dot", "").lower() == "true"
    old = split(unquote(path), trailing_dot=dots)
    replace = request.headers.get("x-ms-file-rename-replace-if-exists", "").lower() == "true"
    moved = rename(account.shares[share], old, request.names(), replace=replace)
    return Answer(200, xml.times(moved))


# Operation -> what carries it out, and the permissions of a SAS token of which one is enough.
OPERATIONS = {
    "GET  list": (_list_shares, "l"),
    "PUT share": (_create_share, "cw"),
    "GET share": (_share_properties, "r"),
    "DELETE share": (_delete_share, "d"),
    "PUT directory": (_create_directory, "cw"),
    "GET directory": (_directory_properties, "r"),
    "GET directory list": (_list_directory, "l"),
    "DELETE directory": (_delete_directory, "d"),
    "PUT directory rename": (_rename, "w"),
    "PUT": (_create_file, "cw"),
    "PUT  range": (_put_range, "w"),
    "GET": (_get_file, "r"),
    "PUT  properties": (_set_headers, "w"),
    "PUT  metadata": (_set_metadata, "w"),
    "PUT  rename": (_rename, "w"),
    "DELETE": (_delete_file, "d"),
}


def _metadata(request: Request) -> dict[str, str]:
    start = "x-ms-meta-"
    return {name[len(start) :]: value for name, value in request.headers.items() if name.startswith(start)}


def _told(node: Node) -> dict[str, str]:
    return {f"x-ms-meta-{name}": value for name, value in node.metadata.items()}


def _range(request: Request) -> tuple[int, int | None]:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.range)
    if found is None:
        raise Refused(400, "InvalidHeaderValue")
    return int(found[1]), int(found[2]) if found[2] else None


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
