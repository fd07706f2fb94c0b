"""How far an output is: a value, taken from the journal of its spool."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mountd.uploading.journal import Journal

_SHOWN: Final = 20  # a status stays a line


@dataclass(frozen=True, slots=True)
class Progress:
    """Files that wait for their upload, files in the store, those that are open or torn, and what was refused."""

    pending_files: int
    pending_bytes: int
    uploaded_files: int
    uploaded_bytes: int
    unfinished: tuple[str, ...]  # open, or not closed when their process died
    refused: tuple[str, ...]  # `path: why`

    def told(self) -> dict[str, Any]:
        """As keys of a status."""
        return {
            "pending_files": self.pending_files,
            "pending_bytes": self.pending_bytes,
            "uploaded_files": self.uploaded_files,
            "uploaded_bytes": self.uploaded_bytes,
            "unfinished": list(self.unfinished),
            "refused": list(self.refused),
        }


def progress(journal: Journal, key_of: Callable[[int], str]) -> Progress:
    """How far the output of `journal` is; `key_of` names an inode."""
    pending = journal.rows("SELECT count(*) AS n, coalesce(sum(size), 0) AS bytes FROM nodes WHERE pending")[0]
    sent = "SELECT count(*) AS n, coalesce(sum(size), 0) AS bytes FROM objects WHERE state = 'sent' AND NOT doomed"
    done = journal.rows(sent)[0]
    unfinished = journal.rows("SELECT inode FROM nodes WHERE state != 'closed' ORDER BY inode LIMIT ?", _SHOWN)
    refused = journal.rows("SELECT inode, error FROM nodes WHERE error NOT NULL ORDER BY inode LIMIT ?", _SHOWN)
    return Progress(
        pending["n"],
        pending["bytes"],
        done["n"],
        done["bytes"],
        tuple(key_of(row["inode"]) for row in unfinished),
        tuple(f"{key_of(row['inode'])}: {row['error']}" for row in refused),
    )
