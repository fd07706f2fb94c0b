"""Files to a store: all conflicts found first, then parallel writes, then the store's own listing as the witness.

Nothing is written before every key is known to be free (or may be overwritten) and to make a tree that can be frozen again:
no key that is another one's folder. Each file's MD5 is taken from the local bytes; what the store says of the object after
its write, and what its listing says when all are written, must agree in length, and in MD5 where the store has one.

Invariants: an upload that fails removes the objects it made (those that were there before are never removed); nothing is
reported as uploaded that a listing does not show. All calls of `progress` come from the calling thread.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from mountd.dataset import paths
from mountd.errors import BadInputError, CorruptDataError, DestinationExistsError, MountdError, NotFoundError
from mountd.stores import registry
from mountd.stores.base import Lister, ObjectInfo, Writer

THREADS: Final = 8
_OWN: Final = ".moorage"  # control objects live there, and listings skip it

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What is in the store now; `objects` in the order of the files given."""

    files: int
    size_bytes: int
    objects: tuple[ObjectInfo, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    source: Path
    key: str
    size: int


def upload(
    files: Iterable[tuple[Path, str]],
    writer: Writer,
    lister: Lister,
    *,
    prefix: str = "",
    overwrite: bool = False,
    threads: int = THREADS,
    progress: Progress | None = None,
) -> Uploaded:
    """Store each (file, key) below `prefix` ('' or ending in '/'), whole and verified; all of them or none.

    `progress` gets (bytes written, bytes in all).

    Raises:
        DestinationExistsError: keys that exist, or whose folder is an object; names up to three, nothing was written.
        BadInputError: a key or file that cannot be uploaded; nothing was written.
        CorruptDataError: the store holds something else than the file, naming it.
        MountdError: as the store raises it.
    """
    items = [_item(path, prefix + key) for path, key in files]
    if not items:
        return Uploaded(0, 0, ())
    before = _refuse_conflicts(items, lister, prefix, overwrite=overwrite)
    written: dict[str, ObjectInfo] = {}
    try:
        _write_all(items, writer, written, threads, progress or (lambda _, __: None), overwrite=overwrite)
        _verify(written, lister, prefix)
    except BaseException:
        _take_back([info for key, info in written.items() if key not in before], writer, lister, prefix)
        raise
    return Uploaded(len(items), sum(item.size for item in items), tuple(written[item.key] for item in items))


def _item(path: Path, key: str) -> _Item:
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
    return _Item(path, key, found.st_size)


def _refuse_conflicts(items: Sequence[_Item], lister: Lister, prefix: str, *, overwrite: bool) -> frozenset[str]:
    """The wanted keys that exist already, once it is clear that they may."""
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
        raise DestinationExistsError(f"{_named(lister, covered)}: would be a file and a folder at once; rename one")
    if existing and not overwrite:
        raise DestinationExistsError(f"{_named(lister, existing)}: exists; choose another place, or allow overwriting")
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


def _named(lister: Lister, keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return f"{lister.url}: {', '.join(ordered[:3])}{more}"


def _write_all(
    items: Sequence[_Item],
    writer: Writer,
    written: dict[str, ObjectInfo],
    threads: int,
    report: Progress,
    *,
    overwrite: bool,
) -> None:
    """Write every item and fill `written`, also with what was under way when the first error came."""
    total, done = sum(item.size for item in items), 0
    report(0, total)
    pool = ThreadPoolExecutor(threads, "upload")
    futures = [pool.submit(_write, item, writer, overwrite, written) for item in items]
    try:
        for future in as_completed(futures):
            done += future.result()
            report(done, total)
    finally:
        pool.shutdown(cancel_futures=True)


def _write(item: _Item, writer: Writer, overwrite: bool, written: dict[str, ObjectInfo]) -> int:  # noqa: FBT001
    """Store one file; `overwrite` is positional because an executor calls. The dict is safe: each thread has its own key."""
    try:
        with item.source.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
    except OSError as error:
        raise BadInputError(f"{item.source}: cannot be read any more ({error.strerror})") from None
    info = writer.write(item.key, item.source, overwrite=overwrite)
    written[item.key] = info
    if info.size != item.size or (info.md5 is not None and info.md5 != digest):
        raise CorruptDataError(
            f"{item.source}: changed while it was uploaded to {writer.url}{item.key}; upload it again"
        )
    return item.size


def _verify(written: dict[str, ObjectInfo], lister: Lister, prefix: str) -> None:
    """Ask the store for its listing: every object must be there as it was written."""
    missing = dict(written)
    for listed in lister.list(prefix):
        info = missing.pop(listed.key, None)
        if info is None:
            continue
        other_md5 = listed.md5 is not None and info.md5 is not None and listed.md5 != info.md5
        if listed.size != info.size or other_md5:
            raise CorruptDataError(f"{lister.url}{listed.key}: the store lists another object than the one written")
    if missing:
        raise CorruptDataError(f"{_named(lister, missing)}: written, but the store does not list it; upload again")


def _take_back(written: Sequence[ObjectInfo], writer: Writer, lister: Lister, prefix: str) -> None:
    """Remove what this upload made, unless someone replaced it meanwhile; best effort, the first error is the one told."""
    ours = {info.key: info.etag for info in written}
    if not ours:
        return
    with suppress(MountdError):
        found = [listed.key for listed in lister.list(prefix) if ours.get(listed.key) == listed.etag]
        for key in found:
            writer.delete(key)
