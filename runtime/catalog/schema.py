"""The schema of a catalog's database: made where there is none, migrated where it is older, refused where it is newer.

Opening a catalog costs one question for the revision; only where that is not today's is Alembic imported. All steps from the
revision found to today's run in one transaction, in which nobody else writes: a process that is killed meanwhile leaves the
database as it was, and of many that open it at once the first one migrates and the others find it done.
"""

import threading
from pathlib import Path

import sqlalchemy as sa

from runtime.catalog import tables
from runtime.catalog.database import Database
from runtime.errors import UserErrorException

_SCRIPTS = Path(__file__).with_name("migrations")
_FIRST = tables.KNOWN_REVISIONS[0]
# Held around a migration, its I/O included: Alembic keeps the one under way in globals of its modules.
_alembic = threading.Lock()


def prepare(database: Database) -> None:
    """Bring `database` to today's schema.

    Raises:
        UserErrorException: it is a database of something else, or of a newer Moorage; it was not touched.
    """
    with database.transaction() as connection:
        if _revision(connection, database) == tables.REVISION:
            return
    with _alembic, database.making(), database.transaction(write=True) as connection:
        found = _revision(connection, database)  # by now another process may have done it
        if found != tables.REVISION:
            _migrate(connection, found)


def _revision(connection: sa.Connection, database: Database) -> str | None:
    """The revision of the database, '0001' also for one from before there were revisions; None if there are no tables."""
    names = set(sa.inspect(connection).get_table_names())
    if tables.REVISION_TABLE in names:
        column = sa.text(f"SELECT version_num FROM {tables.REVISION_TABLE}")  # noqa: S608 # a constant
        found = connection.execute(column).scalar()
    elif tables.catalog_format.name in names:
        number = connection.execute(sa.select(sa.func.max(tables.catalog_format.c.version))).scalar()
        found = _FIRST if number == 1 else f"of format {number}"
    elif database.is_sqlite and names:
        raise UserErrorException(f"catalog {database.where} cannot be used: it is a database of something else")
    else:
        return None
    if found not in tables.KNOWN_REVISIONS:
        raise UserErrorException(
            f"catalog {database.where} has the schema {found}, and this Moorage knows {_FIRST} to {tables.REVISION}; "
            "install the newer Moorage that made it"
        )
    return str(found)


def _migrate(connection: sa.Connection, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if found == _FIRST and not sa.inspect(connection).has_table(tables.REVISION_TABLE):
        command.stamp(config, _FIRST)
    command.upgrade(config, "head")
