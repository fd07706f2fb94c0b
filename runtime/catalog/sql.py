"""The catalog's questions and answers, through SQLAlchemy: each method is one transaction, whole or absent."""

import fnmatch
import json
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from runtime.catalog import DatasetRecord, Lineage, Made, Read, RunFacts, check_name, lineage, naming, rows, schema
from runtime.catalog.database import Database
from runtime.catalog.tables import versions
from runtime.errors import AlreadyRegisteredError, UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder

_LATEST = "latest"
_MAX_VERSION = 2**31 - 1  # what a column of integers holds everywhere
_MOST_READINGS = 1000  # of a version, in one answer


def open_database(workspace: WorkspaceFolder) -> "Catalog":
    """Open, and on first use make, the catalog of `workspace`."""
    database = Database(workspace.identity().catalog, workspace.catalog_path)
    schema.prepare(database)
    return Catalog(database)


class Catalog:
    """An open catalog; a context manager, safe to use from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self,
        name: str,
        definition: str,
        digest: str,
        files: int,
        size_bytes: int,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        *,
        create_new_version: bool = False,
        made: Made | None = None,
    ) -> DatasetRecord:
        """Give `name` its first or next version, with the run that made it; on any error the catalog is as it was.

        Raises:
            AlreadyRegisteredError: a version of `name` has this definition and digest; that `made` made it is noted.
            UserErrorException: `name` exists and `create_new_version` is False, or no dataset can be called so.
        """
        check_name(name)
        values = rows.new_version_row(definition, digest, files, size_bytes) | {
            "description": rows.checked_description(description or ""),
            "tags": json.dumps(rows.checked_tags(tags or {})),
        }
        with self._database.transaction(write=True) as connection:
            row, is_new = naming.insert_version(connection, name, values, create_new_version=create_new_version)
            if made is not None:
                lineage.put_made(connection, made, row["id"])
        if not is_new:
            raise AlreadyRegisteredError(name, row["version"])
        return rows.dataset_record(row)

    def save(self, definition: str, digest: str, files: int, size_bytes: int) -> DatasetRecord:
        """The id of a dataset without a name; the same definition and digest give the same record."""
        same = versions.select().where(
            versions.c.name.is_(None), versions.c.digest == digest, versions.c.definition == definition
        )
        with self._database.transaction(write=True) as connection:
            if row := connection.execute(same.order_by(versions.c.created)).mappings().first():
                return rows.dataset_record(row)
            values = rows.new_version_row(definition, digest, files, size_bytes)
            connection.execute(versions.insert().values(values))
            return rows.dataset_record(values)

    def get(self, name: str, version: int | str = _LATEST) -> DatasetRecord:
        """The version of the dataset `name`; `version` is a number, its text, or 'latest'.

        Raises:
            UnknownNameError: there is no such dataset or version; says what there is, or what became of it.
            UserErrorException: `version` is neither a number nor 'latest'.
        """
        wanted = _number(_asked(name), version)
        query = versions.select().where(versions.c.name == name).order_by(versions.c.version.desc()).limit(1)
        if wanted is not None:
            query = query.where(versions.c.version == wanted)
        with self._database.transaction() as connection:
            if row := connection.execute(query).mappings().first():
                return rows.dataset_record(row)
            raise naming.unknown(connection, name, wanted)

    def get_by_id(self, identifier: str) -> DatasetRecord:
        """The dataset with this id, named or not.

        Raises:
            UnknownNameError: there is none.
        """
        with self._database.transaction() as connection:
            return self._by_id(connection, identifier)

    def list(
        self,
        name_glob: str = "*",
        tags: Mapping[str, str | None] | None = None,
        run_id: str | None = None,
        *,
        all_versions: bool = False,
    ) -> Sequence[DatasetRecord]:
        """The latest version of every name, or all versions, by name: those that every filter lets through.

        `tags` are values by key, None for any value; `run_id` a run that made or read the version.
        """
        query = versions.select().where(versions.c.name.is_not(None))
        with self._database.transaction() as connection:
            found = [rows.dataset_record(row) for row in connection.execute(query).mappings()]
            ids = None if run_id is None else lineage.ids_of_run(connection, run_id)
        found.sort(key=lambda each: (each.name, each.version))
        if not all_versions:
            found = list({each.name: each for each in found}.values())
        return [
            each
            for each in found
            if fnmatch.fnmatchcase(each.name, name_glob)
            and (ids is None or each.id in ids)
            and all(_has_tag(each, key, value) for key, value in (tags or {}).items())
        ]

    def versions(self, name: str) -> Sequence[DatasetRecord]:
        """Every version of `name`, the first one first; empty if there is no such dataset."""
        query = versions.select().where(versions.c.name == name).order_by(versions.c.version)
        with self._database.transaction() as connection:
            return [rows.dataset_record(row) for row in connection.execute(query).mappings()]

    def change(
        self,
        identifier: str,
        description: str | None = None,
        tags: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None,
    ) -> DatasetRecord:
        """Replace the description of a version, and its tags by what `tags` makes of them; None leaves a thing as it is.

        `tags` is a pure function: it is called inside the transaction, so that no other process's tags are lost.

        Raises:
            UnknownNameError: there is no such id.
            UserErrorException: a text that cannot be kept, or `tags` raised it; nothing was changed.
        """
        text = None if description is None else rows.checked_description(description)
        with self._database.transaction(write=True) as connection:
            now = self._by_id(connection, identifier)
            wanted = None if tags is None else rows.checked_tags(tags(now.tags))
            return rows.dataset_record(naming.change_tags(connection, identifier, text, wanted))

    def rename(self, name: str, new_name: str) -> int:
        """Call all versions of `name` `new_name`; return how many. Errors as `naming.rename` and `check_name`."""
        check_name(new_name)
        with self._database.transaction(write=True) as connection:
            return naming.rename(connection, _asked(name), new_name)

    def unregister(self, name: str, version: int | str | None = None) -> int:
        """Take the name from `version`, or from all versions; return from how many. Ids and lineage stay.

        Raises:
            UnknownNameError: there is no such dataset or version.
        """
        with self._database.transaction(write=True) as connection:
            return naming.unregister(connection, _asked(name), None if version is None else _number(name, version))

    def put_run(self, run: RunFacts, inputs: Sequence[Read]) -> None:
        """Write down a run and what it reads, in place of what was told of it before."""
        with self._database.transaction(write=True) as connection:
            lineage.put_run(connection, run, inputs)

    def lineage(self, record: DatasetRecord, most: int = _MOST_READINGS) -> Lineage:
        """Which runs made a version, from what, and the latest `most` that read it."""
        with self._database.transaction() as connection:
            return lineage.lineage_of(connection, record, most)

    def close(self) -> None:
        """Forget the database; nothing stays open between transactions."""
        self._database.close()

    def _by_id(self, connection: sa.Connection, identifier: str) -> DatasetRecord:
        query = versions.select().where(versions.c.id == identifier)
        row = connection.execute(query).mappings().first() if identifier.isprintable() else None
        if row is None:
            raise UnknownNameError(
                f"no dataset with the id {identifier!r} in {self._database.where}; `moorage dataset list` shows all"
            )
        return rows.dataset_record(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _has_tag(record: DatasetRecord, key: str, value: str | None) -> bool:
    return key in record.tags and value in {None, record.tags[key]}


def _asked(name: str) -> str:
    """`name`, if a dataset may be called so: other texts are no dataset, and may be such that no database takes them."""
    try:
        return check_name(name)
    except UserErrorException as error:
        raise UnknownNameError(str(error)) from None


def _number(name: str, version: int | str) -> int | None:
    """The version asked for, None for the latest one."""
    if version == _LATEST:
        return None
    try:
        number = int(version)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= _MAX_VERSION:
        raise UserErrorException(f"{version!r} is no version of dataset '{name}'; give a number or 'latest'")
    return number
