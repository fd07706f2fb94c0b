"""What the fake Azure Files server says: the XML of listings and errors, and the headers that tell a node's version."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape, quoteattr

from tests.support.fileshare_tree import Directory, File, Node, upper

_HEAD = '<?xml version="1.0" encoding="utf-8"?>'
_UNTELLABLE = {"\ufffe", "\uffff"}  # no character of XML 1.0


def error(code: str) -> bytes:
    """The body of an error."""
    return f"{_HEAD}<Error><Code>{escape(code)}</Code><Message>No.\nRequestId:0</Message></Error>".encode()


def versions(node: Node) -> dict[str, str]:
    """ETag and Last-Modified."""
    return {"ETag": node.etag, "Last-Modified": formatdate(node.written_ns // 10**9, usegmt=True)}


def times(node: Node) -> dict[str, str]:
    """The headers of a file or directory that tell when it was made and written."""
    return {
        **versions(node),
        "x-ms-file-creation-time": _time(node.created_ns),
        "x-ms-file-last-write-time": _time(node.written_ns),
        "x-ms-file-change-time": _time(node.written_ns),
        "x-ms-file-attributes": "Directory" if isinstance(node, Directory) else "Archive",
    }


def shares(account_url: str, found: Mapping[str, Directory], query: Mapping[str, str]) -> bytes:
    """The one page of a listing of shares."""
    names = sorted(name for name in found if name.startswith(query.get("prefix", "")))
    items = "".join(f"<Share><Name>{name}</Name>{_share_properties(found[name])}</Share>" for name in names)
    told = f'<EnumerationResults ServiceEndpoint="{account_url}/"><Shares>{items}</Shares><NextMarker />'
    return f"{_HEAD}{told}</EnumerationResults>".encode()


def entries(
    account_url: str, share: str, path: str, node: Directory, query: Mapping[str, str], page_size: int
) -> bytes:
    """A page of a directory's listing; the marker is the first name of the next page."""
    prefix, marker = upper(query.get("prefix", "")), unquote(query.get("marker", ""))
    names = [upper(child.name) for child in node.ordered()]
    wanted = [name for name in names if name.startswith(prefix) and name >= marker]
    following = wanted[page_size] if len(wanted) > page_size else ""
    include = {each for each in query.get("include", "").split(",") if each}
    items = "".join(_entry(node.children[name], include) for name in wanted[:page_size])
    place = f"ShareName={quoteattr(share)} DirectoryPath={quoteattr(path)}"
    asked = f"{_name(query.get('prefix', ''), 'Prefix')}<MaxResults>{page_size}</MaxResults>"
    told = f'<EnumerationResults ServiceEndpoint="{account_url}/" {place}>{asked}<Entries>{items}</Entries>'
    return f"{_HEAD}{told}<NextMarker>{quote(following)}</NextMarker></EnumerationResults>".encode()


def _entry(node: File | Directory, include: set[str]) -> str:
    kind = "File" if isinstance(node, File) else "Directory"
    return f"<{kind}>{_name(node.name)}<Properties>{''.join(_properties(node, include))}</Properties></{kind}>"


def _properties(node: File | Directory, include: set[str]) -> Iterator[str]:
    if isinstance(node, File):
        yield f"<Content-Length>{len(node.data)}</Content-Length>"
    if "Timestamps" in include:
        yield f"<CreationTime>{_time(node.created_ns)}</CreationTime>"
        yield f"<LastAccessTime>{_time(node.written_ns)}</LastAccessTime>"
        yield f"<LastWriteTime>{_time(node.written_ns)}</LastWriteTime>"
        yield f"<ChangeTime>{_time(node.written_ns)}</ChangeTime>"
        yield f"<Last-Modified>{versions(node)['Last-Modified']}</Last-Modified>"
    if "Etag" in include:
        yield f"<Etag>{escape(node.etag)}</Etag>"


def _name(name: str, tag: str = "Name") -> str:
    if _UNTELLABLE & set(name):
        return f'<{tag} Encoded="true">{quote(name)}</{tag}>'
    return f"<{tag}>{escape(name)}</{tag}>"


def _share_properties(root: Directory) -> str:
    told = versions(root)
    return (
        f"<Properties><Last-Modified>{told['Last-Modified']}</Last-Modified><Etag>{escape(told['ETag'])}</Etag>"
        "<Quota>5120</Quota></Properties>"
    )


def _time(moment_ns: int) -> str:
    """As the service writes it: seven digits after the second."""
    moment = datetime.fromtimestamp(moment_ns // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_ns % 10**9 // 100:07d}Z"
