"""The catalog's database: an SQLite file, or PostgreSQL by URL; transactions that are whole or absent.

One process writes at a time: on SQLite every write begins IMMEDIATE, on PostgreSQL it first takes an advisory lock that ends
with the transaction. Of two processes that register at once, the second waits and then counts from what the first wrote;
the tables' unique constraints are the net below that. Reading waits for nobody: SQLite runs in WAL mode.

A connection lives for one transaction, so a process may fork at any time. Whoever waits does so for a bounded time. A URL
never holds a password: libpq finds it in ~/.pgpass or PGPASSWORD, and no error text could repeat it.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from runtime.catalog.failures import BUSY_TIMEOUT_S, refused, translated
from runtime.errors import UserErrorException
from runtime.workspace import check_catalog_url
from runtime.workspace.files import locked

# What libpq is told where the URL does not say it. The last: how long data that was sent may stay unacknowledged.
_CONNECTION = {"application_name": "moorage", "connect_timeout": 10, "tcp_user_timeout": BUSY_TIMEOUT_S * 1000}
_STATEMENT_TIMEOUT_S = 120
_WRITER_LOCK = 0x4D6F6F72616765  # one number for all catalogs of a database: "Moorage" in ASCII
_FORMS = "a catalog is sqlite:///FILE or postgresql://USER@HOST/DATABASE"


class Database:
    """The engine behind a catalog; `where` names it in errors."""

    def __init__(self, url: str | None, path: Path) -> None:
        address = sa.URL.create("sqlite", database=str(path)) if url is None else _parsed(url, path.parent)
        self._file = Path(address.database or "") if address.get_backend_name() == "sqlite" else None
        self.where = str(self._file) if self._file else address.set(drivername="postgresql").render_as_string()
        self._engine = _engine(address)

    @property
    def is_sqlite(self) -> bool:
        """True for a file, False for a server."""
        return self._file is not None

    def close(self) -> None:
        """Forget the engine; nothing stays open between transactions."""
        self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sa.Connection]:
        """One transaction, committed at the end of the block.

        Raises:
            UserErrorException, AccessDeniedError, StoreUnreachableError: the database refused; nothing was changed.
        """
        try:
            with self._engine.connect() as connection:
                connection.execution_options(moorage_write=write, moorage_where=self.where)
                with connection.begin():
                    yield connection
        except SQLAlchemyError as error:
            raise translated(error, self.where) from None

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """Around the transaction that makes the tables: an SQLite file gets its WAL mode first, by one process alone."""
        if self._file is None or self._journal_mode("") == "wal":
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                # WAL is switched on outside of a transaction, and SQLite does not wait for others there.
                stack.enter_context(locked(self._file.with_name(f".{self._file.name}.lock")))
            except OSError as error:
                raise refused(error, self.where) from None
            self._journal_mode(" = WAL")
            yield

    def _journal_mode(self, wanted: str) -> str:
        try:
            with self._engine.connect() as connection:
                cursor = connection.connection.cursor()
                cursor.execute(f"PRAGMA journal_mode{wanted}")
                return str(cursor.fetchone()[0])  # type: ignore[index] # SQLite always answers this one
        except sqlite3.Error as error:
            raise translated(sa.exc.DatabaseError(None, None, error), self.where) from None
        except SQLAlchemyError as error:
            raise translated(error, self.where) from None


def _parsed(url: str, folder: Path) -> sa.URL:
    """`url` checked; a relative file is one of the workspace's folder, wherever the process stands."""
    check_catalog_url(url)
    try:
        address = sa.make_url(url)
    except SQLAlchemyError:
        raise UserErrorException(
            f"the catalog's URL (--catalog, or 'catalog' in workspace.toml) is no URL of a database; {_FORMS}"
        ) from None
    if address.get_backend_name() == "sqlite" and address.database not in {None, "", ":memory:"}:
        return address.set(drivername="sqlite", database=str(folder / str(address.database)))
    if address.get_backend_name() in {"postgresql", "postgres"}:
        return address.set(drivername="postgresql+psycopg")
    raise UserErrorException(f"the catalog's URL {address} cannot be used; {_FORMS}")


def _engine(address: sa.URL) -> sa.Engine:
    try:
        if address.get_backend_name() == "sqlite":
            engine = sa.create_engine(address, poolclass=sa.NullPool)
            sa.event.listen(engine, "connect", _configure_sqlite)
            sa.event.listen(engine, "begin", _begin_sqlite)
        else:
            unsaid = {name: value for name, value in _CONNECTION.items() if name not in address.query}
            engine = sa.create_engine(address, poolclass=sa.NullPool, connect_args=unsaid)
            sa.event.listen(engine, "connect", _configure_postgresql)
            sa.event.listen(engine, "begin", _begin_postgresql)
    except ImportError:
        raise UserErrorException(
            f"catalog {address.set(drivername='postgresql')} needs psycopg; pip install 'moorage[postgres]'"
        ) from None
    return engine


def _configure_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # sqlite3 itself must begin nothing; `_begin_sqlite` does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("moorage_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _configure_postgresql(connection: Any, _: object) -> None:
    connection.autocommit = True  # for this statement
    connection.execute(
        f"SET lock_timeout = '{BUSY_TIMEOUT_S}s'; SET statement_timeout = '{_STATEMENT_TIMEOUT_S}s'; "
        # A process that is stopped inside a transaction must not keep the others out.
        f"SET idle_in_transaction_session_timeout = '{_STATEMENT_TIMEOUT_S}s'"
    )
    connection.autocommit = False


def _begin_postgresql(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("moorage_write"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")
