"""Rows of a table as torch takes them: an IterableDataset whose rows are shared among a DataLoader's workers.

Each worker, forked or spawned, opens the files by itself, reads its share, and makes tensors of numbers, truths and times
(in microseconds since 1970, as int64); text and the rest stay as they are. A missing number is nan, anything else missing
is None.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.utils.data import IterableDataset, get_worker_info

from runtime.errors import UserErrorException

if TYPE_CHECKING:
    import pyarrow as pa


class Shares(Protocol):
    """What can be pickled, and gives the share `number` of `count` of its rows."""

    def batches(self, number: int, count: int) -> "Iterator[pa.RecordBatch]":
        """The rows of a share."""


class TorchRows(IterableDataset):  # type: ignore[misc] # torch is not there where types are checked
    """Rows as dictionaries; with `batch_size`, so many at once, the last ones of a share fewer."""

    def __init__(self, shares: Shares, batch_size: int | None = None) -> None:
        super().__init__()
        checked: object = batch_size
        if checked is not None and (isinstance(checked, bool) or not isinstance(checked, int) or checked < 1):
            raise UserErrorException(f"batch_size={batch_size!r}: a number of rows is 1 or more")
        self._shares, self._batch_size = shares, batch_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        batches = self._shares.batches(worker.id, worker.num_workers) if worker else self._shares.batches(0, 1)
        if self._batch_size is None:
            for batch in batches:
                columns = {name: _values(batch.column(name)) for name in batch.schema.names}
                for number in range(batch.num_rows):
                    yield {name: values[number] for name, values in columns.items()}
            return
        for batch in _sized(batches, self._batch_size):
            yield {name: _values(batch.column(name).combine_chunks()) for name in batch.schema.names}


def _sized(batches: "Iterator[pa.RecordBatch]", size: int) -> "Iterator[pa.Table]":
    """The same rows, `size` at once."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count < size:
            continue
        table = pa.Table.from_batches(waiting)
        whole = count - count % size
        yield from (table.slice(begin, size) for begin in range(0, whole, size))
        waiting, count = table.slice(whole).to_batches(), count - whole
    if count:
        yield pa.Table.from_batches(waiting)


def _values(column: "pa.Array") -> Any:
    """A tensor, or a list of what is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_timestamp(kind) and not column.null_count:
        column, kind = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64()), pa.int64()
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if column.null_count and is_number:
        column = pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan"))
    elif column.null_count or not (is_number or pa.types.is_boolean(kind)):
        return column.to_pylist()
    return torch.from_numpy(column.to_numpy(zero_copy_only=False).copy())
