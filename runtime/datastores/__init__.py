"""Datastores: users' names for places, with the credentials to get in.

They stand in the workspace's `datastores.toml`, readable by the owner only, which users may edit by hand (`rows`). A
credential given as `env:NAME`, `file:PATH` or `command:LINE` is kept as that reference and looked up on use; a secret that
is to be kept goes to the keyring (`keeping`), and where there is none into that file. `workspaceblobstore` always exists:
the folder of that name in the workspace, unless the file says otherwise. Names are letters, digits and '_'; case does not
count. Each change reads, changes and replaces the file under a lock between processes.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.datastores import keeping, rows
from runtime.datastores.rows import BUILT_IN, CredentialRow, DatastoreRow, DatastoresFile
from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder
from runtime.workspace.files import locked, write_whole

if TYPE_CHECKING:
    from mountd.stores.credentials import Credential

__all__ = [
    "BUILT_IN",
    "DatastoreRecord",
    "add",
    "base_url",
    "check_name",
    "default_name",
    "get",
    "load_all",
    "remove",
    "secret_variables",
    "set_default",
    "with_environment",
]


@dataclass(frozen=True, slots=True)
class DatastoreRecord:
    """A datastore: `url` ends with '/'. `reference` names where its credential is looked up, if it is not kept here.

    `keyring` names the keyring's item with its secret. From `load_all` the credential of a record with a reference is None,
    and that of a record with `keyring` has no secret; `get` looks them up.
    """

    name: str
    url: str
    credential: "Credential | None" = None
    reference: str = ""
    keyring: str = ""


def load_all(workspace: WorkspaceFolder) -> dict[str, DatastoreRecord]:
    """Every datastore, by its name in lower case.

    Raises:
        UserErrorException: the file was edited into something else; names the key.
    """
    return _records(workspace, _read(workspace))


def get(workspace: WorkspaceFolder, name: str, environ: Mapping[str, str] = os.environ) -> DatastoreRecord:
    """The datastore `name`, its credential looked up.

    Raises:
        UnknownNameError: there is none; says what there is.
        NotFoundError, BadInputError: its credential's reference leads nowhere.
        AccessDeniedError: the keyring does not give its secret.
    """
    records = load_all(workspace)
    record = records.get(name.lower())
    if record is None:
        raise UnknownNameError(_unknown(workspace, name, records))
    if record.keyring and record.credential:
        kept = dataclasses.replace(record.credential, secret=keeping.fetch(record.keyring, record.name))
        return dataclasses.replace(record, credential=kept)
    if not record.reference:
        return with_environment(record, environ)
    from mountd.stores.credentials.origins import from_option

    return dataclasses.replace(record, credential=from_option(record.reference, environ))


def with_environment(record: DatastoreRecord, environ: Mapping[str, str] = os.environ) -> DatastoreRecord:
    """The record with the environment's credential, where it has none of its own and needs one."""
    from mountd.stores.credentials.origins import from_environment
    from mountd.stores.registry import takes_credentials

    if record.credential is not None or not takes_credentials(record.url):
        return record
    return dataclasses.replace(record, credential=from_environment(environ))


def secret_variables(workspace: WorkspaceFolder) -> frozenset[str]:
    """The environment variables that no process but the asking one may have: the usual ones, and where datastores point."""
    from mountd.stores.credentials import SECRET_VARIABLES

    references = (record.reference for record in load_all(workspace).values())
    named = {reference.removeprefix("env:") for reference in references if reference.startswith("env:")}
    of_catalog = {"PGPASSWORD"} if (workspace.identity().catalog or "").startswith("postgres") else set()
    return frozenset({*SECRET_VARIABLES, *named, *of_catalog})


def add(workspace: WorkspaceFolder, record: DatastoreRecord, overwrite: bool = False) -> DatastoreRecord:  # noqa: FBT001, FBT002 # v1's word, said by every caller
    """Keep `record`, with its URL in the canonical form; return what is kept.

    Raises:
        UserErrorException: the name is taken and `overwrite` is False, or is no name.
        BadInputError: the URL is none that a store speaks.
    """
    check_name(workspace, record.name, overwrite=overwrite)
    kept = dataclasses.replace(record, url=base_url(record.url))
    if kept.credential is not None and kept.credential.secret and not kept.reference:
        kept = dataclasses.replace(
            kept, keyring=keeping.keep(workspace.path, kept.name.lower(), kept.credential.secret)
        )
    try:
        with _changing(workspace) as file:
            old = _replace(file, kept, overwrite=overwrite)
    except BaseException:
        _forget(kept.keyring)
        raise
    _forget(old)
    return kept


def check_name(workspace: WorkspaceFolder, name: str, *, overwrite: bool) -> None:
    """See that a datastore may be called `name`, before anything is asked or kept for it.

    Raises:
        UserErrorException: the name is taken and `overwrite` is False, or is no name.
    """
    if not rows.is_name(name):
        raise UserErrorException(f"{name!r} is no name for a datastore: letters, digits and '_', at most 255")
    _refuse_taken(_read(workspace), name, overwrite=overwrite)


def _refuse_taken(file: DatastoresFile, name: str, *, overwrite: bool) -> str | None:
    """The name as it is written there already, if it is."""
    taken = {each.lower(): each for each in file.datastores}.get(name.lower())
    if not overwrite and (taken is not None or name.lower() == BUILT_IN):
        raise UserErrorException(
            f"datastore '{taken or BUILT_IN}' exists; add it with overwrite=True (--overwrite), or under another name"
        )
    return taken


def _replace(file: DatastoresFile, record: DatastoreRecord, *, overwrite: bool) -> str:
    """Put the record into the file; the keyring's item of the one that it replaces."""
    taken = _refuse_taken(file, record.name, overwrite=overwrite)
    old = file.datastores.pop(taken) if taken is not None else None
    file.datastores[record.name] = _row(record)
    return old.credential.keyring if old is not None and old.credential is not None else ""


def _forget(item: str) -> None:
    if item:
        keeping.forget(item)


def remove(workspace: WorkspaceFolder, name: str) -> None:
    """Forget the datastore `name`; what lies there is not touched.

    Raises:
        UnknownNameError: there is none.
        UserErrorException: it is the workspace's own.
    """
    with _changing(workspace) as file:
        present = {known.lower(): known for known in file.datastores}
        if name.lower() not in present:
            if name.lower() == BUILT_IN:
                raise UserErrorException(f"{BUILT_IN} is the workspace's own and stays")
            raise UnknownNameError(_unknown(workspace, name, _records(workspace, file)))
        row = file.datastores.pop(present[name.lower()])
        if file.default.lower() == name.lower():
            file.default = BUILT_IN
    if row.credential is not None:
        _forget(row.credential.keyring)


def default_name(workspace: WorkspaceFolder) -> str:
    """The name of the datastore that is used where none is named."""
    return _read(workspace).default


def set_default(workspace: WorkspaceFolder, name: str) -> None:
    """Use the datastore `name` where none is named.

    Raises:
        UnknownNameError: there is none.
    """
    with _changing(workspace) as file:
        records = _records(workspace, file)
        if name.lower() not in records:
            raise UnknownNameError(_unknown(workspace, name, records))
        file.default = records[name.lower()].name


def base_url(text: str) -> str:
    """The canonical URL of a place, ending in '/'; a local folder's path becomes its file URL.

    Raises:
        BadInputError: no such kind of store, or a secret in the URL.
    """
    from mountd.stores.registry import file_url, parse_source

    if "://" not in text:
        return file_url(Path(os.path.normpath(Path(text).expanduser().absolute())))
    # Checked as it stands first: a '/' put behind a SAS would hide it in the query.
    source = parse_source(text)
    return (parse_source(f"{text}/") if source.file else source).base_url


def _read(workspace: WorkspaceFolder) -> DatastoresFile:
    return rows.read(workspace.datastores_path)


@contextlib.contextmanager
def _changing(workspace: WorkspaceFolder) -> Iterator[DatastoresFile]:
    """Give the file to change; write it when the block ends well."""
    with locked(workspace.path / ".lock"):
        file = _read(workspace)
        yield file
        write_whole(workspace.datastores_path, rows.text(file.default, file.datastores))


def _records(workspace: WorkspaceFolder, file: DatastoresFile) -> dict[str, DatastoreRecord]:
    records = {BUILT_IN: DatastoreRecord(BUILT_IN, base_url(str(workspace.blobstore_path)))}
    for name, row in file.datastores.items():
        kept = row.credential or CredentialRow()
        records[name.lower()] = DatastoreRecord(
            name, base_url(row.url), _credential(kept), kept.reference, kept.keyring
        )
    return records


def _credential(row: CredentialRow) -> "Credential | None":
    if row.kind is None:
        return None
    from mountd.stores.credentials import Credential

    return Credential(row.kind, row.secret)


def _row(record: DatastoreRecord) -> DatastoreRow:
    if record.reference:
        return DatastoreRow(record.url, CredentialRow(reference=record.reference))
    found = record.credential
    if found is None:
        return DatastoreRow(record.url)
    secret = "" if record.keyring else found.secret
    return DatastoreRow(record.url, CredentialRow(found.kind, secret, keyring=record.keyring))


def _unknown(workspace: WorkspaceFolder, name: str, records: Mapping[str, DatastoreRecord]) -> str:
    known = ", ".join(sorted(record.name for record in records.values()))
    return (
        f"no datastore '{name}' in the workspace {workspace.path}, only: {known}; add it with `moorage datastore add`"
    )
