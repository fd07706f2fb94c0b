"""Files to a store: all conflicts found first, then parallel writes, then the store's own listing as the witness.

Nothing is written before every key is known to be free (or may be overwritten) and to make a tree that can be frozen again:
no key that is another one's folder. Each file's MD5 is taken from the local bytes; what the store says of the object after
its write, and what its listing says when all are written, must agree in length, and in MD5 where the store has one.

Invariants: an upload that fails removes the objects it made (those that were there before are never removed); nothing is
reported as uploaded that a listing does not show. All calls of `progress` come from the calling thread.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mountd.errors import BadInputError, CorruptDataError, MountdError
from mountd.stores.base import Lister, ObjectInfo, Writer
from mountd.uploading.conflicts import Item, item, named, refuse_conflicts

THREADS: Final = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What is in the store now; `objects` in the order of the files given."""

    files: int
    size_bytes: int
    objects: tuple[ObjectInfo, ...]


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
    items = [item(path, prefix + key) for path, key in files]
    if not items:
        return Uploaded(0, 0, ())
    before = refuse_conflicts(items, lister, prefix, overwrite=overwrite)
    written: dict[str, ObjectInfo] = {}
    try:
        _write_all(items, writer, written, threads, progress or (lambda _, __: None), overwrite=overwrite)
        _verify(written, lister, prefix)
    except BaseException:
        _take_back([info for key, info in written.items() if key not in before], writer, lister, prefix)
        raise
    return Uploaded(len(items), sum(each.size for each in items), tuple(written[each.key] for each in items))


def _write_all(
    items: Sequence[Item],
    writer: Writer,
    written: dict[str, ObjectInfo],
    threads: int,
    report: Progress,
    *,
    overwrite: bool,
) -> None:
    """Write every item and fill `written`, also with what was under way when the first error came."""
    total, done = sum(each.size for each in items), 0
    report(0, total)
    pool = ThreadPoolExecutor(threads, "upload")
    futures = [pool.submit(_write, each, writer, overwrite, written) for each in items]
    try:
        for future in as_completed(futures):
            done += future.result()
            report(done, total)
    finally:
        pool.shutdown(cancel_futures=True)


def _write(item: Item, writer: Writer, overwrite: bool, written: dict[str, ObjectInfo]) -> int:  # noqa: FBT001
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
        raise CorruptDataError(f"{named(lister, missing)}: written, but the store does not list it; upload again")


def _take_back(written: Sequence[ObjectInfo], writer: Writer, lister: Lister, prefix: str) -> None:
    """Remove what this upload made, unless someone replaced it meanwhile; best effort, the first error is the one told."""
    ours = {info.key: info.etag for info in written}
    if not ours:
        return
    with suppress(MountdError):
        found = [listed.key for listed in lister.list(prefix) if ours.get(listed.key) == listed.etag]
        for key in found:
            writer.delete(key)
