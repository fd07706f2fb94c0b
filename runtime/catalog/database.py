"""The catalog's database: its tables, and transactions that are whole or absent.

    datasets   one row a name
    versions   one row a version: (name, version) is unique; name is NULL for a dataset that was saved without one

SQLite runs in WAL mode with a busy timeout, and every write begins IMMEDIATE: of two processes that register at once, the
second waits and then counts from what the first wrote. On another database the unique constraint decides, and the loser
counts again. A connection lives for one transaction, so a process may fork at any time.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from mountd.errors import StoreUnreachableError
from runtime.errors import UserErrorException
from runtime.workspace.files import locked

_FORMAT = 1
_BUSY_TIMEOUT_S = 30
_metadata = sa.MetaData()
_format = sa.Table("catalog_format", _metadata, sa.Column("version", sa.Integer, primary_key=True))
datasets = sa.Table(
    "datasets",
    _metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("created", sa.String(40), nullable=False),
)
versions = sa.Table(
    "versions",
    _metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.ForeignKey("datasets.name"), nullable=True),
    sa.Column("version", sa.Integer, nullable=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("files", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("created", sa.String(40), nullable=False),
    sa.UniqueConstraint("name", "version"),
    sa.Index("versions_by_digest", "digest"),
)


class Database:
    """The engine behind a catalog; `where` names it in errors."""

    def __init__(self, url: str | None, path: Path) -> None:
        self._engine = _engine(url, path)
        self.where = url or str(path)

    def prepare(self, lock: Path) -> None:
        """Make the tables where they are missing, under the lock file `lock`, and check that this version can read them."""
        if not self._has_tables():
            with locked(lock):
                if not self._has_tables():
                    self._make_tables()
        with self.transaction() as connection:
            found = connection.execute(sa.select(sa.func.max(_format.c.version))).scalar()
        if found != _FORMAT:
            raise UserErrorException(f"catalog {self.where} has format {found}, not {_FORMAT}; install a newer Moorage")

    def close(self) -> None:
        """Forget the engine; nothing stays open between transactions."""
        self._engine.dispose()

    def _has_tables(self) -> bool:
        with self._translated():
            return sa.inspect(self._engine).has_table(_format.name)

    def _make_tables(self) -> None:
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                # Outside of a transaction, where alone it is allowed; stays with the file.
                connection.connection.cursor().execute("PRAGMA journal_mode = WAL")
        with self.transaction(write=True) as connection:
            _metadata.create_all(connection)
            connection.execute(_format.insert().values(version=_FORMAT))

    @contextlib.contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sa.Connection]:
        """One transaction, committed at the end of the block; IntegrityError is left to the caller, who may try again."""
        with self._translated(), self._engine.connect() as connection:
            connection.execution_options(moorage_write=write)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except OperationalError as error:
            if self._engine.dialect.name == "sqlite":
                raise UserErrorException(
                    f"catalog {self.where}: {error.orig}; see who holds it, or its rights"
                ) from None
            raise StoreUnreachableError(
                f"catalog {self.where}: {error.orig}; see that it runs and is reachable"
            ) from None
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise UserErrorException(f"catalog {self.where} cannot be used ({cause}); restore it from a copy") from None


def _engine(url: str | None, path: Path) -> sa.Engine:
    address = sa.URL.create("sqlite", database=str(path)) if url is None else url
    try:
        engine = sa.create_engine(address, poolclass=sa.NullPool)
    except (SQLAlchemyError, ImportError) as error:
        raise UserErrorException(
            f"the catalog's URL {url} cannot be used: {error}; mend it in workspace.toml"
        ) from None
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _configure)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _: object) -> None:
    connection.isolation_level = None  # sqlite3 itself must begin nothing; `_begin` does
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("moorage_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
