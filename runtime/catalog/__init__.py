"""The catalog: names and versions of datasets, and the runs that made and read them, in one database.

    sql          the catalog's questions and answers        tables    what it keeps
    naming       numbers, names, tags                       lineage   which run made a version, which read it
    database     SQLite or PostgreSQL, transactions         failures  what is said when a database refuses
    schema       making and migrating the tables            migrations/  their history, run by Alembic

A workspace's catalog is an SQLite file in its folder, or the database that its `workspace.toml` names. Of a version, the
definition as registered and the digest of the manifest frozen then never change; its description, tags and name may.
Versions of a name count from 1 without a gap, also when processes register at once, and no number is given twice: NAME@2
is what it always was, or an error. A dataset without a name (a job's input that nobody registered, or one that was
unregistered) has the name '' and version 0, and only its id.

SQLAlchemy is imported by `open_catalog` only.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from runtime.catalog.sql import Catalog

__all__ = ["DatasetRecord", "Lineage", "Made", "Read", "RunFacts", "RunLink", "check_name", "open_catalog"]

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


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the catalog knows of a run: times are UTC in ISO 8601, `place` is HOST:WORKSPACE, `command` holds no secret."""

    id: str
    experiment: str
    status: str
    place: str
    created: str
    started: str | None
    ended: str | None
    exit_code: int | None
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """That a run has the version with the id `dataset_id` as its input `input`, in this mode."""

    input: str
    dataset_id: str
    mode: str


@dataclass(frozen=True, slots=True)
class Made:
    """That a version comes from the output `output` of the run `run_id`."""

    run_id: str
    output: str


@dataclass(frozen=True, slots=True)
class RunLink:
    """One run's part in a version: the name of its input (with `mode`) or output; `run` None if the run is unknown."""

    run_id: str
    name: str
    mode: str | None
    run: RunFacts | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from and went to; of the `read_count` readings, `read_by` has the latest.

    `made_from` are the inputs of the runs that made it, `former_names` what it was called as NAME@VERSION and is no more.
    """

    made_by: tuple[RunLink, ...]
    made_from: tuple[DatasetRecord, ...]
    read_by: tuple[RunLink, ...]
    read_count: int
    former_names: tuple[str, ...]


def open_catalog(workspace: WorkspaceFolder) -> "Catalog":
    """Open the workspace's catalog, made on first use; a context manager.

    Raises:
        UserErrorException: the file or URL is no catalog, or one of a newer version of Moorage.
        AccessDeniedError: it may not be written, or the user or password is refused.
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
