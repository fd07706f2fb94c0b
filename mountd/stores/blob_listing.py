"""The listing of an Azure container, a page a request, without the SDK: signed here, read by `blob_pages`.

A part of the listing is one flat run of pages. While threads have nothing to do it is divided: where its first page shows a
few large folders, by folder; else by range of names, where the service has `startFrom` (asked once a listing). The page on
which it was decided to go by folder is thrown away, so nothing depends on how a service orders folders among files.

Invariants: every key comes once, or the listing is an error: a page that begins before the last one ended, a marker that
repeats, a name outside of what was asked for are told as what they are; a page comes whole within the deadline.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode

import requests
from azure.core.exceptions import HttpResponseError

from mountd.errors import BadInputError, CorruptDataError
from mountd.stores.azure_sdk import sdk_translated, transport
from mountd.stores.base import ObjectInfo, Page, Part, check_process
from mountd.stores.blob_pages import BlobPage, read_page
from mountd.stores.boundaries import boundaries
from mountd.stores.retry import NO_ANSWER, Deadline, TransientError, retry
from mountd.stores.signing import authorisation
from mountd.stores.source import Source

_VERSION: Final = "2021-12-02"
_RANGED_VERSION: Final = "2026-02-06"  # the first that knows `startFrom`
_PAGE_NAMES = 5000  # the most that the service gives
_CHUNK_BYTES: Final = 1 << 18
_MOST_BYTES: Final = 256 << 20  # 5,000 names of 1 KiB with 8 KiB of metadata each, escaped, are far below
# On a page. A folder becomes a request of its own: with more folders to a page, that costs more than it gains.
_FEW_FOLDERS: Final = 4
_MOST_FOLDERS: Final = 8  # where names cannot be cut into ranges
_CUTS_AN_IDLER: Final = 4  # some lead nowhere, and cost one request
_MOST_EMPTY_PAGES: Final = 1000


class BlobListing:
    """A PartLister of one container below the source's prefix."""

    def __init__(self, source: Source, credential: Any, *, deadline_s: float, anonymous: bool) -> None:
        """Contact nobody yet; `credential` is what an SDK's client would take."""
        self._source, self._deadline_s, self._anonymous = source, deadline_s, anonymous
        self._process_id = os.getpid()
        self._session = transport().session
        self._auth = authorisation(credential)
        self._ranged: bool | None = None  # whether the service knows startFrom; two threads may ask at once, to no harm

    def list_part(self, part: Part, idle: int) -> Page:
        """The next page of `part`."""
        full = replace(part, prefix=self._source.prefix + part.prefix)
        page = self._page(full)
        self._check(full, page)
        names = [each.key for each in page.objects]
        if page.marker and not part.by_folder and idle and self._goes_by_folder(full, page, names):
            return Page((), (Part(part.prefix, by_folder=True),))
        is_over = not page.marker or bool(full.end and names and names[-1] >= full.end)
        rest = [] if is_over else self._rest(part, full, page, names, idle)
        folders = [Part(self._key(folder)) for folder in page.folders]
        return Page([self._own(each) for each in page.objects if self._is_asked_for(full, each.key)], [*folders, *rest])

    def _rest(self, part: Part, full: Part, page: BlobPage, names: list[str], idle: int) -> list[Part]:
        told = names or page.folders
        after, empty_pages = (told[-1], 0) if told else (part.after, part.empty_pages + 1)
        onward = replace(part, marker=page.marker, after=after, empty_pages=empty_pages)
        if not (idle and names) or part.by_folder or page.is_hierarchical or names != sorted(names):
            return [onward]
        if not self._has_ranges(names):
            return [onward]
        cuts = boundaries(names[0], names[-1], full.prefix, full.end, idle * _CUTS_AN_IDLER)
        if not cuts:
            return [onward]
        ends = [*cuts[1:], full.end]
        ranges = [Part(part.prefix, start, end) for start, end in zip(cuts, ends, strict=True)]
        return [replace(onward, end=cuts[0]), *ranges]

    def _goes_by_folder(self, full: Part, page: BlobPage, names: list[str]) -> bool:
        """Whether the part, of which this is the first page, is better asked for by folder."""
        if full.marker or full.start or full.end or not names:
            return False
        folders = {rest[:cut] for rest in (name[len(full.prefix) :] for name in names) if (cut := rest.find("/")) >= 0}
        if page.is_hierarchical or not self._has_ranges(names):
            return 0 < len(folders) <= _MOST_FOLDERS
        return 0 < len(folders) <= _FEW_FOLDERS

    def _has_ranges(self, names: list[str]) -> bool:
        """Whether the service begins where it is told to: an older one lists from the beginning, or refuses.

        The names of a page answer that if the last is not the first, with which one that does not know it would begin.
        """
        if self._ranged is None:
            if names[0] >= names[-1]:
                return False
            try:
                page = self._page(Part(self._source.prefix, start=names[-1]), most=1)
                self._ranged = not page.objects or page.objects[0].key >= names[-1]
            except BadInputError:
                self._ranged = False
        return self._ranged

    def _check(self, part: Part, page: BlobPage) -> None:
        told = self._source.base_url
        for name in (*(each.key for each in page.objects), *page.folders):
            if not name.startswith(part.prefix.removesuffix("/")):
                raise CorruptDataError(f"{told}: the listing tells {name[:200]!r}, which was not asked for; {_ASK}")
        first = page.objects[0].key if page.objects else next(iter(page.folders), "")
        if part.start and first and first < part.start:
            raise CorruptDataError(f"{told}: the listing begins at {first[:200]!r}, before what was asked for; {_ASK}")
        if page.marker and page.marker == part.marker:
            raise CorruptDataError(f"{told}: the listing goes in circles: a page leads to itself; {_ASK}")
        if part.after and first and _is_before(first, part.after):
            raise CorruptDataError(f"{told}: the listing tells {first[:200]!r} again, or too late; {_ASK}")
        if part.empty_pages > _MOST_EMPTY_PAGES:
            raise CorruptDataError(
                f"{told}: the listing has {part.empty_pages} empty pages, one after the other; {_ASK}"
            )

    def _page(self, part: Part, most: int | None = None) -> BlobPage:
        name = self._source.base_url
        check_process(self._process_id)

        def attempt(limit_s: float) -> BlobPage:
            with sdk_translated(name, pinned=False, anonymous=self._anonymous):
                return self._asked(part, most or _PAGE_NAMES, limit_s)

        limit_s = max(1.0, self._deadline_s / 2)
        return retry(name, attempt, Deadline(self._deadline_s), attempt_limit_s=limit_s)

    def _asked(self, part: Part, most: int, limit_s: float) -> BlobPage:
        end_s = time.monotonic() + limit_s
        headers = {"x-ms-version": _RANGED_VERSION if part.start else _VERSION}
        url, connect_s = self._url(part, most), min(5.0, limit_s / 2)
        with self._session.get(
            url, headers=headers, auth=self._auth, timeout=(connect_s, limit_s), stream=True, allow_redirects=False
        ) as answer:
            if answer.status_code != requests.codes.ok:
                raise _refusal(answer)
            return read_page(_within(answer, end_s), self._source.base_url)

    def _url(self, part: Part, most: int) -> str:
        # The metadata tells directories of hierarchical accounts from empty files.
        asked = {
            "restype": "container",
            "comp": "list",
            "include": "metadata",
            "prefix": part.prefix,
            "delimiter": "/" if part.by_folder else "",
            "marker": part.marker,
            "startFrom": part.start,
            "maxresults": str(most),
        }
        query = urlencode({name: value for name, value in asked.items() if value}, quote_via=quote, safe="")
        return f"{self._source.endpoint}/{self._source.container}?{query}"

    def _is_asked_for(self, full: Part, name: str) -> bool:
        # The prefix's own directory marker has no key below it.
        return name != self._source.prefix and (not full.end or name < full.end)

    def _own(self, found: ObjectInfo) -> ObjectInfo:
        return replace(found, key=self._key(found.key)) if self._source.prefix else found

    def _key(self, name: str) -> str:
        return name[len(self._source.prefix) :]


_ASK: Final = "ask whoever runs that service"


def _is_before(first: str, after: str) -> bool:
    """Whether a name comes before or at another in every order that a service is known to have."""
    orders = (
        (first, after),
        (first.encode("utf-16-be", "surrogatepass"), after.encode("utf-16-be", "surrogatepass")),
        (first.replace("/", "\0"), after.replace("/", "\0")),  # hierarchical accounts: a folder's files come first
    )
    return all(one <= other for one, other in orders)  # type: ignore[operator]  # pairs of one type


def _within(answer: requests.Response, end_s: float) -> Iterator[bytes]:
    size_bytes = 0
    for chunk in answer.iter_content(_CHUNK_BYTES):
        size_bytes += len(chunk)
        if time.monotonic() > end_s:
            raise TransientError(NO_ANSWER)
        if size_bytes > _MOST_BYTES:
            raise TransientError(f"a page of the listing is larger than {_MOST_BYTES} bytes")
        yield chunk


def _refusal(answer: requests.Response) -> HttpResponseError:
    """What the SDK would raise: its status and code become our errors where the others do."""
    error = HttpResponseError("refused")
    error.status_code, error.response = answer.status_code, answer  # type: ignore[assignment]  # of it only headers are read
    error.error_code = answer.headers.get("x-ms-error-code", "")  # type: ignore[attr-defined]  # as the storage SDK does
    return error
