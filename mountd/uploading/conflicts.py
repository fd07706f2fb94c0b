"""Conflicts of files on their way to a store, all found before anything is written.

A file must be plain and readable, its key one that a tree can hold, and free: neither taken, nor a folder, nor below a file;
and not another spelling of one that is there, where the store takes both for one name.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from mountd.dataset import paths
from mountd.errors import BadInputError, DestinationExistsError, NotFoundError
from mountd.stores import registry
from mountd.stores.base import Lister

_OWN: Final = ".moorage"  # control objects live there, and listings skip it


@dataclass(frozen=True, slots=True)
class Item:
    """A file and the key that it is to have."""

    source: Path
    key: str
    size: int


def item(path: Path, key: str) -> Item:
    """A file that can be stored under `key`.

    Raises:
        BadInputError, NotFoundError: it cannot, naming it.
    """
    names = paths.split(key)
    if names[0] == _OWN.encode():
        raise BadInputError(f"{path}: {_OWN}/ in a store is for Moorage's own objects; choose another name")
    try:
        key.encode()
        found = path.stat()
    except UnicodeEncodeError:
        raise BadInputError(f"{key!r}: a name that is not UTF-8 cannot be an object's; rename the file") from None
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file to upload") from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode):
        raise BadInputError(f"{path}: not a plain file, so it cannot be uploaded; leave it out")
    if not os.access(path, os.R_OK):
        raise BadInputError(f"{path}: this user may not read it, so it cannot be uploaded")
    return Item(path, key, found.st_size)


def refuse_conflicts(
    items: Sequence[Item], lister: Lister, prefix: str, *, overwrite: bool, ours: frozenset[str] = frozenset()
) -> frozenset[str]:
    """The wanted keys that exist already, once it is clear that they may; those of `ours` may in any case.

    Raises:
        DestinationExistsError, BadInputError: names up to three.
    """
    wanted = {item.key for item in items}
    if len(wanted) < len(items):
        keys = sorted(item.key for item in items)
        twice = next(key for key, following in pairwise(keys) if key == following)
        raise BadInputError(f"{twice!r}: two files are to be uploaded under this name")
    folders = {folder for key in wanted for folder in _folders(key)}
    existing, covered = set(), set(wanted & folders)
    spellings = _Spellings(lister.url, sorted(wanted | folders))
    for info in lister.list(prefix):
        spellings.check(info.key)
        if info.is_directory or (info.key.endswith("/") and not info.size):
            continue
        if info.key in wanted:
            existing.add(info.key)
        # An object cannot also be a folder: such a tree could be neither mounted nor frozen.
        covered.update(wanted.intersection(_folders(info.key)))
        if info.key in folders and info.size:
            covered.add(info.key)
    if covered:
        raise DestinationExistsError(f"{named(lister, covered)}: would be a file and a folder at once; rename one")
    if existing - ours and not overwrite:
        raise DestinationExistsError(
            f"{named(lister, existing - ours)}: exists; choose another place, or allow overwriting"
        )
    return frozenset(existing)


class _Spellings:
    """Paths as they are written, for a store that takes two of them for one (a file share does not tell `A` from `a`)."""

    def __init__(self, url: str, wanted: Iterable[str]) -> None:
        """Remember the paths that are to be written.

        Raises:
            BadInputError: two of them are one for the store.
        """
        self._url, self._fold = url, registry.folding(url)
        self._wanted: dict[str, str] = {}
        for path in wanted:
            self._refuse(self._wanted.setdefault(self._fold(path), path), path)

    def check(self, key: str) -> None:
        """Compare a key that the store has, and its folders.

        Raises:
            BadInputError: something is to be written there in another way.
        """
        if self._fold is not str:
            for path in (key, *_folders(key)):
                self._refuse(self._wanted.get(self._fold(path), path), path)

    def _refuse(self, one: str, other: str) -> None:
        if one != other:
            raise BadInputError(f"{self._url}: {one!r} and {other!r} are one name in this store; rename one")


def _folders(key: str) -> Iterator[str]:
    end = key.rfind("/")
    while end > 0:
        yield key[:end]
        end = key.rfind("/", 0, end)


def named(lister: Lister, keys: Iterable[str]) -> str:
    """Up to three keys, for an error."""
    ordered = sorted(keys)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return f"{lister.url}: {', '.join(ordered[:3])}{more}"
