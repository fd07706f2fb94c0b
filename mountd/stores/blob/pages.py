"""One page of List Blobs: from the service's XML to `ObjectInfo`s.

The SDK's reader takes a hundred and more microseconds of CPU for a blob, this one a tenth of it (docs/decisions/0016), and a
page has 5,000 blobs. An element is read when it is complete and then forgotten.

Invariants: a page is read to its end or not at all; what no honest service sends (a document type, an object without a name,
a size that is none) is an error and no guess; snapshots and deleted blobs are no objects.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64
from calendar import timegm
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote
from xml.etree import ElementTree as ET  # no document type gets to it, and so no entity

from mountd.errors import CorruptDataError
from mountd.stores.base import ObjectInfo, normal_etag
from mountd.stores.retry import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = b"<EnumerationResults"
_PROLOGUE_BYTES: Final = 256
_PIECE_BYTES: Final = 1 << 16  # so many elements there are at once
_NAMES: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS: Final = {name: number for number, name in enumerate(_NAMES, 1)}
BROKEN: Final = "a page of the listing is not well-formed"


@dataclass(slots=True)
class BlobPage:
    """What one page tells: blobs, folders (of a listing by folder), and where the next page begins ('' at the end).

    `is_hierarchical`: the account has real directories, and an order of names that is its own.
    """

    objects: list[ObjectInfo] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    marker: str = ""
    is_hierarchical: bool = False
    is_whole: bool = False  # it has told where the next page begins, or that there is none


def read_page(body: bytes, name: str) -> BlobPage:
    """The page in `body`; keys are whole blob names. `name` is the place, for errors.

    Raises:
        TransientError: the XML is broken or ends too early.
        CorruptDataError: it says what cannot be.
    """
    prologue, root, _ = body[:_PROLOGUE_BYTES].partition(_ROOT)
    if not root or b"<!" in prologue:
        raise TransientError(BROKEN)
    page = BlobPage()
    parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("end",))
    try:
        for start in range(0, len(body), _PIECE_BYTES):
            parser.feed(body[start : start + _PIECE_BYTES])
            _take(page, parser, name)
        parser.close()
        _take(page, parser, name)
    except ET.ParseError:
        raise TransientError(BROKEN) from None
    if not page.is_whole:
        raise TransientError(BROKEN)
    return page


def _take(page: BlobPage, parser: "ET.XMLPullParser[ET.Element]", name: str) -> None:
    """Read what has become complete, and forget its elements."""
    for _, element in cast("Iterator[tuple[str, ET.Element]]", parser.read_events()):
        if element.tag == "Blob":
            page.is_hierarchical |= element.find("Properties/ResourceType") is not None
            if element.find("Snapshot") is None and element.findtext("Deleted") != "true":
                page.objects.append(_blob(element, name))
            element.clear()
        elif element.tag == "BlobPrefix":
            folder = _text(element, "Name", name)
            page.folders.append(folder)
            if (found := _directory(element, folder, name)) is not None:
                page.is_hierarchical = True
                page.objects.append(found)
            element.clear()
        elif element.tag == "NextMarker":
            page.marker, page.is_whole = element.text or "", True


def _blob(element: ET.Element, place: str) -> ObjectInfo:
    key = _text(element, "Name", place)
    found = element.find("Properties")
    if found is None:
        raise CorruptDataError(_lie(place, key, "without properties"))
    size = found.findtext("Content-Length", "")
    if not (size.isascii() and size.isdigit() and len(size) < 19):
        raise CorruptDataError(_lie(place, key, f"with the size {size[:40]!r}"))
    is_directory = found.findtext("ResourceType") == "directory" or (size == "0" and _is_marked(element))
    etag, modified_ns = normal_etag(found.findtext("Etag")), _modified_ns(found, place, key)
    if not etag:
        raise CorruptDataError(_lie(place, key, "without an ETag"))
    return ObjectInfo(key, int(size), etag, modified_ns, is_directory, _md5(found, place, key))


def _is_marked(element: ET.Element) -> bool:
    """True for the empty blobs by which hierarchical accounts, and Hadoop's drivers, say that there is a directory."""
    metadata = element.find("Metadata")
    fields = {each.tag.lower(): each.text or "" for each in metadata} if metadata is not None else {}
    return fields.get("hdi_isfolder", "").lower() == "true"


def _directory(element: ET.Element, folder: str, place: str) -> ObjectInfo | None:
    """The directory behind a folder's name, in accounts that have real ones; they may be empty."""
    found = element.find("Properties")
    if found is None or found.find("ResourceType") is None:
        return None
    modified_ns = _modified_ns(found, place, folder) if found.find("Last-Modified") is not None else 0
    return ObjectInfo(folder.removesuffix("/"), 0, normal_etag(found.findtext("Etag")), modified_ns, is_directory=True)


def _text(element: ET.Element, tag: str, place: str) -> str:
    found = element.find(tag)
    if found is None or not found.text:
        raise CorruptDataError(f"{place}: the listing tells an object without a name; ask whoever runs that service")
    # What XML cannot hold is sent as a URL holds it.
    return unquote(found.text, errors="strict") if found.get("Encoded") == "true" else found.text


def _md5(found: ET.Element, place: str, key: str) -> bytes | None:
    text = found.findtext("Content-MD5")
    if not text:
        return None
    try:
        digest = a2b_base64(text)
    except (Base64Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise CorruptDataError(_lie(place, key, f"with the MD5 {text[:40]!r}"))
    return digest


def _modified_ns(found: ET.Element, place: str, key: str) -> int:
    text = found.findtext("Last-Modified", "")
    try:
        return _nanoseconds(text)
    except (ValueError, KeyError, IndexError):
        raise CorruptDataError(_lie(place, key, f"with the time {text[:40]!r}")) from None


@lru_cache(4096)  # files that were written together share their seconds
def _nanoseconds(text: str) -> int:
    """The time in `Thu, 01 Jan 2026 00:00:00 GMT`; the service tells whole seconds."""
    _, day, month, year, clock, zone = text.split(" ")
    if zone != "GMT":
        raise ValueError(zone)
    hour, minute, second = clock.split(":")
    return timegm((int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second))) * 1_000_000_000


def _lie(place: str, key: str, what: str) -> str:
    return f"{place}: the listing tells {key[:200]!r} {what}; ask whoever runs that service"
