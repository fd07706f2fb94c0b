"""The delivery of a folder's files to a destination, exactly once: entered in a journal, sent, verified, committed.

All conflicts are found before anything is written. Then every file is in the journal before the first one is sent, so that
a process that goes on after a kill knows what there has to be: what was sent stays, what was not is sent, and a file that
is gone before it was sent is an error.

Invariants: `deliver` returns when the commit is written, and then only; run again it changes nothing.
"""

import contextlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mountd.errors import CorruptDataError, NotFoundError
from mountd.stores.base import ObjectInfo
from mountd.uploading.committing import Committed, commit, committed
from mountd.uploading.conflicts import Item, item, refuse_conflicts
from mountd.uploading.destination import Destination
from mountd.uploading.journal import Journal
from mountd.uploading.ownership import Ownership
from mountd.uploading.sending import Sender

THREADS: Final = 8
_SHOWN: Final = 3


def deliver(
    files: Iterable[tuple[Path, str]],
    destination: Destination,
    folder: Path,
    run_id: str,
    *,
    overwrite: bool = False,
    threads: int = THREADS,
) -> Committed:
    """Store each (file, key below the prefix) and commit; `folder` is the journal's, and the same at every attempt.

    Raises:
        DestinationExistsError: objects that lie there already; nothing was written.
        BadInputError: a file or key that cannot be stored, or another process writes there; nothing was written.
        NotFoundError: a file that was entered is gone, and is not in the store.
        MountdError, OSError: the store or the disk refused; the next attempt goes on.
    """
    name = destination.url + destination.prefix
    with contextlib.closing(Journal.open(folder, name, destination.step)) as journal:
        ownership = Ownership(destination, journal.fact("owner"))
        if journal.fact("commit") == "written":
            if journal.fact("released") != "yes":  # killed between the two
                ownership.release_what_is_left()
                journal.tell("released", "yes")
            return committed(Sender(journal, destination, ownership))
        items = [item(path, destination.prefix + key) for path, key in files]
        if journal.fact("commit") != "writing":
            _refuse_conflicts(journal, destination, items, overwrite=overwrite)
        sender = Sender(journal, destination, ownership, overwrite)
        ownership.take()
        try:
            if journal.fact("commit") != "writing":
                _store(sender, items, threads)
            result = commit(sender, run_id)
        except BaseException:
            ownership.release()
            raise
        ownership.release()
        journal.tell("released", "yes")
        return result


def _refuse_conflicts(journal: Journal, destination: Destination, items: Sequence[Item], *, overwrite: bool) -> None:
    """Before anything is written; what an earlier attempt left is ours, and what it did not is refused by the store."""
    ours = frozenset(destination.prefix + row["key"] for row in journal.rows("SELECT key FROM objects"))
    refuse_conflicts(items, destination.lister, destination.prefix, overwrite=overwrite, ours=ours)


def _store(sender: Sender, items: Sequence[Item], threads: int) -> None:
    """Bring every item into the store, but for those that are there."""
    journal, destination = sender.journal, sender.destination
    found = {info.key: info for info in destination.objects()}
    sender.settle(found)
    _enter(sender, items, found)
    sender.begin()
    wanted = [(each, each.key.removeprefix(destination.prefix)) for each in items]
    pending = [(each, key) for each, key in wanted if not sender.is_sent(key, _content(each))]
    with ThreadPoolExecutor(threads, "deliver") as pool:
        sending = [pool.submit(sender.send, key, each.source, _content(each)) for each, key in pending]
        try:
            for future in sending:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if lacking := journal.rows("SELECT key FROM objects WHERE state IN ('lost', 'sending') LIMIT ?", _SHOWN):
        shown = ", ".join(row["key"] for row in lacking)
        raise NotFoundError(
            f"{destination.named('')}: {shown}: staged, and gone before it was stored; run the job again"
        )


def _enter(sender: Sender, items: Sequence[Item], found: dict[str, ObjectInfo]) -> None:
    """Write down what there has to be; what others left under the same names is pinned for the overwriting."""
    prefix = sender.destination.prefix
    with sender.journal.transaction("entered", durable=True) as connection:
        for each in items:
            key = each.key.removeprefix(prefix)
            there = found.get(key)
            connection.execute(
                "INSERT OR IGNORE INTO objects VALUES (?, 'lost', ?, NULL, ?, 0, '', 0)",
                (key, each.size, there.etag if there else ""),
            )
        connection.execute("INSERT OR REPLACE INTO facts VALUES ('entered', 'yes')")


def _content(each: Item) -> str:
    """What tells one version of a staged file from the next."""
    try:
        status = each.source.stat()
    except OSError as error:
        raise CorruptDataError(f"{each.source}: cannot be read any more ({error.strerror})") from None
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
