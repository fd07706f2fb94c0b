"""From a listing to a manifest: the moment at which a dataset becomes what it will always be.

Each source is listed below the part of its pattern that holds no `*`, what matches streams into the manifest, and nothing
is kept in memory. A pattern knows two wildcards, `*` within one segment and `**` across segments; every other character
stands for itself. The workspace's control folder `.moorage/` is no data and is left out.

Invariants: the manifest appears whole or not at all; paths are judged by `dataset.manifest`, never mended here; what
matches nothing is an error, because an empty dataset is always a mistake.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mountd.dataset.manifest import FrozenFile, ManifestSummary, write_manifest
from mountd.errors import BadInputError, NotFoundError
from mountd.stores import registry
from mountd.stores.base import ObjectInfo
from mountd.stores.credentials import Credential

EVERYTHING: Final = "**"
_CONTROL: Final = ".moorage/"
_PROGRESS_EVERY: Final = 1000
PAGE_DEADLINE_S: Final = 20.0  # somebody waits for the listing, and a mistyped address should not cost a minute


@dataclass(frozen=True, slots=True)
class FreezeSource:
    """One place that files come from.

    `url` is a base URL (it ends in `/`), `pattern` picks keys below it, and `under` is the folder of the tree where they
    appear ('' is the root).
    """

    url: str
    credential: Credential | None = None
    pattern: str = EVERYTHING
    under: str = ""


def freeze(
    sources: Sequence[FreezeSource],
    target: Path,
    *,
    progress: Callable[[int], None] | None = None,
    deadline_s: float = PAGE_DEADLINE_S,
) -> ManifestSummary:
    """List `sources` and write the manifest `target`; `progress` is told now and then how many files were seen.

    Each page of a listing comes within `deadline_s`.

    Raises:
        NotFoundError: a source matched nothing, or is not there.
        HostilePathError: a listing holds a path that no file system could.
        AccessDeniedError, StoreUnreachableError: as the store says.
    """
    numbers = {url: number for number, url in enumerate(dict.fromkeys(source.url for source in sources))}
    return write_manifest(target, list(numbers), _files(sources, numbers, progress or _ignore, deadline_s))


def freeze_source(
    text: str,
    credential: Credential | None,
    target: Path,
    progress: Callable[[int], None] | None = None,
    deadline_s: float = PAGE_DEADLINE_S,
) -> ManifestSummary:
    """Freeze what a user typed: a folder, a container or a part of one, or a single file.

    Raises:
        BadInputError: `text` is no source (a manifest is frozen already, and is not accepted here).
    """
    source = _as_typed(text, credential, deadline_s)
    return freeze([source], target, progress=progress, deadline_s=deadline_s)


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
    folder = source.base_url.rstrip("/").rpartition("/")[0]
    if source.kind == "file":
        path = registry.local_path(source)
        is_file = path.is_file()
        return FreezeSource(registry.file_url(path.parent), credential, _literal(path.name)) if is_file else whole
    if not source.prefix:
        return whole
    # A blob's name without '/' at the end may be one object or a folder: the store is asked, and an object wins.
    key = source.prefix.rstrip("/").rpartition("/")[2]
    if _is_object(f"{folder}/", key, credential, deadline_s):
        return FreezeSource(f"{folder}/", credential, _literal(key))
    return whole


def _is_object(url: str, key: str, credential: Credential | None, deadline_s: float) -> bool:
    first = next(iter(registry.open_lister(url, credential, deadline_s=deadline_s).list(key)), None)
    return first is not None and first.key == key and not first.is_directory


def _literal(name: str) -> str:
    if "*" in name:
        raise BadInputError(f"{name!r}: a '*' in the name of a single file is not supported; name its folder instead")
    return name


def _files(
    sources: Sequence[FreezeSource], numbers: dict[str, int], progress: Callable[[int], None], deadline_s: float
) -> Iterator[FrozenFile]:
    seen = 0
    for source in sources:
        before = seen
        for info in _matching(source, deadline_s):
            yield _frozen(source, numbers[source.url], info)
            if not info.is_directory and not info.key.endswith("/"):
                seen += 1
                if not seen % _PROGRESS_EVERY:
                    progress(seen)
        if seen == before:
            raise NotFoundError(_nothing(source))
    progress(seen)


def _matching(source: FreezeSource, deadline_s: float) -> Iterator[ObjectInfo]:
    expression = compile_pattern(source.pattern)
    literal = source.pattern.partition("*")[0]
    for info in registry.open_lister(source.url, source.credential, deadline_s=deadline_s).list(literal):
        if not (info.key + "/").startswith(_CONTROL) and expression.fullmatch(info.key):
            yield info


def _frozen(source: FreezeSource, number: int, info: ObjectInfo) -> FrozenFile:
    under = source.under.strip("/")
    path = f"{under}/{info.key}" if under else info.key
    return FrozenFile(
        path, info.size, info.etag, info.mtime_ns, info.is_directory, info.md5, number, info.key if under else None
    )


def _nothing(source: FreezeSource) -> str:
    if source.pattern == EVERYTHING:
        return f"{source.url}: holds no files; check the address, and that something was written there"
    return f"{source.url}: nothing matches {source.pattern!r} ('*' stands within one segment, '**' across them)"


def _ignore(_: int) -> None:
    """No progress was asked for."""
