"""Rows as parquet files in folders by the values of some columns: `VALUE/VALUE/part.parquet`, without these columns.

Rows are grouped batch by batch and wait by folder until all that wait is `_WAITING_BYTES`; then the fullest folders are
written. A folder has one file, or more where so many are written at once that one had to be closed (`_OPEN`).

What a folder cannot be called, so that the partition format reads it back as it was, is an error before it is written.
"""

import datetime as dt
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from runtime.datasets.tabular.kinds import ColumnType, Kind
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

DATE_FORM: Final = "yyyyMMddHHmmss"
_STRPTIME: Final = "%Y%m%d%H%M%S"
_OPEN: Final = 128  # files; a process may have 1,024
_WAITING_BYTES: Final = 64 << 20
_NAME: Final = re.compile(r"[^/\\.\x00]{1,200}")


def partition_format(schema: "pa.Schema", keys: Sequence[str], above: str) -> str:
    """The format that reads the folders back; it has one date at most. `above` is the name of the folder that holds them."""
    dates = [key for key in keys if _type(schema, key).kind is Kind.DATETIME]
    parts = [f"{{{key}:{DATE_FORM}}}" if key in dates[:1] else f"{{{key}}}" for key in keys]
    return "/".join([above, *parts, "*.parquet"])


def key_types(schema: "pa.Schema", keys: Sequence[str]) -> dict[str, ColumnType]:
    """The types that the folders' names are to be read as.

    Raises:
        UserErrorException: a key is of a type that no folder's name can tell.
    """
    return {key: _type(schema, key) for key in keys}


def write(batches: "Iterable[pa.RecordBatch]", schema: "pa.Schema", keys: Sequence[str], folder: Path) -> None:
    """Write all rows below `folder`.

    Raises:
        UserErrorException: a value of a key is missing, or can be no folder.
    """
    import pyarrow as pa

    left = pa.schema([field for field in schema if field.name not in keys])
    waiting: dict[str, list[pa.RecordBatch]] = {}
    sizes: dict[str, int] = {}
    with _Files(folder, left) as files:
        for batch in batches:
            for place, part in _parts(batch, keys):
                waiting.setdefault(place, []).append(part.select(left.names))
                sizes[place] = sizes.get(place, 0) + part.nbytes
            while sum(sizes.values()) > _WAITING_BYTES:
                fullest = max(sizes, key=lambda place: sizes[place])
                files.write(fullest, waiting.pop(fullest))
                del sizes[fullest]
        for place, parts in waiting.items():
            files.write(place, parts)


def _parts(batch: "pa.RecordBatch", keys: Sequence[str]) -> "Iterator[tuple[str, pa.RecordBatch]]":
    """The rows of each folder, in the order that they have."""
    import numpy as np
    import pyarrow as pa

    code, values = np.zeros(batch.num_rows, np.int64), []
    for key in keys:
        column = batch.column(key)
        if column.null_count:
            raise UserErrorException(
                f"partition key '{key}' has rows without a value; leave them out first: filter(ds['{key}'] != None)"
            )
        encoded = column.dictionary_encode()
        values.append([_folder(key, each) for each in encoded.dictionary.to_pylist()])
        code = code * len(values[-1]) + encoded.indices.to_numpy()
    order = np.argsort(code, kind="stable")
    ends = np.flatnonzero(np.diff(code[order], append=-1)) + 1
    rows = batch.take(pa.array(order))
    begin = 0
    for end in ends.tolist():
        rest, names = int(code[order[begin]]), list[str]()
        for each in reversed(values):
            rest, at = divmod(rest, len(each))
            names.insert(0, each[at])
        yield "/".join(names), rows.slice(begin, end - begin)
        begin = end


def _folder(key: str, value: Any) -> str:
    """What a value's folder is called."""
    if isinstance(value, dt.datetime) and not value.microsecond:
        return value.strftime(_STRPTIME).zfill(14)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, dt.datetime) or not _NAME.fullmatch(text):
        raise UserErrorException(
            f"partition key '{key}': no folder can stand for {value!r}; a key's values are whole seconds, or text without "
            "'/', '\\' and '.'"
        )
    return text


def _type(schema: "pa.Schema", key: str) -> ColumnType:
    import pyarrow as pa

    kind = schema.field(key).type
    if pa.types.is_timestamp(kind):
        return ColumnType(Kind.DATETIME, (_STRPTIME,))
    for holds, found in (
        (pa.types.is_string, Kind.STRING),
        (pa.types.is_boolean, Kind.BOOLEAN),
        (pa.types.is_integer, Kind.INTEGER),
    ):
        if holds(kind):
            return ColumnType(found)
    raise UserErrorException(
        f"partition key '{key}' is {kind}; a key is text, a whole number, true or false, or a time"
    )


class _Files:
    """The files being written, the one that was last written to last."""

    def __init__(self, folder: Path, schema: "pa.Schema") -> None:
        self._folder, self._schema = folder, schema
        self._open: OrderedDict[str, pq.ParquetWriter] = OrderedDict()
        self._numbers: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open.values():
            each.close()

    def write(self, place: str, parts: "Sequence[pa.RecordBatch]") -> None:
        """Put rows into the file of the folder `place`."""
        import pyarrow as pa

        if place not in self._open:
            if len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[place] = self._new(place)
        self._open.move_to_end(place)
        self._open[place].write_table(pa.Table.from_batches(parts, self._schema).combine_chunks())

    def _new(self, place: str) -> "pq.ParquetWriter":
        import pyarrow.parquet as pq

        number = self._numbers.get(place, 0)
        self._numbers[place] = number + 1
        path = self._folder / place / (f"part-{number:05}.parquet" if number else "part.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        return pq.ParquetWriter(path, self._schema)
