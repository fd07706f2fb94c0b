"""The catalog's questions and answers, through SQLAlchemy.

A registration reads what is there and writes the next version in one transaction; where the database lets two of them
count alike, its unique constraint refuses one, which counts again.
"""

import contextlib
import datetime as dt
import difflib
import json
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from runtime.catalog import DatasetRecord, check_name
from runtime.catalog.database import Database, datasets, versions
from runtime.errors import AlreadyRegisteredError, UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder

_ATTEMPTS = 20
_LATEST = "latest"


def open_database(workspace: WorkspaceFolder) -> "Catalog":
    """Open, and on first use make, the catalog of `workspace`."""
    database = Database(workspace.identity().catalog, workspace.catalog_path)
    database.prepare(workspace.path / ".lock")
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
        create_new_version: bool = False,  # noqa: FBT001, FBT002 # v1's name and place for it
    ) -> DatasetRecord:
        """Give `name` its first or next version; on any error the catalog is as it was.

        Raises:
            AlreadyRegisteredError: a version of `name` has this definition and digest.
            UserErrorException: `name` exists and `create_new_version` is False, or no dataset can be called so.
        """
        values = _values(definition, digest, files, size_bytes) | {
            "name": check_name(name),
            "description": description or "",
            "tags": json.dumps(_checked_tags(tags or {})),
        }
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(IntegrityError), self._database.transaction(write=True) as connection:
                return _insert_version(connection, values, create_new_version)
        raise UserErrorException(
            f"catalog {self._database.where}: too many others register '{name}' at once; try again"
        )

    def save(self, definition: str, digest: str, files: int, size_bytes: int) -> DatasetRecord:
        """The id of a dataset without a name; the same definition and digest give the same record."""
        same = versions.select().where(
            versions.c.name.is_(None), versions.c.digest == digest, versions.c.definition == definition
        )
        with self._database.transaction(write=True) as connection:
            if row := connection.execute(same).mappings().first():
                return _record(row)
            values = _values(definition, digest, files, size_bytes)
            connection.execute(versions.insert().values(values))
            return _record(values)

    def get(self, name: str, version: int | str = _LATEST) -> DatasetRecord:
        """The version of the dataset `name`; `version` is a number, its text, or 'latest'.

        Raises:
            UnknownNameError: there is no such dataset or version; says what there is.
            UserErrorException: `version` is neither a number nor 'latest'.
        """
        wanted = _number(name, version)
        query = versions.select().where(versions.c.name == name).order_by(versions.c.version.desc()).limit(1)
        with self._database.transaction() as connection:
            if (
                row := connection.execute(query if wanted is None else query.where(versions.c.version == wanted))
                .mappings()
                .first()
            ):
                return _record(row)
            if latest := connection.execute(query).mappings().first():
                raise UnknownNameError(f"dataset '{name}' has no version {wanted}; its latest is {latest['version']}")
            names = connection.execute(sa.select(datasets.c.name)).scalars().all()
        raise UnknownNameError(f"no dataset '{name}' in {self._database.where}{_hint(name, names)}")

    def get_by_id(self, identifier: str) -> DatasetRecord:
        """The dataset with this id, named or not.

        Raises:
            UnknownNameError: there is none.
        """
        with self._database.transaction() as connection:
            query = versions.select().where(versions.c.id == identifier)
            row = connection.execute(query).mappings().first()
        if row is None:
            raise UnknownNameError(
                f"no dataset with the id {identifier!r} in {self._database.where}; `moorage dataset list` shows all"
            )
        return _record(row)

    def list(self) -> Sequence[DatasetRecord]:
        """The latest version of every name, by name."""
        latest = sa.select(versions.c.name, sa.func.max(versions.c.version).label("version"))
        latest_of_each = latest.where(versions.c.name.is_not(None)).group_by(versions.c.name).subquery()
        both = (versions.c.name == latest_of_each.c.name) & (versions.c.version == latest_of_each.c.version)
        query = sa.select(versions).join(latest_of_each, both).order_by(versions.c.name)
        with self._database.transaction() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def versions(self, name: str) -> Sequence[DatasetRecord]:
        """Every version of `name`, the first one first; empty if there is no such dataset."""
        query = versions.select().where(versions.c.name == name).order_by(versions.c.version)
        with self._database.transaction() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def close(self) -> None:
        """Forget the database; nothing stays open between transactions."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _insert_version(connection: sa.Connection, values: dict[str, Any], create_new_version: bool) -> DatasetRecord:  # noqa: FBT001 # private
    name = values["name"]
    of_name = versions.select().where(versions.c.name == name)
    same = of_name.where(versions.c.digest == values["digest"], versions.c.definition == values["definition"])
    if row := connection.execute(same).mappings().first():
        raise AlreadyRegisteredError(name, row["version"])
    latest: int | None = connection.execute(
        sa.select(sa.func.max(versions.c.version)).where(versions.c.name == name)
    ).scalar()
    if latest is None:
        connection.execute(datasets.insert().values(name=name, created=values["created"]))
    elif not create_new_version:
        raise UserErrorException(
            f"dataset '{name}' exists (version {latest}) and this is another; register it with create_new_version=True "
            "(moorage dataset register --new-version), or under another name"
        )
    values["version"] = 1 if latest is None else latest + 1
    connection.execute(versions.insert().values(values))
    return _record(values)


def _values(definition: str, digest: str, files: int, size_bytes: int) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "name": None,
        "version": None,
        "definition": definition,
        "digest": digest,
        "files": files,
        "size_bytes": size_bytes,
        "description": "",
        "tags": "{}",
        "created": dt.datetime.now(dt.UTC).isoformat(),
    }


def _record(row: Mapping[Any, Any]) -> DatasetRecord:
    return DatasetRecord(
        row["id"],
        row["name"] or "",
        row["version"] or 0,
        row["definition"],
        row["digest"],
        row["files"],
        row["size_bytes"],
        row["description"],
        json.loads(row["tags"]),
        dt.datetime.fromisoformat(row["created"]),
    )


def _checked_tags(tags: Mapping[Any, Any]) -> dict[str, str]:
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UserErrorException(f"the tag {key!r}: {value!r} is not text; tags are a dictionary of strings")
    return dict(tags)


def _number(name: str, version: int | str) -> int | None:
    """The version asked for, None for the latest one."""
    if version == _LATEST:
        return None
    try:
        return int(version)
    except (TypeError, ValueError):
        raise UserErrorException(f"{version!r} is no version of dataset '{name}'; give a number or 'latest'") from None


def _hint(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f"; did you mean '{near[0]}'?" if near else "; `moorage dataset list` shows what there is"
