"""The operations of the Data Lake server: a request that names one becomes a change of the tree and an answer.

An account has two endpoints in Azure, `dfs` and `blob`, and Microsoft's clients for Data Lake use both: file systems,
properties and reads go to `blob`. Here both are one address, which `named` tells apart by method and query.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.datalake_tree import Conditions, FileSystem, Node, Refused

Headers = dict[str, str]
_MOST_HASHED_BYTES = 4 << 20  # the service computes an MD5 for no longer range
#: Operations of the blob endpoint: their errors are XML and have codes of their own.
BLOB: Final = {
    "list file systems",
    "create file system",
    "delete file system",
    "file system properties",
    "properties",
    "read",
    "set metadata",
    "set properties",
}
_BLOB_CODES = {"FilesystemNotFound": "ContainerNotFound", "PathNotFound": "BlobNotFound"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case, `path` is unquoted and without `/` at either end."""

    method: str
    filesystem: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def conditions(self) -> Conditions:
        """The conditions on the path itself."""
        return Conditions(self.headers.get("if-match", ""), self.headers.get("if-none-match", ""))

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of blob requests."""
        start = "x-ms-meta-"
        return {name.removeprefix(start): each for name, each in self.headers.items() if name.startswith(start)}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    headers: Headers = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Account:
    """The file systems of an account, and how its listings are cut into pages."""

    filesystems: dict[str, FileSystem] = field(default_factory=dict)
    page_size: int = 5000
    hollow_pages: bool = False  # each listing begins with a page that holds nothing but its continuation

    def find(self, name: str) -> FileSystem:
        """The file system `name`."""
        if name not in self.filesystems:
            raise Refused(404, "FilesystemNotFound", "The specified filesystem does not exist.")
        return self.filesystems[name]


def named(request: Request) -> str:
    """The operation that a request asks for; '' is one that this server does not know."""
    method, query = request.method, request.query
    for name in ("if-modified-since", "if-unmodified-since", "x-ms-lease-id", "x-ms-lease-action"):
        if name in request.headers:
            return ""
    if not request.filesystem:
        return "list file systems" if (method, query.get("comp")) == ("GET", "list") else ""
    if query.get("restype") == "container" and "comp" not in query:
        kinds = {"PUT": "create file system", "DELETE": "delete file system"}
        return kinds.get(method, "file system properties" if method in {"GET", "HEAD"} else "")
    if query.get("resource") == "filesystem":
        return "list" if method == "GET" else ""
    return _on_path(request) if request.path else ""


def _on_path(request: Request) -> str:
    method, query = request.method, request.query
    if method == "PUT" and "comp" in query:
        return {"metadata": "set metadata", "properties": "set properties"}.get(query["comp"], "")
    if method == "PUT" and "x-ms-rename-source" in request.headers:
        return "rename"
    if method == "PUT":
        return {"file": "create file", "directory": "create directory"}.get(query.get("resource", ""), "")
    if method == "PATCH":
        return {"append": "append", "flush": "flush"}.get(query.get("action", ""), "")
    if method == "DELETE":
        return "delete"
    return {"HEAD": "properties", "GET": "read"}.get(method, "") if not {"action", "comp"} & query.keys() else ""


def perform(account: Account, operation: str, request: Request) -> Answer:
    """Do it, under the server's lock."""
    return _OPERATIONS[operation](account, request)


def refusal(operation: str, error: Refused) -> Answer:
    """The answer for what was refused, in the form of its endpoint."""
    if operation in BLOB:
        code = _BLOB_CODES.get(error.code, error.code)
        text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code>'
        body = f"{text}<Message>{escape(error.message)}</Message></Error>".encode()
        return Answer(error.status, {"x-ms-error-code": code, "Content-Type": "application/xml"}, body)
    body = json.dumps({"error": {"code": error.code, "message": error.message}}).encode()
    return Answer(error.status, {"x-ms-error-code": error.code, "Content-Type": "application/json"}, body)


def _dated(node: Node | FileSystem) -> Headers:
    return {"ETag": node.etag, "Last-Modified": formatdate(node.modified_s, usegmt=True)}


def _list_file_systems(account: Account, _: Request) -> Answer:
    items = "".join(
        f"<Container><Name>{escape(name)}</Name><Properties><Last-Modified>{formatdate(each.modified_s, usegmt=True)}"
        f"</Last-Modified><Etag>{escape(each.etag)}</Etag></Properties></Container>"
        for name, each in sorted(account.filesystems.items())
    )
    text = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Containers>{items}</Containers>'
    return Answer(200, {"Content-Type": "application/xml"}, f"{text}<NextMarker/></EnumerationResults>".encode())


def _create_file_system(account: Account, request: Request) -> Answer:
    if request.filesystem in account.filesystems:
        raise Refused(409, "ContainerAlreadyExists", "The specified container already exists.")
    made = account.filesystems[request.filesystem] = FileSystem()
    return Answer(201, _dated(made))


def _delete_file_system(account: Account, request: Request) -> Answer:
    account.find(request.filesystem)
    del account.filesystems[request.filesystem]
    return Answer(202)


def _file_system_properties(account: Account, request: Request) -> Answer:
    return Answer(200, _dated(account.find(request.filesystem)))


def _create(account: Account, request: Request) -> Answer:
    folder = request.query["resource"] == "directory"
    tree = account.find(request.filesystem)
    node = tree.create(request.path, is_directory=folder, conditions=request.conditions)
    for pair in filter(None, request.headers.get("x-ms-properties", "").split(",")):
        name, _, value = pair.partition("=")
        node.metadata[name] = base64.b64decode(value).decode()
    node.content_type = request.headers.get("x-ms-content-type", node.content_type)
    return Answer(201, _dated(node))


def _append(account: Account, request: Request) -> Answer:
    told = request.headers.get("content-md5")
    if told is not None and told != _md5(request.body):
        raise Refused(400, "Md5Mismatch", "The MD5 value specified in the request did not match the one calculated.")
    tree, position = account.find(request.filesystem), int(request.query["position"])
    node = tree.append(request.path, position, request.body)
    if request.query.get("flush", "").lower() == "true":
        node = tree.flush(request.path, position + len(request.body), "", Conditions())
    return Answer(202, {**_dated(node), **({"Content-MD5": told} if told else {})})


def _flush(account: Account, request: Request) -> Answer:
    if request.body:
        raise Refused(400, "ContentLengthMustBeZero", "The Content-Length request header must be zero.")
    tree, md5 = account.find(request.filesystem), request.headers.get("x-ms-content-md5", "")
    return Answer(200, _dated(tree.flush(request.path, int(request.query["position"]), md5, request.conditions)))


def _rename(account: Account, request: Request) -> Answer:
    source = unquote(urlsplit(request.headers["x-ms-rename-source"]).path).strip("/")
    filesystem, _, path = source.partition("/")
    if filesystem != request.filesystem:
        raise Refused(501, "NotImplemented", "rename into another file system is not known to this server")
    told = (request.headers.get(f"x-ms-source-{name}", "") for name in ("if-match", "if-none-match"))
    tree = account.find(request.filesystem)
    tree.rename(path, request.path, request.conditions, Conditions(*told))
    return Answer(201)


def _delete(account: Account, request: Request) -> Answer:
    recursive = request.query.get("recursive", "").lower() == "true"
    account.find(request.filesystem).delete(request.path, request.conditions, recursive=recursive)
    return Answer(200)


def _list(account: Account, request: Request) -> Answer:
    tree, query = account.find(request.filesystem), request.query
    if query.get("upn", "false").lower() == "true" or "beginFrom" in query:
        raise Refused(501, "NotImplemented", "list with upn or beginFrom is not known to this server")
    recursive = query["recursive"].lower() == "true"
    paths = tree.list(query.get("directory", "").strip("/"), recursive=recursive)
    if account.hollow_pages and "continuation" not in query:
        return Answer(200, {"x-ms-continuation": _token(0), "Content-Type": "application/json"}, b'{"paths":[]}')
    start = int(base64.b64decode(query["continuation"])[3:]) if "continuation" in query else 0
    end = start + min(int(query.get("maxResults", account.page_size)), account.page_size)
    body = json.dumps({"paths": [_listed(path, tree.nodes[path]) for path in paths[start:end]]}).encode()
    more = {"x-ms-continuation": _token(end)} if end < len(paths) else {}
    return Answer(200, {"Content-Type": "application/json;charset=utf-8", **more}, body)


def _token(start: int) -> str:
    return base64.b64encode(b"\xff\xfe+" + str(start).encode()).decode()  # holds what must be quoted in a URL


def _listed(path: str, node: Node) -> dict[str, str]:
    kind = {"isDirectory": "true"} if node.is_directory else {}
    modified = formatdate(node.modified_s, usegmt=True)
    size = "0" if node.is_directory else str(len(node.data))
    return {"name": path, "contentLength": size, "etag": node.etag.strip('"'), "lastModified": modified, **kind}


def _properties(account: Account, request: Request) -> Answer:
    node = account.find(request.filesystem).find(request.path)
    request.conditions.check(node)
    md5 = {"Content-MD5": node.md5} if node.md5 else {}
    return Answer(200, {**_told(node), **md5, "Content-Length": str(len(node.data))})


def _told(node: Node) -> Headers:
    metadata = {"hdi_isfolder": "true", **node.metadata} if node.is_directory else node.metadata
    return {
        **_dated(node),
        **{f"x-ms-meta-{name}": value for name, value in metadata.items()},
        "x-ms-resource-type": "directory" if node.is_directory else "file",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": formatdate(node.modified_s, usegmt=True),
        "Content-Type": node.content_type,
        "Accept-Ranges": "bytes",
    }


def _read(account: Account, request: Request) -> Answer:
    node = account.find(request.filesystem).find(request.path)
    request.conditions.check(node)
    asked = request.headers.get("x-ms-range") or request.headers.get("range")
    if asked is None:
        return Answer(200, {**_told(node), **({"Content-MD5": node.md5} if node.md5 else {})}, node.data)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last) + 1 if last else len(node.data), len(node.data))
    if start >= len(node.data):
        raise Refused(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
    body = node.data[start:end]
    headers = {**_told(node), "Content-Range": f"bytes {start}-{end - 1}/{len(node.data)}"}
    if node.md5:
        headers["x-ms-blob-content-md5"] = node.md5
    if request.headers.get("x-ms-range-get-content-md5", "").lower() == "true":
        if len(body) > _MOST_HASHED_BYTES:
            raise Refused(400, "OutOfRangeInput", "The range is too long for its MD5.")
        headers["Content-MD5"] = _md5(body)
    return Answer(206, headers, body)


def _set_metadata(account: Account, request: Request) -> Answer:
    node = account.find(request.filesystem).find(request.path)
    request.conditions.check(node)
    node.metadata = request.metadata
    node.touch()
    return Answer(200, _dated(node))


def _set_properties(account: Account, request: Request) -> Answer:
    node = account.find(request.filesystem).find(request.path)
    request.conditions.check(node)
    node.content_type = request.headers.get("x-ms-blob-content-type", "")
    node.md5 = request.headers.get("x-ms-blob-content-md5", "")
    node.touch()
    return Answer(200, _dated(node))


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


_OPERATIONS: dict[str, Callable[[Account, Request], Answer]] = {
    "list file systems": _list_file_systems,
    "create file system": _create_file_system,
    "delete file system": _delete_file_system,
    "file system properties": _file_system_properties,
    "create file": _create,
    "create directory": _create,
    "append": _append,
    "flush": _flush,
    "rename": _rename,
    "delete": _delete,
    "list": _list,
    "properties": _properties,
    "read": _read,
    "set metadata": _set_metadata,
    "set properties": _set_properties,
}
