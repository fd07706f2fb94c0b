"""The spool of an output: a file system to write to, its journal and staged bytes, and the uploads that follow.

    filesystem  what a driver calls: names in the journal (`nodes`), bytes in plain files (`stages`), open files (`opened`)
    uploads     a file is sent when it has been closed for `settle_s`, so that writing aside and renaming costs one upload
    commit      everything closed is in the store and verified; then the commit object says so

What lies at the destination when the spool is first opened is listed once and read pinned; it is brought here when somebody
writes to it. A process that is killed at any point leaves a spool that the next one opens: what was closed is sent, what was
open and not closed is kept, named as incomplete, and not sent.
"""

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from mountd.errors import BadInputError, MountdError
from mountd.uploading.committing import Committed, commit, committed
from mountd.uploading.destination import Destination
from mountd.uploading.filesystem import FileSystem
from mountd.uploading.journal import Journal
from mountd.uploading.nodes import Nodes
from mountd.uploading.opened import Staging
from mountd.uploading.ownership import Ownership
from mountd.uploading.progress import Progress, progress
from mountd.uploading.sending import Sender
from mountd.uploading.stages import Stages
from mountd.uploading.uploads import Uploads

SETTLE_S: Final = 2.0
LIMIT_BYTES: Final = 64 << 30
UPLOADS: Final = 4
_SHOWN: Final = 5
_POLL_S: Final = 0.05


class Spool(FileSystem):
    """A `Tree` whose files reach the destination; made by `open_spool`, ended by `close`."""

    def __init__(self, staging: Staging, sender: Sender, *, settle_s: float, uploads: int, remote: bool) -> None:
        nodes = Nodes(staging.journal)
        super().__init__(
            staging, nodes, Uploads(staging, nodes, sender, settle_s, uploads, self.is_open), remote=remote
        )
        self._sender = sender
        staging.stages.relieve = self._uploads.relieve

    def recover(self) -> None:
        """Go on where the last process was cut short; the first one lists what is there."""
        journal, sender = self._journal, self._sender
        if journal.fact("listed") != "yes":
            objects = list(sender.destination.objects())
            if journal.row("SELECT 1 FROM nodes") is None:
                self._nodes.plant(objects)
            sender.note_found([info for info in objects if not info.is_directory and not info.key.endswith("/")])
        elif journal.row("SELECT 1 FROM objects WHERE state = 'sending'"):
            sender.settle({info.key: info for info in sender.destination.objects()})
        stages = {row["stage"] for row in journal.rows("SELECT stage FROM nodes WHERE stage NOT NULL")}
        self._staging.stages.keep(stages)
        self._replace_missing(stages)
        torn = journal.rows("SELECT * FROM nodes WHERE state = 'open'")
        with journal.transaction("recovered") as connection:
            for row in torn:
                state = "closed" if row["flushed"] else "broken"
                size = self._staging.stages.size(row["stage"])
                connection.execute("UPDATE nodes SET state = ?, size = ? WHERE inode = ?", (state, size, row["inode"]))
            connection.execute("UPDATE nodes SET error = NULL WHERE error NOT NULL")
        self._uploads.start()

    def _replace_missing(self, stages: Collection[int]) -> None:
        """A power cut may take the last steps back, and not that their stages were removed.

        Bytes that the store has are there still; of others the file is named as incomplete, and empty.
        """
        for missing in (each for each in stages if not self._staging.stages.has(each)):
            stage, descriptor = self._staging.stages.new()
            os.close(descriptor)
            with self._journal.transaction("missing") as connection:
                connection.execute(
                    "UPDATE nodes SET stage = NULL WHERE stage = ? AND held NOT NULL AND NOT pending", (missing,)
                )
                connection.execute(
                    "UPDATE nodes SET stage = ?, size = 0, state = 'open', flushed = 0 WHERE stage = ?",
                    (stage, missing),
                )

    def close(self) -> None:
        """End all threads; what is not in the store yet stays in the spool for the next process."""
        self._uploads.close()
        self.end()
        self._sender.ownership.release()
        self._journal.close()

    def commit(self, run_id: str, wait_s: float = 0) -> Committed:
        """Bring everything that was closed to the store, verify it, and write the commit.

        `wait_s`: how long to wait for the last close of files that are open for writing.

        Raises:
            BadInputError: files are open, or were when their process died; names them.
            MountdError: the store refused files, or has lost some; names them.
        """
        end_s = time.monotonic() + wait_s
        while self.open_paths() and time.monotonic() < end_s:
            time.sleep(_POLL_S)
        self._uploads.drain()
        for problem in (self._unfinished(), self._refused()):
            if problem is not None:
                raise problem
        return commit(self._sender, run_id)

    def committed(self) -> Committed:
        """What the commit lists, or would list now."""
        return committed(self._sender)

    def drain(self) -> list[str]:
        """Bring everything that was closed to the store, without a commit; a line for each file that is not there whole."""
        self._uploads.drain()
        told = self.progress()
        return [*told.refused, *(f"{path}: was not closed by whoever wrote it" for path in told.unfinished)]

    def progress(self) -> Progress:
        """How far it is."""
        return progress(self._journal, self._nodes.key)

    def status(self) -> Mapping[str, int]:
        """How many files wait, are not closed, were refused, and how many bytes are staged."""
        counted = self._journal.rows(
            "SELECT count(*) AS files, sum(pending AND state = 'closed') AS waiting, sum(state = 'open') AS open,"
            " sum(state = 'broken') AS broken, sum(error NOT NULL) AS refused FROM nodes WHERE NOT is_directory"
        )[0]
        told = {name: int(counted[name] or 0) for name in counted.keys()}  # noqa: SIM118 # a Row iterates over values
        return told | {"staged_bytes": self._staging.stages.used_bytes}

    def _unfinished(self) -> MountdError | None:
        rows = self._journal.rows("SELECT inode FROM nodes WHERE state != 'closed' ORDER BY inode")
        if not rows:
            return None
        keys = [self._nodes.key(row["inode"]) for row in rows]
        return BadInputError(f"{_shown(keys)}: was not closed by whoever wrote it; write it again, or remove it")

    def _refused(self) -> MountdError | None:
        refusals = self._uploads.refusals()
        if not refusals:
            return None
        error = refusals[0][1]
        return type(error)(f"not stored: {_shown([key for key, _ in refusals])}: {error}")


def open_spool(
    destination: Destination,
    folder: Path,
    *,
    settle_s: float = SETTLE_S,
    limit_bytes: int = LIMIT_BYTES,
    uploads: int = UPLOADS,
    remote: bool = False,
) -> Spool:
    """Open the spool in `folder`, or begin one, and become the one that writes to the destination.

    `uploads` is how many files are sent at once; with `remote`, fsync returns when the file is in the store.

    Raises:
        BadInputError: another process has the spool or writes to the place; it is for another place.
        MountdError: as the store raises it; nothing was written.
        OSError: the disk refuses.
    """
    journal = Journal.open(folder, destination.url + destination.prefix, destination.step)
    ownership = Ownership(destination, journal.fact("owner"))
    try:
        staging = Staging(journal, Stages(folder / "stages", limit_bytes), destination)
        ownership.take()
        spool = Spool(
            staging, Sender(journal, destination, ownership), settle_s=settle_s, uploads=uploads, remote=remote
        )
        spool.recover()
    except BaseException:
        ownership.release()
        journal.close()
        raise
    return spool


def _shown(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
