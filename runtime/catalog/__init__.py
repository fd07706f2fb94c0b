"""The catalog: names and versions of datasets, in one database.

A workspace's catalog is an SQLite file in its folder, or the database that its `workspace.toml` names. A version is a
row that never changes: the definition as registered, the digest of the manifest frozen then, and what people wrote about
it. Versions of a name count from 1 without a gap, also when processes register at once; a dataset saved without a name (a
job's input that nobody registered) has the name '' and version 0, and only its id.

SQLAlchemy lives in `sql`, and is imported by `open_catalog` only.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from runtime.catalog.sql import Catalog

__all__ = ["DatasetRecord", "check_name", "open_catalog"]

_MAX_NAME = 255
_RESERVED = "@:/\\="  # NAME[@VERSION]:mode, NAME=..., DATASTORE/PATH are how the command line speaks of datasets


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """One version of one dataset; `id` is a GUID, `definition` the JSON of datasets.file, `created` is in UTC."""

    id: str
    name: str
    version: int
    definition: str
    digest: str
    files: int
    size_bytes: int
    description: str
    tags: Mapping[str, str]
    created: dt.datetime


def open_catalog(workspace: WorkspaceFolder) -> "Catalog":
    """Open the workspace's catalog, made on first use; a context manager.

    Raises:
        UserErrorException: the file or URL is no catalog, or one of a newer version of Moorage.
        StoreUnreachableError: the database does not answer.
    """
    from runtime.catalog import sql

    return sql.open_database(workspace)


def check_name(name: str) -> str:
    """Return `name` if a dataset can be called so.

    Raises:
        UserErrorException: says which rule it breaks.
    """
    if not name or name != name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise UserErrorException(
            f"{name!r} is no name for a dataset: 1 to {_MAX_NAME} printable characters, no blank around"
        )
    if found := [character for character in _RESERVED if character in name]:
        raise UserErrorException(f"{name!r} is no name for a dataset: {found[0]!r} has a meaning on the command line")
    return name
