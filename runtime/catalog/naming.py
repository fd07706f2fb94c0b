"""Names and numbers: what gives them, moves them and takes them away. Each function is part of one transaction.

`numbers` remembers every number that a name was ever given. A new version takes the next one after all of them, also after
`unregister`; a rename takes its numbers along, and is refused where the new name once meant something else by one of them.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from runtime.catalog.rows import dataset_record
from runtime.catalog.tables import datasets, numbers, versions
from runtime.errors import UnknownNameError, UserErrorException


def insert_version(
    connection: sa.Connection, name: str, values: dict[str, Any], *, create_new_version: bool
) -> tuple[Mapping[Any, Any], bool]:
    """Make `values` the next version of `name`; (its row, True), or (the row that is exactly this already, False).

    Raises:
        UserErrorException: `name` exists and `create_new_version` is False.
    """
    of_name = versions.select().where(versions.c.name == name)
    same = of_name.where(versions.c.digest == values["digest"], versions.c.definition == values["definition"])
    if row := connection.execute(same).mappings().first():
        return row, False
    latest = connection.execute(sa.select(sa.func.max(versions.c.version)).where(versions.c.name == name)).scalar()
    if latest is None:
        connection.execute(datasets.insert().values(name=name, created=values["created"]))
    elif not create_new_version:
        raise UserErrorException(
            f"dataset '{name}' exists (version {latest}) and this is another; register it with create_new_version=True "
            "(moorage dataset register --new-version), or under another name"
        )
    given = connection.execute(sa.select(sa.func.max(numbers.c.version)).where(numbers.c.name == name)).scalar()
    values |= {"name": name, "version": (given or 0) + 1}
    connection.execute(versions.insert().values(values))
    connection.execute(numbers.insert().values(name=name, version=values["version"], version_id=values["id"]))
    return values, True


def rename(connection: sa.Connection, name: str, new_name: str) -> int:
    """Call every version of `name` `new_name`, under the same numbers; return how many there are.

    Raises:
        UnknownNameError: there is no dataset `name`.
        UserErrorException: `new_name` exists, or was another dataset's whose numbers would get a second meaning.
    """
    found = _versions_of(connection, name)
    if connection.execute(datasets.select().where(datasets.c.name == new_name)).first():
        raise UserErrorException(f"dataset '{new_name}' exists already; choose another name, or unregister it first")
    meant: dict[int, str] = {
        row.version: row.version_id for row in connection.execute(numbers.select().where(numbers.c.name == new_name))
    }
    for each in found:
        if meant.get(each["version"], each["id"]) != each["id"]:
            raise UserErrorException(
                f"'{new_name}@{each['version']}' was another dataset, which scripts may still mean; choose another name"
            )
    new = [each for each in found if each["version"] not in meant]
    connection.execute(
        datasets.insert().from_select(
            ["name", "created"], sa.select(sa.literal(new_name), datasets.c.created).where(datasets.c.name == name)
        )
    )
    connection.execute(versions.update().where(versions.c.name == name).values(name=new_name))
    connection.execute(datasets.delete().where(datasets.c.name == name))
    if new:
        rows = [{"name": new_name, "version": each["version"], "version_id": each["id"]} for each in new]
        connection.execute(numbers.insert(), rows)
    return len(found)


def unregister(connection: sa.Connection, name: str, version: int | None) -> int:
    """Take the name from one version of `name`, or from all if `version` is None; return from how many.

    Raises:
        UnknownNameError: there is no such dataset or version.
    """
    found = _versions_of(connection, name)
    gone = [each["id"] for each in found if version in {None, each["version"]}]
    if not gone:
        raise unknown(connection, name, version)
    of_name = versions.c.name == name
    chosen = of_name if version is None else of_name & (versions.c.version == version)
    connection.execute(versions.update().where(chosen).values(name=None, version=None))
    if len(gone) == len(found):
        connection.execute(datasets.delete().where(datasets.c.name == name))
    return len(gone)


def change_tags(
    connection: sa.Connection, identifier: str, description: str | None, tags: dict[str, str] | None
) -> Mapping[Any, Any]:
    """Replace what is not None; return the row as it is now."""
    changed = {} if description is None else {"description": description}
    changed |= {} if tags is None else {"tags": json.dumps(tags)}
    one = versions.c.id == identifier
    if changed:
        connection.execute(versions.update().where(one).values(changed))
    return connection.execute(versions.select().where(one)).mappings().one()


def unknown(connection: sa.Connection, name: str, version: int | None) -> UnknownNameError:
    """The error for a name or version that is not there: what there is, or what became of it."""
    latest = connection.execute(sa.select(sa.func.max(versions.c.version)).where(versions.c.name == name)).scalar()
    once = numbers.select().where(numbers.c.name == name).order_by(numbers.c.version.desc()).limit(1)
    given = connection.execute(once if version is None else once.where(numbers.c.version == version)).first()
    if given is not None:
        row = connection.execute(versions.select().where(versions.c.id == given.version_id)).mappings().one()
        now = dataset_record(row)
        became = (
            f"is '{now.name}@{now.version}' now" if now.name else f"was unregistered; its id {now.id} still opens it"
        )
        return UnknownNameError(f"dataset '{name}' version {given.version} {became}")
    if latest is not None:
        return UnknownNameError(f"dataset '{name}' has no version {version}; its latest is {latest}")
    names = connection.execute(sa.select(datasets.c.name)).scalars().all()
    where = connection.get_execution_options()["moorage_where"]
    return UnknownNameError(f"no dataset '{name}' in {where}{_hint(name, names)}")


def _versions_of(connection: sa.Connection, name: str) -> Sequence[Mapping[Any, Any]]:
    found = connection.execute(versions.select().where(versions.c.name == name)).mappings().all()
    if not found:
        raise unknown(connection, name, None)
    return found


def _hint(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f"; did you mean '{near[0]}'?" if near else "; `moorage dataset list` shows what there is"
