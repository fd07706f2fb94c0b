"""Rows of parquet files: columns and row groups that nobody needs are not read.

The columns are the first file's; another file's are cast to them, and what it lacks is null. Times with a zone come
back in UTC without one, as v1 has them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from runtime.datasets.expressions import Expression
from runtime.datasets.tabular.converting import convert
from runtime.datasets.tabular.definition import Parquet
from runtime.datasets.tabular.files import TableFile
from runtime.datasets.tabular.parsing import Parsed
from runtime.datasets.tabular.pruning import may_hold
from runtime.errors import DatasetValidationError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS: Final = 65_536
_BUFFER_BYTES: Final = 1 << 20


def look(files: Sequence[TableFile], options: Parquet) -> "pa.Schema":
    """The columns of the first file, as they are read.

    Raises:
        DatasetValidationError: the file is no parquet.
    """
    import pyarrow as pa

    if not files:
        return pa.schema([])
    schema = _opened(files[0]).schema_arrow
    if doubled := [name for name in schema.names if schema.names.count(name) > 1]:
        raise DatasetValidationError(f"{files[0].path}: more than one column is called '{doubled[0]}'")
    return pa.schema([(each.name, _type(each, options)) for each in schema])


def read(
    files: Sequence[TableFile],
    kept: Sequence[int],
    options: Parquet,
    schema: "pa.Schema",
    wanted: Sequence[str],
    filters: Sequence[Expression] = (),
) -> Iterator[tuple[int, Parsed]]:
    """Yield the wanted columns of the files `kept`, in their order, as (number of the file, rows).

    Row groups whose statistics say that not all `filters` can be true of a row are left out.

    Raises:
        DatasetValidationError: a file is no parquet, or a column of it is of another type than the first file's.
    """
    for number in kept:
        file = files[number]
        opened = _opened(file)
        there = set(opened.schema_arrow.names)
        columns = [name for name in wanted if name in there]
        as_is = [
            each.name for each in opened.schema_arrow if each.name in schema.names and each.name not in options.types
        ]
        comparable = {
            name for name in as_is if _type(opened.schema_arrow.field(name), options) == schema.field(name).type
        }
        groups = [
            at for at in range(opened.num_row_groups) if may_hold(filters, opened.metadata.row_group(at), comparable)
        ]
        for batch in _read(opened.iter_batches(_ROWS, row_groups=groups, columns=columns), file):
            yield number, _typed(batch, file, options, schema, wanted)


def _read(batches: "Iterator[pa.RecordBatch]", file: TableFile) -> "Iterator[pa.RecordBatch]":
    try:
        yield from batches
    except OSError as error:  # what Arrow raises for bytes that it cannot decode; a store's errors are MountdError
        raise _damaged(file, error) from None


def _typed(
    batch: "pa.RecordBatch", file: TableFile, options: Parquet, schema: "pa.Schema", wanted: Sequence[str]
) -> Parsed:
    import pyarrow as pa
    import pyarrow.compute as pc

    columns, bad = [], []
    for name in wanted:
        kind = schema.field(name).type
        if name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, kind))
            continue
        column = batch.column(name)
        if name in options.types and pa.types.is_string(column.type):
            column, lost = convert(name, column, options.types[name], empty_as_string=True)
            bad += [lost] if lost else []
        try:
            columns.append(pc.cast(_naive(column), kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DatasetValidationError(
                f"{file.path}: column '{name}' is {column.type}, which is no {kind} as in the first file "
                f"({str(error).splitlines()[0]}); set_column_types={{'{name}': ...}} says what it is"
            ) from None
    return Parsed(pa.table(columns, schema=pa.schema([schema.field(name) for name in wanted])), tuple(bad))


def _naive(column: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        return pc.cast(column, pa.timestamp(column.type.unit))
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    return column


def _type(field: "pa.Field", options: Parquet) -> "pa.DataType":
    import pyarrow as pa

    if field.name in options.types:
        return options.types[field.name].arrow
    if pa.types.is_timestamp(field.type):
        return pa.timestamp(field.type.unit)
    return field.type.value_type if pa.types.is_dictionary(field.type) else field.type


def _opened(file: TableFile) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(pa.PythonFile(file.open(), mode="r"), buffer_size=_BUFFER_BYTES)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(file, error) from None


def _damaged(file: TableFile, error: Exception) -> DatasetValidationError:
    return DatasetValidationError(f"{file.path}: no parquet file, or a damaged one ({str(error).splitlines()[0]})")
