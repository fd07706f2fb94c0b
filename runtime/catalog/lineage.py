"""Lineage: which run made a version, which run reads it. Each function is part of one transaction.

A run is written whole each time, by its launcher only, so that a second telling changes nothing but what is new. A job that
runs asks for nothing here: lineage is for people, and no job fails for it.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from runtime.catalog import DatasetRecord, Lineage, Made, Read, RunFacts, RunLink
from runtime.catalog.rows import dataset_record, run_facts, run_row
from runtime.catalog.tables import made, numbers, reads, runs, versions


def put_run(connection: sa.Connection, run: RunFacts, inputs: Sequence[Read]) -> None:
    """Write a run and what it reads, in place of what was told of it before."""
    connection.execute(runs.delete().where(runs.c.id == run.id))
    connection.execute(runs.insert().values(run_row(run)))
    connection.execute(reads.delete().where(reads.c.run_id == run.id))
    rows = [
        {"run_id": run.id, "input": each.input, "version_id": each.dataset_id, "mode": each.mode} for each in inputs
    ]
    if rows:
        connection.execute(reads.insert(), rows)


def put_made(connection: sa.Connection, link: Made, version_id: str) -> None:
    """Write that a version comes from an output; an output has one version, the one that it made last."""
    connection.execute(made.delete().where(made.c.run_id == link.run_id, made.c.output == link.output))
    connection.execute(made.insert().values(run_id=link.run_id, output=link.output, version_id=version_id))


def lineage_of(connection: sa.Connection, record: DatasetRecord, most: int) -> Lineage:
    """Where the version comes from and went to, with the latest `most` readings."""
    made_by = _links(connection, made, made.c.output, record.id, most)
    sources = (
        sa.select(versions)
        .join(reads, reads.c.version_id == versions.c.id)
        .where(reads.c.run_id.in_([each.run_id for each in made_by]))
        .order_by(versions.c.name, versions.c.version, versions.c.id)
    )
    found = {row["id"]: dataset_record(row) for row in connection.execute(sources).mappings()}
    count = sa.select(sa.func.count()).select_from(reads).where(reads.c.version_id == record.id)
    former = numbers.select().where(numbers.c.version_id == record.id).order_by(numbers.c.name, numbers.c.version)
    return Lineage(
        made_by,
        tuple(found.values()),
        _links(connection, reads, reads.c.input, record.id, most),
        connection.execute(count).scalar() or 0,
        tuple(f"{row.name}@{row.version}" for row in connection.execute(former) if row.name != record.name),
    )


def ids_of_run(connection: sa.Connection, run_id: str) -> set[str]:
    """The ids of the versions that a run made or read."""
    if not run_id.isprintable():  # no run is called so, and no database takes it
        return set()
    both = sa.union(
        sa.select(made.c.version_id).where(made.c.run_id == run_id),
        sa.select(reads.c.version_id).where(reads.c.run_id == run_id),
    )
    return set(connection.execute(both).scalars())


def _links(
    connection: sa.Connection, table: sa.Table, name: sa.ColumnElement[str], version_id: str, most: int
) -> tuple[RunLink, ...]:
    """The runs that `table` links to a version, the latest first; `name` is their input's or output's."""
    mode = table.c.mode if "mode" in table.c else sa.null()
    # Labelled: `runs.id` and the others must not be taken for columns of `table`.
    columns = [table.c.run_id.label("link_run_id"), name.label("link_name"), mode.label("link_mode"), *runs.c]
    query = (
        sa.select(*columns)
        .select_from(table.outerjoin(runs, runs.c.id == table.c.run_id))
        .where(table.c.version_id == version_id)
        .order_by(sa.func.coalesce(runs.c.created, "").desc(), table.c.run_id, name)
        .limit(most)
    )
    return tuple(
        RunLink(row["link_run_id"], row["link_name"], row["link_mode"], run_facts(row) if row["id"] else None)
        for row in connection.execute(query).mappings()
    )
