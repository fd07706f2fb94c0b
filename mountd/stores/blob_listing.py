"""A listing of a container by many requests at once.

One listing comes page after page, because each page names the next one. So the names below a prefix are divided, while
there is less to do than requests may be on their way: one level is listed with a delimiter, and what is seen there is put
into some thirty groups, each of which is all that begins with a longer prefix; every group is then listed as a whole, or
divided again. A prefix that fits into one page is never divided, so most datasets cost one request, and a tree of many
small folders hardly more than its pages. A folder of more than 20,000 files stays one listing: nothing tells where to
divide it.

Pages come as XML and are parsed here: the SDK's own parser costs many times as much for each blob.

Invariants: every blob is yielded once, in no order; at most `_REQUESTS` pages are on their way and as many wait to be taken;
the threads end with the generator, also when it is not read to its end. A page that cannot be right (no XML, a negative
length, a marker that leads back) is an error or asked for again, never a shorter listing. The lock protects the prefixes to
do and the number of busy threads; nothing is asked under it.
"""

import heapq
import os
import queue
import threading
from base64 import b64decode
from binascii import Error as NotBase64Error
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from mountd.errors import CorruptDataError
from mountd.stores.base import ObjectInfo, normal_etag
from mountd.stores.retry import TransientError

_REQUESTS = 8  # each holds a page of up to 4 MB, and Python parses no more than one at a time
_PARTS = 4 * _REQUESTS
_LEVEL_PAGES = 4
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: blobs with their full names, the folders in their place if a delimiter was given, the next marker."""

    blobs: list[ObjectInfo]
    folders: list[str]
    marker: str


#: (prefix, delimiter, marker) -> a page; blocks, and raises our errors.
Ask = Callable[[str, str, str], Page]


def parse_page(body: bytes) -> Page:
    """Read the answer to List Blobs.

    Raises:
        TransientError: it is not whole, or none.
        CorruptDataError: what it tells of a blob cannot be.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314  # expat bounds what entities may grow to
    except ET.ParseError:
        raise TransientError("a page of the listing is not whole") from None
    found = root.find("Blobs")
    if root.tag != "EnumerationResults" or found is None:
        raise TransientError("an answer came that is no listing")
    blobs = [_blob(each) for each in found.iterfind("Blob") if each.find("Deleted") is None]
    folders = [_name(each) for each in found.iterfind("BlobPrefix")]
    return Page(blobs, folders, root.findtext("NextMarker") or "")


def _blob(element: ET.Element) -> ObjectInfo:
    name = _name(element)
    told = element.find("Properties")
    try:
        if told is None:
            raise ValueError  # noqa: TRY301  # as any other thing that is missing
        size, etag = int(told.findtext("Content-Length") or 0), normal_etag(told.findtext("Etag"))
        modified_s = _seconds(told.findtext("Last-Modified") or "")
        md5 = b64decode(told.findtext("Content-MD5") or "", validate=True) or None
        if size < 0 or not etag:
            raise ValueError  # noqa: TRY301  # as above
    except (ValueError, NotBase64Error):
        raise CorruptDataError(f"{name!r}: the listing tells no length, ETag or time of it that can be") from None
    return ObjectInfo(name, size, etag, modified_s * _NS_PER_S, _is_directory(element, told), md5)


def _is_directory(element: ET.Element, told: ET.Element) -> bool:
    if told.findtext("ResourceType") == "directory":
        return True
    metadata = element.find("Metadata")
    if metadata is None:
        return False
    return any(each.tag.lower() == "hdi_isfolder" and (each.text or "").lower() == "true" for each in metadata)


def _name(element: ET.Element) -> str:
    found = element.find("Name")
    if found is None or not found.text:
        raise TransientError("a page of the listing has a blob without a name")
    # What XML cannot hold comes percent-encoded, and is marked.
    return unquote(found.text, errors="surrogateescape") if found.get("Encoded") == "true" else found.text


@lru_cache(4096)
def _seconds(text: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (TypeError, IndexError):
        raise ValueError(text) from None


def listed(ask: Ask, prefix: str) -> Iterator[ObjectInfo]:
    """Yield every blob whose full name starts with `prefix`.

    Raises:
        CorruptDataError: the service's pages lead in a circle.
    """
    first = ask(prefix, "", "")
    if first.marker:
        yield from _Walk(ask, prefix, first).blobs()
    else:
        yield from first.blobs


def _pages(ask: Ask, prefix: str, delimiter: str, first: Page) -> Iterator[Page]:
    """The pages of one listing, of which the first is there."""
    seen, page = {""}, first
    while True:
        yield page
        if not page.marker:
            return
        if page.marker in seen:
            raise CorruptDataError(f"{prefix!r}: the pages of the listing lead in a circle; the service is at fault")
        seen.add(page.marker)
        page = ask(prefix, delimiter, page.marker)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is to be listed: all that begins with `prefix`; its first page, if somebody has asked for it."""

    prefix: str
    first: Page | None = None


class _Walk:
    """Threads that take a part, and list or divide it; what they find waits where `blobs` takes it."""

    def __init__(self, ask: Ask, prefix: str, first: Page) -> None:
        self._ask = ask
        self._to_do = deque([_Part(prefix, first)])
        self._busy = 0
        self._changed = threading.Condition()
        self._found: queue.Queue[list[ObjectInfo] | BaseException | None] = queue.Queue(_REQUESTS)
        self._is_over = False

    def blobs(self) -> Iterator[ObjectInfo]:
        """Yield what is found, until all is done or something failed."""
        threads = [threading.Thread(target=self._work, name=f"listing-{n}", daemon=True) for n in range(_REQUESTS)]
        for thread in threads:
            thread.start()
        left = len(threads)
        try:
            while left:
                found = self._found.get()
                if isinstance(found, BaseException):
                    raise found
                if found is None:
                    left -= 1
                else:
                    yield from found
        finally:
            self._end()
            for thread in threads:
                while thread.is_alive():  # it may wait for room
                    self._drain()
                    thread.join(0.05)

    def _end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _drain(self) -> None:
        while not self._found.empty():
            self._found.get_nowait()

    def _work(self) -> None:
        try:
            while (part := self._next()) is not None:
                self._list(part)
                self._done()
        except BaseException as error:  # noqa: BLE001  # raised where the blobs are taken
            self._end()
            self._found.put(error)
        else:
            self._found.put(None)

    def _next(self) -> _Part | None:
        """A part to list; None when there is none left, and nobody is busy who may find more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._to_do or not self._busy)
            if self._is_over or not self._to_do:
                return None
            self._busy += 1
            return self._to_do.popleft()

    def _done(self) -> None:
        with self._changed:
            self._busy -= 1
            if not self._busy:
                self._changed.notify_all()

    def _list(self, part: _Part) -> None:
        first = part.first or self._ask(part.prefix, "", "")
        with self._changed:
            is_short = len(self._to_do) + self._busy < _REQUESTS
        if first.marker and is_short and self._is_divided(part.prefix):
            return  # the first page comes again: that costs one request, and a blob is told once
        if not first.blobs and not first.marker and part.prefix.endswith("/"):
            # Only a real directory can hold nothing; a listing with a delimiter shows it as any other folder.
            self._found.put([ObjectInfo(part.prefix, 0, "", 0, is_directory=True)])
        for page in _pages(self._ask, part.prefix, "", first):
            self._found.put(page.blobs)
            if self._is_over:
                return

    def _is_divided(self, prefix: str) -> bool:
        """List one level below `prefix`, and leave the parts of it to whoever is free; False if it is too wide."""
        blobs, folders = dict[str, ObjectInfo](), list[str]()
        for number, page in enumerate(_pages(self._ask, prefix, "/", self._ask(prefix, "/", ""))):
            if page.marker and (number == _LEVEL_PAGES - 1 or not page.folders):
                return False
            blobs |= {blob.key: blob for blob in page.blobs}
            folders += page.folders
        parts = list[_Part]()
        for common, names in _groups([*blobs, *dict.fromkeys(folders)]):
            if all(name in blobs for name in names):
                self._found.put([blobs[name] for name in names])
            else:
                parts.append(_Part(common))
        with self._changed:
            self._to_do.extend(parts)
            self._changed.notify_all()
        return True


def _groups(names: list[str]) -> list[tuple[str, list[str]]]:
    """Divide `names` into some `_PARTS` groups, each with its common beginning, which nothing outside of the group has."""
    groups, done = [(-len(names), _common(names), names)], list[tuple[str, list[str]]]()
    while groups and len(groups) + len(done) < _PARTS:
        _, common, largest = heapq.heappop(groups)
        if len(largest) == 1:
            done.append((common, largest))
            continue
        by_next = dict[str, list[str]]()
        for name in largest:
            by_next.setdefault(name[: len(common) + 1], []).append(name)
        for group in by_next.values():
            heapq.heappush(groups, (-len(group), _common(group), group))
    return done + [(common, group) for _, common, group in groups]


def _common(names: list[str]) -> str:
    return os.path.commonprefix(names)  # noqa: RUF071  # of characters is what is meant
