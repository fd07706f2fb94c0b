"""The listing of an Azure container, part by part.

A part of the listing is one flat run of pages. While threads have nothing to do it is divided: where its first page shows a
few large folders, by folder; else by range of names, where the service has `startFrom` (asked once a listing). The page on
which it was decided to go by folder is thrown away, so nothing depends on how a service orders folders among files.

Invariants: every key comes once, or the listing is an error: a page that begins before the last one ended, a marker that
repeats, a name outside of what was asked for are told as what they are.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mountd.errors import BadInputError, CorruptDataError
from mountd.stores.base import ObjectInfo, Page, Part
from mountd.stores.blob.boundaries import boundaries
from mountd.stores.blob.pages import BlobPage
from mountd.stores.source import Source

_PAGE_NAMES = 5000  # the most that the service gives
# On a page. A folder becomes a request of its own: with more folders to a page, that costs more than it gains.
_FEW_FOLDERS: Final = 4
_MOST_FOLDERS: Final = 8  # where names cannot be cut into ranges
_CUTS_AN_IDLER: Final = 4  # some lead nowhere, and cost one request
_MOST_EMPTY_PAGES: Final = 1000
_ASK: Final = "ask whoever runs that service"

#: (a part whose prefix is a whole name's, how many names at most) -> its next page; blocks, and raises our errors.
Ask = Callable[[Part, int], BlobPage]


class BlobListing:
    """A PartLister of one container below the source's prefix."""

    def __init__(self, source: Source, ask: Ask) -> None:
        self._source, self._ask = source, ask
        self._ranged: bool | None = None  # whether the service knows startFrom; two threads may ask at once, to no harm

    def list_part(self, part: Part, idle: int) -> Page:
        """The next page of `part`."""
        full = replace(part, prefix=self._source.prefix + part.prefix)
        page = self._ask(full, _PAGE_NAMES)
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
                page = self._ask(Part(self._source.prefix, start=names[-1]), 1)
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

    def _is_asked_for(self, full: Part, name: str) -> bool:
        # The prefix's own directory marker has no key below it.
        return name != self._source.prefix and (not full.end or name < full.end)

    def _own(self, found: ObjectInfo) -> ObjectInfo:
        return replace(found, key=self._key(found.key)) if self._source.prefix else found

    def _key(self, name: str) -> str:
        return name[len(self._source.prefix) :]


def _is_before(first: str, after: str) -> bool:
    """Whether a name comes before or at another in every order that a service is known to have."""
    orders = (
        (first, after),
        (first.encode("utf-16-be", "surrogatepass"), after.encode("utf-16-be", "surrogatepass")),
        (first.replace("/", "\0"), after.replace("/", "\0")),  # hierarchical accounts: a folder's files come first
    )
    return all(one <= other for one, other in orders)  # type: ignore[operator]  # pairs of one type
