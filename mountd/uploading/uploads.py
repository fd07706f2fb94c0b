"""Uploads in the background: what was closed long enough ago is sent, what is doomed is removed, both a few at a time.

One thread looks for work and gives it to a pool; no key is worked on twice at once, so a store never sees a removal overtake
a write. A file that the store refuses is left alone until it is written again or somebody asks for all of it (`drain`); a
store that cannot be reached is asked again later.

The lock protects what is under way and what was refused; nothing but dictionary work is done under it.
"""

import itertools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from mountd.errors import MountdError, StoreUnreachableError
from mountd.uploading.nodes import Nodes
from mountd.uploading.opened import Staging
from mountd.uploading.sending import Sender

_LOG = logging.getLogger(__name__)
_AGAIN_S: Final = 15.0
_ROOM_WAIT_S: Final = 60.0
_WAY_WAIT_S: Final = 60.0
_PAGE: Final = 64


class Uploads:
    """Brings the store to what the tree is; from `start` to `close`."""

    def __init__(
        self,
        staging: Staging,
        nodes: Nodes,
        sender: Sender,
        settle_s: float,
        most: int,
        is_open: Callable[[int], bool],
    ) -> None:
        self._staging, self._nodes, self._sender, self._is_open = staging, nodes, sender, is_open
        self._settle_s, self._most = settle_s, most
        self._changed = threading.Condition()
        self._under_way: set[str] = set()
        self._untold: set[int] = set()
        self._failures: dict[int, MountdError] = {}
        self._stuck: dict[str, tuple[MountdError, float]] = {}  # what could not be removed, and until when it is left
        self._again: dict[int, float] = {}
        self._draining = 0
        self._end = False
        self._pool = ThreadPoolExecutor(most, "upload")
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, after what is under way."""
        with self._changed:
            self._end = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.shutdown()

    def ring(self) -> None:
        """Something was closed, moved or removed."""
        with self._changed:
            self._changed.notify_all()

    def drain(self) -> None:
        """Send and remove all there is to, without waiting for it to settle; what is refused stays pending."""
        with self._staging.journal.transaction("drain") as connection:
            connection.execute("UPDATE nodes SET error = NULL WHERE error NOT NULL")
        with self._changed:
            self._stuck.clear()
            self._again.clear()
            self._draining += 1
            self._changed.notify_all()
        try:
            while not self._end and (self._work(1) or self._under_way):
                with self._changed:
                    self._changed.wait(0.05)
        finally:
            with self._changed:
                self._draining -= 1

    def refusals(self) -> list[tuple[str, MountdError]]:
        """What the store refused to take or to let go, with why."""
        rows = self._staging.journal.rows(
            "SELECT inode, error FROM nodes WHERE pending AND state = 'closed' ORDER BY inode"
        )
        with self._changed:
            failures, stuck = dict(self._failures), {key: error for key, (error, _) in self._stuck.items()}
        blocked = StoreUnreachableError("something lies in its way in the store")
        files = [(self._nodes.key(row["inode"]), failures.get(row["inode"], blocked)) for row in rows]
        return files + sorted(stuck.items())

    def take_refusal(self, inode: int) -> MountdError | None:
        """Why the store refused the file, if nobody was told yet."""
        with self._changed:
            if inode not in self._untold:
                return None
            self._untold.discard(inode)
            return self._failures.get(inode)

    def relieve(self) -> bool:
        """Make room in the spool: drop what the store has, or wait for an upload; False if neither helps."""
        if self._drop_one():
            return True
        end_s = time.monotonic() + _ROOM_WAIT_S
        with self._changed:
            self._draining += 1  # what was closed need not settle now
            self._changed.notify_all()
        try:
            while time.monotonic() < end_s and (self._work(1) or self._under_way):
                with self._changed:
                    self._changed.wait(0.1)
                if self._drop_one():
                    return True
        finally:
            with self._changed:
                self._draining -= 1
        return self._drop_one()

    def send_now(self, inode: int, stage: int, generation: int) -> None:
        """Send a sealed content in this thread; errors as the store raises them."""
        key = self._nodes.key(inode)
        end_s = time.monotonic() + _WAY_WAIT_S
        while True:
            is_free = not self._is_blocked(key)
            with self._changed:
                if is_free and not self._collides(key):
                    self._under_way.add(key)
                    break
                self._changed.wait(0.1)
            if time.monotonic() > end_s:
                raise StoreUnreachableError(f"{key}: what lies in its way in the store could not be removed in time")
        try:
            self._bring_to_store(inode, stage, generation, key)
        finally:
            self._done(key)

    def _drop_one(self) -> bool:
        """Forget the stage of one file that the store has, and that nobody has open."""
        journal, stages = self._staging.journal, self._staging.stages
        for row in journal.rows(
            "SELECT inode, stage FROM nodes WHERE stage NOT NULL AND NOT pending AND state = 'closed' ORDER BY closed_s"
        ):
            inode, stage = row["inode"], row["stage"]
            if self._is_open(inode):
                continue
            with journal.transaction("dropped") as connection:
                drop = "UPDATE nodes SET stage = NULL WHERE inode = ? AND stage = ? AND NOT pending"
                dropped = connection.execute(drop, (inode, stage)).rowcount
            if not dropped:  # written to meanwhile
                continue
            if self._is_open(inode):  # whoever opened it since may have found the stage
                with journal.transaction("kept") as connection:
                    keep = "UPDATE nodes SET stage = ? WHERE inode = ? AND stage IS NULL AND NOT pending"
                    connection.execute(keep, (stage, inode))
                continue
            stages.remove(stage)
            return True
        return False

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._end:
                    return
                room = self._most - len(self._under_way)
            jobs = self._claimed(room) if room > 0 else []
            for key, job in jobs:
                self._pool.submit(self._guarded, key, job)
            if not jobs:
                with self._changed:
                    if not self._end:
                        self._changed.wait(0.05 if self._draining else max(0.05, min(1.0, self._settle_s)))

    def _claimed(self, most: int) -> list[tuple[str, Callable[[], None]]]:
        try:
            self._forgive()
            found = self._work(most + len(self._under_way))
        except OSError:
            _LOG.exception("the journal of an output cannot be read")
            return []
        claimed: list[tuple[str, Callable[[], None]]] = []
        with self._changed:
            for key, job in found:
                if len(claimed) < most and not self._collides(key):
                    self._under_way.add(key)
                    claimed.append((key, job))
        return claimed

    def _collides(self, key: str) -> bool:
        """True if the key, one above or one below it is being worked on; the caller has the lock."""
        return any(_in_line(key, other) for other in self._under_way)

    def _guarded(self, key: str, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:  # noqa: BLE001 # a thread of the pool has nobody to tell
            _LOG.exception("a defect while %s was brought to the store", key)
        finally:
            self._done(key)

    def _done(self, key: str) -> None:
        with self._changed:
            self._under_way.discard(key)
            self._changed.notify_all()

    def _work(self, most: int) -> list[tuple[str, Callable[[], None]]]:
        """Up to `most` jobs that may begin now: first removals, then files by the time they were closed."""
        journal = self._staging.journal
        found: list[tuple[str, Callable[[], None]]] = []
        with self._changed:
            stuck, paused = set(self._stuck), set(self._again)
        for row in journal.rows("SELECT key FROM objects WHERE doomed"):
            key = row["key"]
            if key not in stuck and self._may_go(key):
                found.append((key, lambda key=key: self._remove(key)))  # type: ignore[misc]
        now_s = time.time()
        for row in self._pending():
            if len(found) >= most:
                break
            if 0 <= now_s - row["closed_s"] < self._settle_s and not self._draining:
                continue
            if row["inode"] in paused:
                continue
            with suppress(OSError):  # it was removed meanwhile
                found.extend(self._job(row["inode"], row["stage"]))
        return found

    def _pending(self) -> Iterator[sqlite3.Row]:
        """What waits to be sent by the time that it was closed: however many at the head may not go yet."""
        query = "SELECT inode, stage, closed_s FROM nodes WHERE pending AND state = 'closed' AND error IS NULL"
        for number in itertools.count():
            rows = self._staging.journal.rows(
                f"{query} ORDER BY closed_s LIMIT ? OFFSET ?",
                _PAGE,
                number * _PAGE,  # our own text
            )
            yield from rows
            if len(rows) < _PAGE:
                return

    def _job(self, inode: int, stage: int | None) -> list[tuple[str, Callable[[], None]]]:
        """What brings a pending file nearer to the store; nothing while something doomed lies in its way."""
        key = self._nodes.key(inode)
        if stage is None:
            return [(key, lambda: self._bring(inode))]
        return [] if self._is_blocked(key) else [(key, lambda: self._send(inode, key))]

    def _is_blocked(self, key: str) -> bool:
        """True while a doomed object is a folder of the key, or below it: a file system cannot hold both.

        Also while the bytes of a moved file are in the object with this key, and nowhere else.
        """
        if self._is_needed(key):
            return True
        doomed = self._staging.journal.rows("SELECT key FROM objects WHERE doomed AND key != ?", key)
        return any(_in_line(key, row["key"]) for row in doomed)

    def _may_go(self, key: str) -> bool:
        """No file has the name, and none needs the bytes."""
        at = self._nodes.at(key)
        if at is not None and not at["is_directory"]:
            return False
        return not self._is_needed(key)

    def _is_needed(self, key: str) -> bool:
        found = self._staging.journal.row("SELECT 1 FROM nodes WHERE held = ? AND stage IS NULL LIMIT 1", key)
        return found is not None

    def _remove(self, key: str) -> None:
        try:
            self._sender.begin()
            if self._may_go(key):
                self._sender.remove(key)
        except (MountdError, OSError) as error:
            _LOG.warning("%s: cannot be removed from the store: %s", key, error)
            with self._changed:
                self._stuck[key] = (_as_ours(error), time.monotonic() + _AGAIN_S)

    def _send(self, inode: int, key: str) -> None:
        try:
            row = self._nodes.row(inode)
            if row["stage"] is None:
                return
            with self._staging.stages.hold(row["stage"]):
                again = self._nodes.row(inode)
                same = (again["state"], again["stage"], again["generation"]) == (
                    "closed",
                    row["stage"],
                    row["generation"],
                )
                if same and self._nodes.key(inode) == key:
                    self._bring_to_store(inode, row["stage"], row["generation"], key)
        except (MountdError, OSError) as error:
            self._note_refusal(inode, error)

    def _bring(self, inode: int) -> None:
        """The bytes of a moved file, which only the store has, come here before they go there again."""
        try:
            row = self._nodes.row(inode)
            if row["stage"] is not None or row["held"] is None:
                return
            stage, descriptor = self._staging.bring(inode)
            os.close(descriptor)
            with self._staging.journal.transaction("brought") as connection:
                connection.execute(
                    "UPDATE nodes SET stage = ? WHERE inode = ? AND stage IS NULL AND generation = ?",
                    (stage, inode, row["generation"]),
                )
            again = self._staging.journal.row("SELECT stage FROM nodes WHERE inode = ?", inode)
            if again is None or again["stage"] != stage:
                self._staging.stages.remove(stage)
        except (MountdError, OSError) as error:
            self._note_refusal(inode, error)

    def _bring_to_store(self, inode: int, stage: int, generation: int, key: str) -> None:
        """Send one content under one name, and tell the journal what that settles."""
        content = f"{inode}.{generation}"

        def settled(connection: sqlite3.Connection) -> None:
            now = connection.execute("SELECT generation FROM nodes WHERE inode = ?", (inode,)).fetchone()
            there = self._nodes.at(key)
            if now is not None and now["generation"] == generation:
                connection.execute("UPDATE nodes SET held = ? WHERE inode = ?", (key, inode))
                if there is not None and there["inode"] == inode:
                    connection.execute("UPDATE nodes SET pending = 0, error = NULL WHERE inode = ?", (inode,))
            gone = there is None or bool(there["is_directory"])
            connection.execute("UPDATE objects SET doomed = ? WHERE key = ?", (gone, key))

        self._sender.begin()
        if self._sender.is_sent(key, content):  # by a process that died before it could say so
            with self._staging.journal.transaction(f"settled {key}") as connection:
                settled(connection)
            return
        self._sender.send(key, self._staging.stages.path(stage), content, settled)

    def _note_refusal(self, inode: int, error: MountdError | OSError) -> None:
        told = _as_ours(error)
        with suppress(OSError), self._staging.journal.transaction("refused") as connection:
            connection.execute("UPDATE nodes SET error = ? WHERE inode = ? AND pending", (str(told), inode))
        with self._changed:
            self._failures[inode] = told
            self._untold.add(inode)
        _LOG.warning("a file of an output was not stored: %s", told)
        if isinstance(told, StoreUnreachableError):  # also a disk that refuses, perhaps the journal itself
            with self._changed:
                self._again[inode] = time.monotonic() + _AGAIN_S

    def _forgive(self) -> None:
        """Let what could not be reached be tried again in time."""
        now_s = time.monotonic()
        with self._changed:
            due = [inode for inode, at_s in self._again.items() if at_s < now_s]
            for inode in due:
                del self._again[inode]
            self._stuck = {key: found for key, found in self._stuck.items() if found[1] > now_s}
        if due:
            with self._staging.journal.transaction("again") as connection:
                connection.executemany("UPDATE nodes SET error = NULL WHERE inode = ?", ((inode,) for inode in due))


def _as_ours(error: MountdError | OSError) -> MountdError:
    return error if isinstance(error, MountdError) else StoreUnreachableError(str(error))


def _in_line(one: str, other: str) -> bool:
    """True if the keys are one, or one is a folder of the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")
