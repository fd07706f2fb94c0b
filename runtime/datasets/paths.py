"""The grammar of a dataset's paths, as v1 has it and with local folders besides.

A path is a URL, a path below a datastore, or (not in v1) a local file or folder. `*` matches within a segment and `**`
across segments; nothing else is special, and `?`, `[`, `{` are refused because v1 took them literally and found nothing.
A path without a glob is a file or everything below a folder; which of the two, the store says when it is frozen.

In the tree of the dataset the longest common prefix of all paths is dropped (`arrange`): one folder shows its content, one
file its name, two folders beside each other show as two folders. Nothing here contacts a store.
"""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import quote, unquote, urlsplit

from runtime.datasets.url_map import mapped
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    from mountd.stores.registry import Source

_SPECIAL = "?[{"


@runtime_checkable
class NamesDatastore(Protocol):
    """What has a datastore's name: v1's Datastore."""

    @property
    def name(self) -> str:
        """The datastore's name."""


@runtime_checkable
class NamesPath(Protocol):
    """What names a path below a datastore: v1's DataPath."""

    @property
    def datastore(self) -> NamesDatastore:
        """The datastore."""

    @property
    def path_on_datastore(self) -> str | None:
        """The path below it; None is everything."""


PathArgument = str | os.PathLike[str] | NamesPath | tuple[NamesDatastore, str]


@dataclass(frozen=True, slots=True)
class DatasetPath:
    """One path of a definition: `path` below the datastore `datastore`, or a whole `url` where that is empty.

    `mapped` is the URL that the URL map put in the place of `url`; '' where it said nothing.
    """

    datastore: str = ""
    path: str = ""
    url: str = ""
    mapped: str = ""

    def to_document(self) -> dict[str, str]:
        """As a definition keeps it."""
        if not self.url:
            return {"datastore": self.datastore, "path": self.path}
        return {"url": self.url, "mapped": self.mapped} if self.mapped else {"url": self.url}

    def __str__(self) -> str:
        named = self.url or f"{self.datastore}/{self.path}"
        return f"{named} (read from {self.mapped})" if self.mapped else named


@dataclass(frozen=True, slots=True)
class Place:
    """A path where it lies: `root` is a store's URL ending in '/', `path` is below it, decoded, without a leading '/'."""

    root: str
    path: str

    @property
    def has_glob(self) -> bool:
        """True if it names many by a pattern."""
        return "*" in self.path

    @property
    def folder(self) -> str:
        """The part before the first segment with a glob, or before the last segment; '' or ending in '/'."""
        head = self.path.partition("*")[0]
        return head[: head.rfind("/") + 1]

    @property
    def pattern(self) -> str:
        """The rest, relative to `folder`: a pattern, or a name; '**' is everything."""
        return self.path[len(self.folder) :] or "**"

    @property
    def base_url(self) -> str:
        """The URL of `folder`, canonical as the stores know it."""
        return _source(self.root + quote(self.folder, errors="surrogateescape")).base_url

    def as_folder(self) -> "Place":
        """The same, said to be a folder."""
        return Place(self.root, self.path if not self.path or self.path.endswith("/") else f"{self.path}/")


def parse_all(argument: PathArgument | Sequence[PathArgument]) -> tuple[DatasetPath, ...]:
    """The paths that `from_files` was given: one, or a list of one kind; doubles count once.

    Raises:
        UserErrorException: names the path and the rule it breaks.
    """
    several = isinstance(argument, Sequence) and not isinstance(argument, str) and not _is_pair(argument)
    arguments: list[PathArgument] = list(argument) if several else [argument]  # type: ignore[arg-type, list-item] # just told apart
    if not arguments:
        raise UserErrorException("a dataset needs at least one path")
    texts = sum(isinstance(each, str | os.PathLike) for each in arguments)
    if 0 < texts < len(arguments):
        raise UserErrorException("text paths and datastore paths cannot be mixed in one dataset; give all in one form")
    return tuple(dict.fromkeys(parse(each) for each in arguments))


def parse(argument: PathArgument) -> DatasetPath:
    """One path."""
    if isinstance(argument, str | os.PathLike):
        return parse_text(os.fspath(argument))
    if isinstance(argument, tuple):
        if _is_pair(argument):
            return below_datastore(argument[0].name, argument[1])
    elif isinstance(argument, NamesPath):
        return below_datastore(argument.datastore.name, argument.path_on_datastore or "")
    raise UserErrorException(
        f"{type(argument).__name__} is no path; give a URL, a DataPath, (datastore, 'relative/path'), or a list of these"
    )


def parse_text(text: str) -> DatasetPath:
    """A URL or a local path."""
    if "://" not in text:
        return _local(text)
    bare, mark, _ = text.partition("?")
    if mark and not text.startswith("file:"):
        raise UserErrorException(
            f"{bare}: a URL with a '?' is refused, because what follows may be a SAS, and a definition keeps no secret; "
            "register a datastore with that SAS and use (datastore, 'path')"
        )
    _check_glob(text, text)
    instead = mapped(text)
    source = _source(_before_glob(instead or text))
    if source.kind == "https" and ("*" in text or not source.file):
        raise UserErrorException(f"{text}: a web server has no listing, so no folder and no '*'; name each file")
    return DatasetPath(url=text, mapped=instead)


def from_documents(documents: Iterable[Mapping[str, str]]) -> tuple[DatasetPath, ...]:
    """The paths as a definition keeps them.

    Raises:
        UserErrorException: there are none, because it is a query's.
    """
    found = tuple(DatasetPath(**each) for each in documents)
    if not found:
        raise UserErrorException("this dataset is a SQL query and has no files; its rows can be read, and nothing else")
    return found


def below_datastore(name: str, path: str) -> DatasetPath:
    """`path` below the datastore `name`; a leading '/' or './' is dropped, as v1 does."""
    relative = path.lstrip("/")
    while relative.startswith("./"):
        relative = relative[2:].lstrip("/")
    relative = "" if relative == "." else relative
    if ".." in relative.split("/"):
        raise UserErrorException(f"{name}/{path}: '..' leads out of the datastore; name the path from its root")
    _check_glob(relative, f"{name}/{path}")
    return DatasetPath(name.lower(), relative)


def locate(path: DatasetPath, datastore_url: str = "") -> Place:
    """Where `path` lies; `datastore_url` is the URL of its datastore."""
    if path.datastore:
        return Place(datastore_url, path.path)
    url = path.mapped or path.url
    head = _before_glob(url)
    source, pattern = _source(head), unquote(url[len(head) :], errors="surrogateescape")
    if source.kind == "file":
        below = unquote(source.store_url, errors="surrogateescape").removeprefix("file:///")
        return Place("file:///", (below.rstrip("/") if source.open_ended else below) + pattern)
    prefix = source.prefix.rstrip("/") if source.open_ended else source.prefix
    return Place(source.store_url, prefix + source.file + pattern)


def arrange(places: Iterable[Place]) -> list[str]:
    """For each place, the folder of the tree (`a/b`, or '') below which its `folder` shows."""
    segments = [_segments(place) for place in places]
    # A segment is common when every place has the same one at that depth, and so have all before it.
    depths = zip(*segments, strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda each: len(set(each)) == 1, depths))
    return ["/".join(each[common:]) for each in segments]


def _segments(place: Place) -> list[str]:
    parts = urlsplit(place.root)
    below = unquote(parts.path, errors="surrogateescape") + place.folder
    return [parts.netloc or "local", *(segment for segment in below.split("/") if segment)]


def _local(text: str) -> DatasetPath:
    from mountd.stores.registry import file_url

    path = Path(os.path.normpath(Path(text).expanduser().absolute()))
    if "*" not in text and path.exists():  # a name that is there is meant, whatever is in it
        return DatasetPath(url=file_url(path) if path.is_dir() else file_url(path).rstrip("/"))
    _check_glob(text, text)
    folder, slash, rest = _before_glob(str(path)), "/" * text.endswith("/"), str(path)
    if "*" not in rest:
        return DatasetPath(url=file_url(path).rstrip("/") + slash)
    return DatasetPath(url=file_url(Path(folder)) + quote(rest[len(folder) :], safe="/*"))


def _check_glob(text: str, shown: str) -> None:
    if found := [character for character in _SPECIAL if character in text]:
        raise UserErrorException(
            f"{shown.partition('?')[0]}: {found[0]!r} has no meaning in a dataset's path; only '*' (within a name) and "
            "'**' (across folders) do"
        )


def _before_glob(text: str) -> str:
    """`text` up to the last '/' before its first '*'; all of it where there is none."""
    head, star, _ = text.partition("*")
    return head[: head.rfind("/") + 1] if star else text


def _source(url: str) -> "Source":
    from mountd.errors import BadInputError
    from mountd.stores.registry import parse_source

    try:
        return parse_source(url)
    except BadInputError as error:
        raise UserErrorException(str(error)) from None


def _is_pair(argument: object) -> bool:
    return (
        isinstance(argument, tuple)
        and len(argument) == 2
        and isinstance(argument[0], NamesDatastore)
        and isinstance(argument[1], str)
    )
