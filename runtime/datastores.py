"""Datastores: users' names for places, with the credentials to get in.

They stand in the workspace's `datastores.toml`, readable by the owner only, which users may edit by hand:

    default = "training"
    [datastores.training]
    url = "https://account.blob.core.windows.net/container/"
    [datastores.training.credential]
    reference = "env:TRAINING_KEY"        # or: kind = "key" and secret = "..."

A credential given as `env:NAME` or `file:PATH` is kept as that reference and looked up on use. `workspaceblobstore` always
exists: the folder of that name in the workspace, unless the file says otherwise. Names are letters, digits and '_'; case
does not count. Each change reads, changes and replaces the file under a lock between processes.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder
from runtime.workspace.files import locked, read_toml, toml_text, write_whole

if TYPE_CHECKING:
    from mountd.stores.credentials import Credential

BUILT_IN = "workspaceblobstore"
_NAME = re.compile(r"[A-Za-z0-9_]{1,255}")
_KEYS = ("default", "datastores", "url", "credential", "kind", "secret", "reference")
_FORBID: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class DatastoreRecord:
    """A datastore: `url` ends with '/'. `reference` names where its credential is looked up, if it is not kept here.

    From `load_all` the credential of a record with a reference is None; `get` looks it up.
    """

    name: str
    url: str
    credential: "Credential | None" = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class _CredentialRow:
    __pydantic_config__: ClassVar[dict[str, object]] = _FORBID
    kind: Literal["anonymous", "key", "sas", "connection_string", "azure_default"] | None = None
    secret: str = field(default="", repr=False)
    reference: str = ""


@dataclass(frozen=True, slots=True)
class _DatastoreRow:
    __pydantic_config__: ClassVar[dict[str, object]] = _FORBID
    url: str
    credential: _CredentialRow | None = None


@dataclass(slots=True)
class _File:
    __pydantic_config__: ClassVar[dict[str, object]] = _FORBID
    default: str = BUILT_IN
    datastores: dict[str, _DatastoreRow] = field(default_factory=dict)


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
        BadInputError: its credential's reference leads nowhere.
    """
    records = load_all(workspace)
    record = records.get(name.lower())
    if record is None:
        raise UnknownNameError(_unknown(workspace, name, records))
    if not record.reference:
        return record
    from mountd.stores.credentials import from_option

    return dataclasses.replace(record, credential=from_option(record.reference, environ))


def add(workspace: WorkspaceFolder, record: DatastoreRecord, overwrite: bool = False) -> DatastoreRecord:  # noqa: FBT001, FBT002 # v1's word, said by every caller
    """Keep `record`, with its URL in the canonical form; return what is kept.

    Raises:
        UserErrorException: the name is taken and `overwrite` is False, or is no name.
        BadInputError: the URL is none that a store speaks.
    """
    if not _NAME.fullmatch(record.name):
        raise UserErrorException(f"{record.name!r} is no name for a datastore: letters, digits and '_', at most 255")
    kept = dataclasses.replace(record, url=base_url(record.url))
    with _changing(workspace) as file:
        present = {name.lower(): name for name in file.datastores}
        taken = present.get(kept.name.lower())
        if not overwrite and (taken is not None or kept.name.lower() == BUILT_IN):
            raise UserErrorException(
                f"datastore '{taken or BUILT_IN}' exists; add it with overwrite=True (--overwrite), or under another name"
            )
        if taken is not None:
            del file.datastores[taken]
        file.datastores[kept.name] = _row(kept)
    return kept


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
        del file.datastores[present[name.lower()]]
        if file.default.lower() == name.lower():
            file.default = BUILT_IN


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


def _read(workspace: WorkspaceFolder) -> _File:
    if not workspace.datastores_path.exists():
        return _File()
    return read_toml(workspace.datastores_path, _File, _KEYS)


@contextlib.contextmanager
def _changing(workspace: WorkspaceFolder) -> Iterator[_File]:
    """Give the file to change; write it when the block ends well."""
    with locked(workspace.path / ".lock"):
        file = _read(workspace)
        yield file
        write_whole(workspace.datastores_path, _text(file))


def _records(workspace: WorkspaceFolder, file: _File) -> dict[str, DatastoreRecord]:
    records = {BUILT_IN: DatastoreRecord(BUILT_IN, base_url(str(workspace.blobstore_path)))}
    for name, row in file.datastores.items():
        if not _NAME.fullmatch(name):
            raise UserErrorException(f"{workspace.datastores_path}: {name!r} is no name: letters, digits and '_'")
        credential = row.credential or _CredentialRow()
        both_or_none = bool(credential.reference) == bool(credential.kind)
        if row.credential and (both_or_none or (credential.secret and not credential.kind)):
            raise UserErrorException(
                f"{workspace.datastores_path}: the credential of '{name}' needs a reference, or a kind with its secret"
            )
        records[name.lower()] = DatastoreRecord(name, base_url(row.url), _credential(credential), credential.reference)
    return records


def _credential(row: _CredentialRow) -> "Credential | None":
    if row.kind is None:
        return None
    from mountd.stores.credentials import Credential

    return Credential(row.kind, row.secret)


def _row(record: DatastoreRecord) -> _DatastoreRow:
    if record.reference:
        return _DatastoreRow(record.url, _CredentialRow(reference=record.reference))
    if record.credential is None:
        return _DatastoreRow(record.url)
    return _DatastoreRow(record.url, _CredentialRow(record.credential.kind, record.credential.secret))


def _text(file: _File) -> str:
    lines = ["# Moorage's datastores; holds secrets.", f"default = {toml_text(file.default)}"]
    for name, row in sorted(file.datastores.items()):
        lines += ["", f"[datastores.{name}]", f"url = {toml_text(row.url)}"]
        if row.credential is not None:
            values = {key: getattr(row.credential, key) for key in ("kind", "secret", "reference")}
            lines.append(f"[datastores.{name}.credential]")
            lines += [f"{key} = {toml_text(value)}" for key, value in values.items() if value]
    return "\n".join(lines) + "\n"


def _unknown(workspace: WorkspaceFolder, name: str, records: Mapping[str, DatastoreRecord]) -> str:
    known = ", ".join(sorted(record.name for record in records.values()))
    return (
        f"no datastore '{name}' in the workspace {workspace.path}, only: {known}; add it with `moorage datastore add`"
    )
