"""What can be asked of a tabular dataset's rows: their columns, batches, frames of several libraries, and files."""

import contextlib
import datetime as dt
import logging
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from runtime.api.registered import RegisteredDataset
from runtime.catalog import DatasetRecord
from runtime.datasets import contents, file
from runtime.datasets.file import FileDefinition, FrozenDataset
from runtime.datasets.tabular import evaluating
from runtime.datasets.tabular.definition import Query, TabularDefinition
from runtime.datasets.tabular.files import answer_file, open_files
from runtime.datasets.tabular.violations import Violations
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder, find

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from runtime.datasets.tabular.evaluating import Rows, Source
    from runtime.datasets.tabular.files import TableFile
    from runtime.datasets.tabular.profile import DataProfile

_LOG = logging.getLogger(__name__)
_ON = ("null", "fail")
_TOLD: set[str] = set()  # notes are said once a process


class TabularRows(RegisteredDataset):
    """The rows of a definition and of the files that it was frozen into, which happens when they are first asked for."""

    def __init__(
        self,
        definition: TabularDefinition,
        folder: WorkspaceFolder | None = None,
        record: DatasetRecord | None = None,
        origin: "TabularRows | None" = None,
    ) -> None:
        super().__init__(folder, record)
        self.definition = definition
        self._origin = origin  # whose rows these are a part of
        self._frozen: FrozenDataset | None = None
        self._schema: pa.Schema | None = None
        self._profile: DataProfile | None = None

    @property
    def partition_keys(self) -> list[str]:
        """The parts of the partition format; none if there is none."""
        return list(self.definition.partition.names) if self.definition.partition else []

    @property
    def data_changed_time(self) -> dt.datetime | None:
        """When the newest of its frozen files was changed, in UTC; None if their store tells no time, and of a query."""
        return None if isinstance(self.definition.source, Query) else contents.newest(self.frozen().manifest)

    def get_partition_key_values(self, partition_keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The different values of these parts (None: of all) that its files have; files without bytes do not count.

        Raises:
            UserErrorException: a key is no part of the partition format, or there is none.
        """
        keys = self.partition_keys if partition_keys is None else list(partition_keys)
        if unknown := [key for key in keys if key not in self.partition_keys]:
            raise UserErrorException(
                f"no partition key {unknown[0]!r}; there are {', '.join(self.partition_keys) or 'none'}"
            )
        if not keys:
            raise UserErrorException("there are no partition keys; give a partition_format")
        with open_files(self.folder, self.frozen()) as files:
            return evaluating.partition_values(self.definition, files, keys)

    @property
    def schema(self) -> "pa.Schema":
        """The columns and their Arrow types; reads the first rows, once."""
        if self._schema is None:
            with self._rows() as rows:
                self._schema = rows.schema
        return self._schema

    def to_batches(self, on_error: str = "null", share: tuple[int, int] = (0, 1)) -> "Generator[pa.RecordBatch]":
        """The rows as Arrow record batches, read as they are asked for.

        `share` (number, count) is what one of `count` readers gets who are to have each row once: some of the files, or,
        where there are fewer files or a step counts rows, some of the batches.

        Raises:
            DatasetValidationError: the files are not what the dataset says; with on_error='fail', a value is none of its
                column's type.
        """
        with self._rows(on_error, share) as rows:
            yield from rows.batches

    def to_arrow(self, on_error: str = "null") -> "pa.Table":
        """All rows as one Arrow table; errors as `to_batches`."""
        import pyarrow as pa

        with self._rows(on_error) as rows:
            return pa.Table.from_batches(rows.batches, rows.schema)

    def to_polars(self, on_error: str = "null") -> "pl.DataFrame":
        """All rows as a frame of polars, which must be installed; errors as `to_batches`."""
        import polars as pl

        return pl.DataFrame(self.to_arrow(on_error))

    def to_pandas_dataframe(self, on_error: str = "null", out_of_range_datetime: str = "null") -> "pd.DataFrame":
        """All rows as a frame of pandas; with a timestamp column, that is also the index.

        Times are datetime64[ns]; one before 1677 or after 2262 does not fit and is null, or, with 'fail', an error.

        Raises:
            DatasetValidationError: as `to_batches`.
        """
        return self._to_pandas(on_error, out_of_range_datetime, (0, 1))

    def _to_pandas(self, on_error: str, out_of_range_datetime: str, share: tuple[int, int]) -> "pd.DataFrame":
        import pyarrow as pa

        from runtime.datasets.tabular.frames import to_pandas

        _check_word("out_of_range_datetime", out_of_range_datetime)
        with self._rows(on_error, share) as rows:
            table = pa.Table.from_batches(rows.batches, rows.schema)
        frame = to_pandas(table, fails=out_of_range_datetime == "fail")
        if self.definition.timestamp in frame.columns:
            frame.index = frame[self.definition.timestamp].rename(None)
        return frame

    def get_profile(self, workspace: object = None) -> "DataProfile":  # noqa: ARG002 # v1's, which asked a service
        """Counts, bounds, moments, quantiles, histogram and most frequent values of each column; reads all rows, once.

        Raises:
            DatasetValidationError: as `to_batches`.
        """
        from runtime.datasets.tabular.profile import Summary

        if self._profile is None:
            with self._rows() as rows:
                summary = Summary(rows.schema)
                for batch in rows.batches:
                    summary.add(batch)
            self._profile = summary.profile()
        return self._profile

    def frozen(self) -> FrozenDataset:
        """The manifest of its files; made on first use.

        Raises:
            UserErrorException: it is a query and has none.
        """
        if not self.definition.paths:
            file.files_of(self.definition.to_json())
        if self._frozen is None:
            if self._origin is not None and self._record is None:
                self._frozen = self._origin.frozen()
            elif self._record is None:
                self._frozen = file.freeze_definition(self.folder, FileDefinition(self.definition.paths))
            else:
                self._frozen = file.open_record(self.folder, self._record)
        return self._frozen

    @property
    def folder(self) -> WorkspaceFolder:
        """The workspace folder that it belongs to: its datastore's, or the one that this process finds."""
        self._folder = self._folder or find()
        return self._folder

    @contextlib.contextmanager
    def _opened(self) -> "Iterator[tuple[list[TableFile], Source | None]]":
        """Its files; of a query the answer."""
        if not isinstance(self.definition.source, Query):
            with open_files(self.folder, self.frozen()) as files:
                yield files, None
            return
        from runtime.datasets.tabular import query

        with query.opened(self.folder, self.definition.source) as answer:
            source = evaluating.Source(answer.schema, lambda _, wanted: answer.read(wanted))
            yield [answer_file(self.definition.source.datastore)], source

    @contextlib.contextmanager
    def _rows(self, on_error: str = "null", share: tuple[int, int] = (0, 1)) -> "Iterator[Rows]":
        _check_word("on_error", on_error)
        violations = Violations(fails=on_error == "fail")
        with self._opened() as (files, source):
            rows = evaluating.evaluate(self.definition, files, violations, share, source)
            for note in set(rows.notes) - _TOLD:
                _TOLD.add(note)
                _LOG.warning("%s", note)
            yield rows


def _check_word(name: str, given: str) -> None:
    if given not in _ON:
        raise UserErrorException(f"{name}={given!r}: use 'null' or 'fail'")
