"""Rows of a SQL query: asked of its database each time they are read, by SQLAlchemy, and streamed.

The columns' types come from the first rows that come; rows after them are made to fit, and what does not is null and told.
Nothing of a query is frozen: two reads may give different rows, and the database says in which order.

Invariants: a connection lives as long as the `with` block of `opened`; no message holds a password.
"""

import contextlib
import datetime as dt
import decimal
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from runtime.datasets.tabular.converting import Bad, convert
from runtime.datasets.tabular.definition import Query
from runtime.datasets.tabular.parsing import Parsed
from runtime.datastores import databases
from runtime.errors import DatasetValidationError, UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, CursorResult

_FIRST_ROWS: Final = 1_000
_MOST_ROWS: Final = 32_000
_STEPS: Final = 20_000  # of SQLite's machine between two looks at the clock


class Answer:
    """A query's answer: its `schema`, and its rows, once."""

    def __init__(self, result: "CursorResult[Any]", options: Query) -> None:
        import pyarrow as pa

        self._result, self._options = result, options
        self._names = list(result.keys())
        if doubled := [name for name in self._names if self._names.count(name) > 1]:
            raise DatasetValidationError(f"the query has more than one column '{doubled[0]}'; rename one: ... AS other")
        self._first = result.fetchmany(_FIRST_ROWS)
        columns = list(zip(*self._first, strict=True)) or [() for _ in self._names]
        self.schema = pa.schema(
            [(name, _type(name, values, options)) for name, values in zip(self._names, columns, strict=True)]
        )

    def read(self, wanted: Sequence[str]) -> Iterator[tuple[int, Parsed]]:
        """The wanted columns; errors of the database as `opened` raises them."""
        import pyarrow as pa

        rows, size = self._first, _FIRST_ROWS
        while rows:
            columns, bad = [], []
            for name in wanted:
                at = self._names.index(name)
                column, lost = _column(name, [row[at] for row in rows], self.schema.field(name).type, self._options)
                columns.append(column)
                bad += [lost] if lost else []
            schema = pa.schema([self.schema.field(name) for name in wanted])
            yield 0, Parsed(pa.table(columns, schema=schema), tuple(bad))
            size = min(size * 2, _MOST_ROWS)
            with _told(self._options):
                rows = self._result.fetchmany(size)


@contextlib.contextmanager
def opened(workspace: WorkspaceFolder, options: Query) -> Iterator[Answer]:
    """Ask the query.

    Raises:
        UserErrorException: there is no such datastore, or its driver is not installed.
        DatasetValidationError: the database refuses, is out of reach, or takes longer than was said.
    """
    import sqlalchemy as sa
    from sqlalchemy.pool import NullPool

    record = databases.get(workspace, options.datastore)
    secret = databases.password(record)
    url = sa.make_url(record.url)
    with contextlib.ExitStack() as stack:
        with _told(options):
            engine = sa.create_engine(url.set(password=secret) if secret else url, poolclass=NullPool)
            connection = stack.enter_context(engine.connect())
            _limit(connection, options.timeout_s)
            streaming = connection.execution_options(stream_results=True, max_row_buffer=_MOST_ROWS)
            result = stack.enter_context(contextlib.closing(streaming.exec_driver_sql(options.text)))
            answer = Answer(result, options)
        yield answer


@contextlib.contextmanager
def _told(options: Query) -> Iterator[None]:
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError, ResourceClosedError, SQLAlchemyError

    try:
        yield
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise UserErrorException(
            f"datastore '{options.datastore}': the driver of its database is not installed ({str(error).splitlines()[0]})"
        ) from None
    except ResourceClosedError:
        raise DatasetValidationError(f"datastore '{options.datastore}': the statement gives no rows") from None
    except SQLAlchemyError as error:
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()
        raise DatasetValidationError(
            f"datastore '{options.datastore}': the query failed ({reason[0] if reason else type(error).__name__}); it may "
            f"take {options.timeout_s} s (query_timeout)"
        ) from None


def _limit(connection: "Connection", timeout_s: int) -> None:
    """Have the database end a statement that takes longer."""
    kind = connection.dialect.name
    if kind == "postgresql":
        connection.exec_driver_sql(f"SET statement_timeout = {timeout_s * 1000}")
    elif kind == "mysql":
        connection.exec_driver_sql(f"SET SESSION max_execution_time = {timeout_s * 1000}")
    elif kind == "mssql":
        connection.connection.driver_connection.timeout = timeout_s  # type: ignore[union-attr] # pyodbc's
    elif kind == "sqlite":
        ends = time.monotonic() + timeout_s
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)


def _type(name: str, values: Sequence[Any], options: Query) -> "pa.DataType":
    import pyarrow as pa

    if name in options.types:
        return options.types[name].arrow
    kinds = {type(_plain(value)) for value in values if value is not None}
    if kinds and kinds <= {int, float}:
        fits = kinds == {int} and all(-(1 << 63) <= value < 1 << 63 for value in values if value is not None)
        return pa.int64() if fits else pa.float64()
    simple = {bool: pa.bool_(), dt.datetime: pa.timestamp("us"), bytes: pa.binary()}
    return simple.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()


def _column(name: str, values: list[Any], kind: "pa.DataType", options: Query) -> "tuple[pa.Array, Bad | None]":
    import pyarrow as pa

    plain = [_plain(value) for value in values]
    if name in options.types:
        return convert(
            name, pa.array([_text(each) for each in plain], pa.string()), options.types[name], empty_as_string=True
        )
    if pa.types.is_string(kind):
        return pa.array([_text(each) for each in plain], kind), None
    if pa.types.is_floating(kind):
        plain = [float(each) if isinstance(each, int) else each for each in plain]
    found, lost = [], []
    try:
        return pa.array(plain, kind), None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        for at, value in enumerate(plain):
            try:
                found.append(pa.array([value], kind)[0].as_py())
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                found.append(None)
                lost.append(at)
    return pa.array(found, kind), Bad(name, lost[0], str(values[lost[0]]), f"is no {kind}", len(lost))


def _plain(value: Any) -> Any:
    """Times in UTC without a zone, dates as times, exact numbers as others, and what else there is as text."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 # columns of times have no zone
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, memoryview):
        return bytes(value)
    return value if value is None or isinstance(value, bool | int | float | str | bytes) else str(value)


def _text(value: Any) -> str | None:
    return None if value is None else value.decode(errors="replace") if isinstance(value, bytes) else str(value)
