"""SQL databases by name: what v1 calls the SQL datastores. They hold no files, only answers to queries.

They stand in the workspace's `databases.json`, readable by the owner only: the address of each without its password. The
password goes to the keyring (`keeping`), and where there is none into that file. Their names are the datastores' names:
none is both. Each change reads, changes and replaces the file under a lock between processes.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from runtime.datastores import keeping
from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder
from runtime.workspace.files import locked, write_whole

_FILE: Final = "databases.json"
_LOCK: Final = ".databases.lock"


@dataclass(frozen=True, slots=True)
class DatabaseRecord:
    """A database: `kind` is v1's type, `url` its address without a password. Its secret is in `keyring`, or here."""

    name: str
    kind: str
    url: str
    keyring: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"DatabaseRecord(name={self.name!r}, kind={self.kind!r}, url={self.url!r})"


def load_all(workspace: WorkspaceFolder) -> dict[str, DatabaseRecord]:
    """Every database, by its name in lower case.

    Raises:
        UserErrorException: the file is damaged.
    """
    path = workspace.path / _FILE
    try:
        rows: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return {name.lower(): DatabaseRecord(name, **row) for name, row in rows.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserErrorException(f"{path}: cannot be read ({error}); mend or remove it") from None


def get(workspace: WorkspaceFolder, name: str) -> DatabaseRecord:
    """The database `name`.

    Raises:
        UnknownNameError: there is none.
    """
    known = load_all(workspace)
    if name.lower() not in known:
        there = ", ".join(sorted(each.name for each in known.values())) or "none"
        raise UnknownNameError(f"no SQL datastore '{name}' in the workspace {workspace.path}; there are: {there}")
    return known[name.lower()]


def password(record: DatabaseRecord) -> str:
    """Its secret; '' where it needs none.

    Raises:
        AccessDeniedError: the keyring does not give it.
    """
    return keeping.fetch(record.keyring, record.name) if record.keyring else record.secret


def add(workspace: WorkspaceFolder, record: DatabaseRecord, *, overwrite: bool) -> None:
    """Keep `record`, its secret in the keyring where there is one.

    Raises:
        UserErrorException: the name is taken and `overwrite` is False, or a datastore of files has it.
    """
    item = keeping.keep(workspace.path, record.name.lower(), record.secret) if record.secret else ""
    kept = DatabaseRecord(record.name, record.kind, record.url, item, "" if item else record.secret)
    with _changing(workspace) as known:
        old = known.get(record.name.lower())
        if old is not None and not overwrite:
            if item:
                keeping.forget(item)
            raise UserErrorException(f"datastore '{old.name}' exists; register it with overwrite=True, or another name")
        known[record.name.lower()] = kept
    if old is not None and old.keyring:
        keeping.forget(old.keyring)


def remove(workspace: WorkspaceFolder, name: str) -> None:
    """Forget the database `name`; it is not touched itself.

    Raises:
        UnknownNameError: there is none.
    """
    record = get(workspace, name)
    with _changing(workspace) as known:
        known.pop(name.lower(), None)
    if record.keyring:
        keeping.forget(record.keyring)


@contextlib.contextmanager
def _changing(workspace: WorkspaceFolder) -> Iterator[dict[str, DatabaseRecord]]:
    with locked(workspace.path / _LOCK):
        known = load_all(workspace)
        yield known
        rows = {
            each.name: {key: value for key, value in asdict(each).items() if key != "name"} for each in known.values()
        }
        write_whole(workspace.path / _FILE, json.dumps(rows, indent=1, sort_keys=True) + "\n")
