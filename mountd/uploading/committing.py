"""The commit of an output: one control object, written last, that lists every file with its ETag, length and MD5.

What it lists is what the output is: files that somebody else left below the same prefix are not in it. It is written with
the condition that there is none, or replaces the one that the same journal wrote.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mountd.errors import DestinationExistsError
from mountd.uploading.destination import COMMIT, Destination
from mountd.uploading.sending import Sender


@dataclass(frozen=True, slots=True)
class Committed:
    """An output that is whole: the ETag of each of its files, by key below the prefix."""

    etags: Mapping[str, str]
    size_bytes: int

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self.etags)


def committed(sender: Sender) -> Committed:
    """What the commit lists, or would list now."""
    rows = sender.journal.rows("SELECT key, etag, size FROM objects WHERE state = 'sent' AND NOT doomed ORDER BY key")
    return Committed({row["key"]: row["etag"] for row in rows}, sum(row["size"] for row in rows))


def commit(sender: Sender, run_id: str) -> Committed:
    """Verify all that was sent, and write the commit; whoever is killed here does it again.

    Raises:
        CorruptDataError: a file is not in the store as it was sent.
        DestinationExistsError: another run has committed the same place meanwhile.
    """
    journal, destination = sender.journal, sender.destination
    if journal.fact("commit") == "written":
        return committed(sender)
    if journal.fact("commit") != "writing":
        sender.begin()
    sender.verify()
    again = journal.fact("commit") == "writing"
    if not again:
        journal.tell("commit", "writing", durable=True)
    draft = journal.folder / COMMIT
    draft.write_text(json.dumps(_document(sender, run_id)) + "\n", "utf-8")
    sender.ownership.check()
    try:
        destination.write_control(COMMIT, draft, overwrite=again and _is_of(run_id, destination))
    except DestinationExistsError:
        journal.tell("commit", "none")
        raise DestinationExistsError(
            f"{destination.named('')}: another run has committed an output there; choose another place"
        ) from None
    journal.tell("commit", "written", durable=True)
    return committed(sender)


def _is_of(run_id: str, destination: Destination) -> bool:
    """Whether the commit that lies there, if any, is what this run was writing when it was killed."""
    found = next((info for info in destination.controls(COMMIT) if info.key == COMMIT), None)
    if found is None:
        return False
    try:
        return bool(json.loads(destination.read_control(COMMIT, found.size))["run_id"] == run_id)
    except (ValueError, TypeError, KeyError):
        return False


def _document(sender: Sender, run_id: str) -> dict[str, Any]:
    rows = sender.journal.rows("SELECT * FROM objects WHERE state = 'sent' AND NOT doomed ORDER BY key")
    files = [
        {"path": row["key"], "size": row["size"], "etag": row["etag"], "md5": row["md5"].hex() if row["md5"] else None}
        for row in rows
    ]
    return {
        "version": 2,
        "run_id": run_id,
        "prefix": sender.destination.prefix,
        "files": len(files),
        "bytes": sum(row["size"] for row in rows),
        "list": files,
    }
