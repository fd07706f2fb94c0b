"""From a listing to a manifest: the moment at which a dataset becomes what it will always be.

Each source is listed below the part of its pattern that holds no `*`, and what matches streams into a staging on disk, of
which the manifest is made; memory does not grow with it. A pattern knows two wildcards, `*` within one segment and `**`
across segments; every other character stands for itself. The workspace's control folder `.moorage/` is no data and is left
out.

Invariants: the manifest appears whole or not at all; paths are judged by `dataset.manifest`, never mended here; what
matches nothing is an error, because an empty dataset is always a mistake.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from mountd.dataset.schema import FrozenFile, ManifestSummary
from mountd.dataset.staging import CAN_BE_KEPT, Staging
from mountd.dataset.writing import disk_faults, finish, in_pieces
from mountd.errors import AccessDeniedError, BadInputError, NotFoundError, StoreUnreachableError
from mountd.stores import registry
from mountd.stores.base import Lister, ObjectInfo, Part, PartLister, changed
from mountd.stores.blob.named import named_version
from mountd.stores.blob.versions import Version
from mountd.stores.credentials import Credential
from mountd.stores.parts import gather

EVERYTHING: Final = "**"
_CONTROL: Final = ".moorage/"
PAGE_DEADLINE_S: Final = 20.0  # somebody waits for the listing, and a mistyped address should not cost a minute


@dataclass(frozen=True, slots=True)
class FreezeSource:
    """One place that files come from.

    `url` is a base URL (it ends in `/`), `pattern` picks keys below it, and `under` is the folder of the tree where they
    appear ('' is the root). With `version` that one of the blob which `pattern` names is frozen; with `only`, files that are
    named there, each with its ETag.
    """

    url: str
    credential: Credential | None = None
    pattern: str = EVERYTHING
    under: str = ""
    version: Version | None = None
    only: Mapping[str, str] | None = None


def freeze(
    sources: Sequence[FreezeSource],
    target: Path,
    *,
    progress: Callable[[int], None] | None = None,
    deadline_s: float = PAGE_DEADLINE_S,
    resumed: Callable[[int], None] | None = None,
) -> ManifestSummary:
    """List `sources` and write the manifest `target`; `progress` is told how many files were seen so far.

    Each page of a listing comes within `deadline_s`. With `resumed`, what a freeze that was killed has listed is kept
    beside `target`, if its stores can go on in the middle; `resumed` is told how many files are not listed again.

    Raises:
        NotFoundError: a source matched nothing, or is not there.
        HostilePathError: a listing holds a path that no file system could, or two sources hold one path.
        AccessDeniedError, StoreUnreachableError, CorruptDataError: as the store says.
    """
    urls = list(dict.fromkeys(source.url for source in sources))
    places = [_Place.of(number, source, urls, deadline_s) for number, source in enumerate(sources)]
    first = [_mark(place.number, Part(place.literal)) for place in places]
    with disk_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if CAN_BE_KEPT and resumed is not None and all(isinstance(place.lister, PartLister) for place in places):
            wanted = json.dumps([(source.url, source.pattern, source.under) for source in sources])
            opened = Staging.kept(target, urls, wanted, first)
        else:
            opened = Staging.temporary(target, urls, first)
        with opened as staging:
            _list(staging, places, progress or _ignore, resumed or _ignore)
            return finish(staging, target)


def freeze_source(
    text: str,
    credential: Credential | None,
    target: Path,
    progress: Callable[[int], None] | None = None,
    deadline_s: float = PAGE_DEADLINE_S,
    resumed: Callable[[int], None] | None = None,
) -> ManifestSummary:
    """Freeze what a user typed: a folder, a container or a part of one, a single file, or one version of a blob.

    Raises:
        BadInputError: `text` is no source (a manifest is frozen already, and is not accepted here).
    """
    bare, version = named_version(text)
    source = _as_typed(bare, credential, deadline_s) if version is None else _of_version(bare, version, credential)
    return freeze([source], target, progress=progress, deadline_s=deadline_s, resumed=resumed)


def compile_pattern(pattern: str) -> "re.Pattern[str]":
    """The regular expression that matches the whole keys which `pattern` picks."""
    parts: list[str] = []
    # '**' as a whole segment also stands for no segment at all: 'a/**/b' picks 'a/b'.
    for piece in re.split(r"((?:(?<=/)|^)\*\*/|\*\*|\*)", pattern):
        wildcard = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}.get(piece)
        parts.append(re.escape(piece) if wildcard is None else wildcard)
    return re.compile("".join(parts), re.DOTALL)


def _as_typed(text: str, credential: Credential | None, deadline_s: float) -> FreezeSource:
    source = registry.parse_source(text)
    if source.kind == "https":
        if not source.file:
            raise BadInputError(f"{source.store_url}: a web server cannot be listed; name one file of it")
        return FreezeSource(source.store_url, credential, _literal(source.file))
    whole = FreezeSource(source.base_url, credential)
    if not source.open_ended:
        return whole
    if source.kind == "file":
        path = registry.local_path(source)
        is_file = path.is_file()
        return FreezeSource(registry.file_url(path.parent), credential, _literal(path.name)) if is_file else whole
    if not source.prefix:
        return whole
    # A blob's name without '/' at the end may be one object or a folder: the store is asked, and an object wins.
    folder, key = _apart(source)
    if _is_object(folder, key, credential, deadline_s):
        return FreezeSource(folder, credential, _literal(key))
    return whole


def _of_version(text: str, version: Version, credential: Credential | None) -> FreezeSource:
    folder, key = _apart(registry.parse_source(text))
    return FreezeSource(folder, credential, _literal(key), version=version)


def _apart(source: registry.Source) -> tuple[str, str]:
    """The base URL of the folder that an object lies in, and its key there."""
    return f"{source.base_url.rstrip('/').rpartition('/')[0]}/", source.prefix.rstrip("/").rpartition("/")[2]


def _is_object(url: str, key: str, credential: Credential | None, deadline_s: float) -> bool:
    first = next(iter(registry.open_lister(url, credential, deadline_s=deadline_s).list(key)), None)
    return first is not None and first.key == key and not first.is_directory


def _literal(name: str) -> str:
    if "*" in name:
        raise BadInputError(f"{name!r}: a '*' in the name of a single file is not supported; name its folder instead")
    return name


@dataclass(frozen=True, slots=True)
class _Place:
    """A source with what lists it; `url_number` counts the sources of the manifest, which has each URL once."""

    number: int
    source: FreezeSource
    url_number: int
    lister: Lister
    expression: "re.Pattern[str] | None"

    @classmethod
    def of(cls, number: int, source: FreezeSource, urls: list[str], deadline_s: float) -> "_Place":
        if source.version is None:
            lister = registry.open_lister(source.url, source.credential, deadline_s=deadline_s)
        else:
            lister = registry.open_version(source.url, source.credential, source.version, deadline_s=deadline_s)
        expression = None if source.pattern == EVERYTHING else compile_pattern(source.pattern)
        return cls(number, source, urls.index(source.url), lister, expression)

    @property
    def literal(self) -> str:
        """The part of the pattern that every key starts with."""
        return self.source.pattern.partition("*")[0]

    def frozen(self, objects: Iterable[ObjectInfo]) -> list[FrozenFile]:
        """Those of `objects` that the pattern picks."""
        return [self._frozen(info) for info in objects if self._picks(info.key)]

    def _picks(self, key: str) -> bool:
        if key.startswith(_CONTROL) or key == _CONTROL[:-1]:
            return False
        if self.source.only is not None and key not in self.source.only:
            return False
        return self.expression is None or self.expression.fullmatch(key) is not None

    def _frozen(self, info: ObjectInfo) -> FrozenFile:
        if self.source.only is not None and self.source.only[info.key] != info.etag:
            raise changed(self.source.url + info.key, self.source.only[info.key], info.etag)
        under = self.source.under.strip("/")
        path, key = (f"{under}/{info.key}", info.key) if under else (info.key, None)
        return FrozenFile(path, info.size, info.etag, info.mtime_ns, info.is_directory, info.md5, self.url_number, key)


def _list(
    staging: Staging, places: Sequence[_Place], progress: Callable[[int], None], resumed: Callable[[int], None]
) -> None:
    """Stage all that is still to be listed of `places`."""
    seen = sum(staging.files(place.number) for place in places)
    if seen:
        resumed(seen)
    marks = staging.marks
    try:
        for place in places:
            for count in _staged(staging, place, marks):
                seen += count
                progress(seen)
            if not staging.files(place.number):
                raise NotFoundError(_nothing(place.source))
    except (AccessDeniedError, StoreUnreachableError) as error:
        if not seen or resumed is _ignore:
            raise
        staging.commit()
        raise type(error)(f"{error}; {seen} files are listed: the same command goes on there") from None


def _staged(staging: Staging, place: _Place, marks: Iterable[str]) -> Iterator[int]:
    """Stage one source; yield how many files came with each step."""
    parts = [part for number, part in map(_marked, marks) if number == place.number]
    if isinstance(place.lister, PartLister):
        for part, page in gather(place.lister, parts):
            rest = [_mark(place.number, each) for each in page.rest]
            yield staging.add(place.number, place.frozen(page.objects), _mark(place.number, part), rest)
        return
    for some in in_pieces(place.lister.list(place.literal)):
        yield staging.add(place.number, place.frozen(some))


def _mark(number: int, part: Part) -> str:
    """What is still to be listed, as the staging keeps it."""
    return json.dumps((number, *astuple(part)))


def _marked(mark: str) -> tuple[int, Part]:
    number, *fields = json.loads(mark)
    return number, Part(*fields)


def _nothing(source: FreezeSource) -> str:
    if source.pattern == EVERYTHING:
        return f"{source.url}: holds no files; check the address, and that something was written there"
    return f"{source.url}: nothing matches {source.pattern!r} ('*' stands within one segment, '**' across them)"


def _ignore(_: int) -> None:
    """No progress was asked for."""
