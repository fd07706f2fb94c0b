"""Rows as frames of pandas, and as files of CSV and parquet."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import DatasetValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    import pyarrow as pa

_FIRST, _LAST = "1677-09-21T00:12:44", "2262-04-11T23:47:16"  # what 64 bits of nanoseconds can tell
_FILE_BYTES: Final = 256 << 20


def to_pandas(table: "pa.Table", *, fails: bool) -> "pd.DataFrame":
    """A frame with times as datetime64[ns]; a time that does not fit is null, or, where it `fails`, an error.

    Raises:
        DatasetValidationError: a time does not fit.
    """
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(number, field.name, _nanoseconds(field.name, table.column(number), fails=fails))
    return table.to_pandas()


def _nanoseconds(name: str, column: "pa.ChunkedArray", *, fails: bool) -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    first, last = (pc.cast(pa.scalar(each).cast(pa.timestamp("us")), kind) for each in (_FIRST, _LAST))
    outside = pc.or_(pc.less(column, first), pc.greater(column, last))
    if pc.any(outside).as_py():
        if fails:
            shown = column.filter(outside)[0].as_py()
            raise DatasetValidationError(
                f"column '{name}': {shown} is before 1677 or after 2262; out_of_range_datetime='null' reads on, with nulls"
            )
        column = pc.if_else(outside, pa.scalar(None, kind), column)
    return pc.cast(column, pa.timestamp("ns"))


def write_csv(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", folder: Path, separator: str) -> None:
    """Files `part-N.csv` with a header each, quoted where a value needs it; null is an empty field."""
    from pyarrow import csv

    options = csv.WriteOptions(delimiter=separator, quoting_style="needed")
    _write(batches, folder, "csv", lambda path: csv.CSVWriter(path, schema, write_options=options))


def write_parquet(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", folder: Path) -> None:
    """Files `part-N.parquet`."""
    import pyarrow.parquet as pq

    _write(batches, folder, "parquet", lambda path: pq.ParquetWriter(path, schema))


def _write(batches: "Iterable[pa.RecordBatch]", folder: Path, suffix: str, open_writer: Any) -> None:
    """One file after the other; at least one, so that a dataset without rows is one of no rows."""
    number, written, writer = 0, 0, open_writer(folder / f"part-00000.{suffix}")
    try:
        for batch in batches:
            if written >= _FILE_BYTES:
                writer.close()
                number, written = number + 1, 0
                writer = open_writer(folder / f"part-{number:05}.{suffix}")
            writer.write_batch(batch)
            written += batch.nbytes
    finally:
        writer.close()
