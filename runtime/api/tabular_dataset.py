"""TabularDataset: v1's face of the rows that `runtime.datasets.tabular` reads.

As a FileDataset it is a definition until its files are asked for, and stays with what it first saw. Nothing is read until
rows are asked for, and then no more than they take.
"""

import dataclasses
import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.api.registered import folder_of
from runtime.api.tabular_exports import TabularExports
from runtime.catalog import DatasetRecord
from runtime.datasets import expressions, file
from runtime.datasets.expressions import Expression
from runtime.datasets.tabular import dates, queries, steps
from runtime.datasets.tabular.definition import TabularDefinition
from runtime.datasets.tabular.steps import Period, RowStep
from runtime.errors import DatasetTimestampMissingError, DatasetValidationError, UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from runtime.api.consumption import DatasetConsumptionConfig
    from runtime.api.workspace import Workspace


class TabularDataset(TabularExports):
    """Rows with named columns."""

    @property
    def timestamp_columns(self) -> tuple[str | None, str | None]:
        """The columns of the rows' times and of their files' dates; None where there is none."""
        return self.definition.timestamp, self.definition.partition_timestamp

    def register(
        self,
        workspace: "Workspace",
        name: str,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        create_new_version: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> "TabularDataset":
        """Register what this dataset has seen, or sees now; returns the registered version, this object stays as it is.

        Raises:
            UserErrorException: `name` exists and `create_new_version` is False, or a version of it is exactly this.
            MountdError: nothing is there, or a store refuses or cannot be reached.
        """
        has_files = bool(self.definition.paths)
        register = functools.partial(file.register, frozen=self.frozen()) if has_files else queries.register
        record = register(
            folder_of(workspace),
            name,
            self.definition,
            description=description,
            tags=tags,
            create_new_version=create_new_version,
        )
        return TabularDataset(self.definition, folder_of(workspace), record)

    def take(self, count: int) -> "TabularDataset":
        """The first `count` rows."""
        return self._then(steps.Take(steps.checked_count(count, "take")))

    def skip(self, count: int) -> "TabularDataset":
        """All rows but the first `count`."""
        return self._then(steps.Skip(steps.checked_count(count, "skip")))

    def take_sample(self, probability: float, seed: int | None = None) -> "TabularDataset":
        """Each row with this probability; the same `seed` gives the same rows, None draws one."""
        return self._then(steps.Sample(0, steps.checked_share(probability, "take_sample"), steps.settled_seed(seed)))

    def random_split(self, percentage: float, seed: int | None = None) -> "tuple[TabularDataset, TabularDataset]":
        """About `percentage` (0 to 1) of the rows, and all the others; `seed` as in `take_sample`."""
        share, drawn = steps.checked_share(percentage, "random_split"), steps.settled_seed(seed)
        return self._then(steps.Sample(0, share, drawn)), self._then(steps.Sample(share, 1, drawn))

    def keep_columns(self, columns: str | Sequence[str], validate: bool = False) -> "TabularDataset":  # noqa: FBT001, FBT002 # v1's signature
        """These columns, in the order that they have; names that are not there are no error, unless `validate`."""
        kept = self._then(steps.Keep(steps.checked_names(columns, "keep_columns")), columns)
        if validate and (missing := set(steps.checked_names(columns, "keep_columns")) - set(kept.schema.names)):
            raise DatasetValidationError(f"no column '{min(missing)}'; there are {', '.join(self.schema.names)}")
        return kept

    def drop_columns(self, columns: str | Sequence[str]) -> "TabularDataset":
        """All columns but these."""
        names = steps.checked_names(columns, "drop_columns")
        definition = self.definition
        left = tuple(None if each in names else each for each in self.timestamp_columns)
        return self._with(
            dataclasses.replace(
                definition,
                steps=(*definition.steps, steps.Drop(names)),
                timestamp=left[0],
                partition_timestamp=left[1],
            )
        )

    def filter(self, expression: Expression) -> "TabularDataset":
        """The rows for which `expression` is true, such as `ds['age'] > 30`.

        Raises:
            UserErrorException: it is no expression.
        """
        if not isinstance(expression, Expression):
            raise UserErrorException(f"filter takes an expression such as ds['age'] > 30, and not {expression!r}")
        return self._then(steps.Filter(expression))

    def __getitem__(self, key: str | Sequence[str]) -> Any:
        """A column, for `filter`; a list of names keeps these columns."""
        return expressions.column(key) if isinstance(key, str) else self.keep_columns(key)

    def with_timestamp_columns(
        self,
        timestamp: str | None = None,
        partition_timestamp: str | None = None,
        validate: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        **kwargs: str,
    ) -> "TabularDataset":
        """Say which column holds the rows' times, and which the dates of their files.

        Raises:
            UserErrorException: both are the same, or an argument is unknown.
            DatasetValidationError: with `validate`, a column is not there or holds no times.
        """
        timestamp = kwargs.pop("fine_grain_timestamp", timestamp)
        partition_timestamp = kwargs.pop("coarse_grain_timestamp", partition_timestamp)
        if kwargs:
            raise UserErrorException(
                f"with_timestamp_columns takes no {min(kwargs)!r}; use timestamp and partition_timestamp"
            )
        if timestamp and timestamp == partition_timestamp:
            raise UserErrorException(
                f"timestamp and partition_timestamp are both {timestamp!r}; give two columns, or one"
            )
        if partition_timestamp and not timestamp:
            raise UserErrorException(
                f"partition_timestamp={partition_timestamp!r} needs a timestamp; name the column of the rows' times"
            )
        made = self._with(
            dataclasses.replace(self.definition, timestamp=timestamp, partition_timestamp=partition_timestamp)
        )
        if validate:
            made._check_times(timestamp, partition_timestamp)  # noqa: SLF001 # our own
        return made

    def _check_times(self, *names: str | None) -> None:
        import pyarrow as pa

        schema = self.schema
        for name in filter(None, names):
            if name not in schema.names:
                raise DatasetValidationError(f"no column '{name}'; there are {', '.join(schema.names)}")
            if not pa.types.is_temporal(schema.field(name).type):
                raise DatasetValidationError(
                    f"column '{name}' holds no times but {schema.field(name).type}; set_column_types="
                    f"{{'{name}': DataType.to_datetime(...)}} reads it as such"
                )

    def time_before(
        self,
        end_time: dt.datetime,
        include_boundary: bool = True,  # noqa: FBT001, FBT002 # v1's signature
        validate: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> "TabularDataset":
        """The rows up to `end_time`.

        Raises:
            DatasetTimestampMissingError: no column of times was said.
        """
        return self._period(None, end_time, include_boundary, validate)

    def time_after(
        self,
        start_time: dt.datetime,
        include_boundary: bool = True,  # noqa: FBT001, FBT002 # v1's signature
        validate: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> "TabularDataset":
        """The rows from `start_time` on; errors as `time_before`."""
        return self._period(start_time, None, include_boundary, validate)

    def time_between(
        self,
        start_time: dt.datetime,
        end_time: dt.datetime,
        include_boundary: bool = True,  # noqa: FBT001, FBT002 # v1's signature
        validate: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> "TabularDataset":
        """The rows from `start_time` to `end_time`; errors as `time_before`."""
        return self._period(start_time, end_time, include_boundary, validate)

    def time_recent(
        self,
        time_delta: dt.timedelta,
        include_boundary: bool = True,  # noqa: FBT001, FBT002 # v1's signature
        validate: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> "TabularDataset":
        """The rows of the last `time_delta` before now, by this machine's clock; errors as `time_before`."""
        if not isinstance(time_delta, dt.timedelta):
            raise UserErrorException(f"time_recent takes a timedelta, and not {time_delta!r}")
        now = dt.datetime.now()  # noqa: DTZ005 # as v1: rows without a zone are taken for local time
        return self._period(now - time_delta, now, include_boundary, validate)

    def _period(
        self,
        start_time: dt.datetime | None,
        end_time: dt.datetime | None,
        with_bounds: bool,  # noqa: FBT001 # as v1's
        validate: bool,  # noqa: FBT001 # as v1's
    ) -> "TabularDataset":
        timestamp, partition = self.timestamp_columns
        column = timestamp or partition
        if column is None:
            raise DatasetTimestampMissingError(
                "no column of times is known; say which by with_timestamp_columns(timestamp='...')"
            )
        for moment in (start_time, end_time):
            if moment is not None and not isinstance(moment, dt.datetime):
                raise UserErrorException(f"{moment!r} is no datetime")
        if start_time is not None and end_time is not None and dates.naive(start_time) > dates.naive(end_time):
            raise UserErrorException(f"the span begins {start_time} after its end {end_time}")
        if validate:
            self._check_times(timestamp, partition)
        start, end = (None if each is None else dates.naive(each) for each in (start_time, end_time))
        return self._then(Period(column, start, end, with_bounds, partition))

    def as_named_input(self, name: str) -> "DatasetConsumptionConfig":
        """This dataset as the input `name` of a job, which gets it by `run.input_datasets[name]`."""
        from runtime.api.consumption import DatasetConsumptionConfig

        return DatasetConsumptionConfig(name, self)

    def saved_in(self, folder: WorkspaceFolder) -> DatasetRecord:
        """The catalog's record of this dataset in the workspace `folder`; saved there without a name if it has none."""
        if self._record is None or (self._folder is not None and self._folder != folder):
            saved = functools.partial(file.save, frozen=self.frozen()) if self.definition.paths else queries.save
            record = saved(folder, self.definition)
            self._folder, self._record, self._frozen = folder, record, None
        return self._record

    def _then(self, step: RowStep, kept: "str | Sequence[str] | None" = None) -> "TabularDataset":
        definition = dataclasses.replace(self.definition, steps=(*self.definition.steps, step))
        if kept is not None:
            names = steps.checked_names(kept, "keep_columns")
            definition = dataclasses.replace(
                definition,
                timestamp=definition.timestamp if definition.timestamp in names else None,
                partition_timestamp=definition.partition_timestamp if definition.partition_timestamp in names else None,
            )
        return self._with(definition)

    def _with(self, definition: TabularDefinition) -> "TabularDataset":
        return TabularDataset(definition, self._folder, origin=self)

    def __repr__(self) -> str:
        paths = ", ".join(str(path) for path in self.definition.paths)
        return f"TabularDataset(id={self.id!r}, name={self.name!r}, version={self.version!r}, paths=[{paths}])"
