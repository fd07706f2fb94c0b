"""What a table's columns hold, in numbers: one pass over its batches, in bounded memory.

A `Summary` is fed batch by batch, and two of two parts of a table merge into that of the whole; `profile()` is what it
has come to. Counts, bounds and moments are exact. Quantiles and histograms are so up to 20,000 numbers, or where a column
has few different ones; beyond that they are a sketch's (`sketch`). Values are counted one by one as long as a column has at
most `_VALUES` different ones.

Missing is null or no number (nan); empty is text without a character. A number that is infinite counts for the bounds only.
"""

# ruff: noqa: SLF001 # a summary looks into another one that it merges

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runtime.datasets.tabular.sketch import Distinct, Moments, Quantiles

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

QUANTILES: Final = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
BINS: Final = 100
_VALUES: Final = 10_000
_TOP: Final = 1_000


@dataclass(frozen=True, slots=True)
class HistogramBucket:
    """How many numbers lie from `lower_bound` to `upper_bound`."""

    lower_bound: float
    upper_bound: float
    count: float


@dataclass(frozen=True, slots=True)
class ValueCountEntry:
    """How often a value stands in a column."""

    value: Any
    count: int


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column, by v1's names; None is what its type does not have.

    `quantiles` by share; `histogram` of 100 bins of the same width between the least and the greatest number;
    `value_counts` from the most frequent, or None where there are too many values; `unique_values` how many there are,
    beyond 4,096 about. `skewness` and `kurtosis` (less 3) are those of all values, `variance` a sample's.
    """

    name: str
    type: str
    count: int
    missing_count: int
    empty_count: int
    unique_values: int
    min: Any = None
    max: Any = None
    mean: float | None = None
    std: float | None = None
    variance: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None
    quantiles: dict[float, float] | None = None
    histogram: tuple[HistogramBucket, ...] | None = None
    value_counts: tuple[ValueCountEntry, ...] | None = None

    @property
    def not_missing_count(self) -> int:
        """The rows with a value."""
        return self.count - self.missing_count

    @property
    def percent_missing(self) -> float:
        """The share of rows without one, from 0 to 1."""
        return self.missing_count / self.count if self.count else 0.0

    @property
    def median(self) -> float | None:
        """The middle of the numbers."""
        return self.quantiles[0.5] if self.quantiles else None

    @property
    def lower_quartile(self) -> float | None:
        """A quarter of the numbers is below it."""
        return self.quantiles[0.25] if self.quantiles else None

    @property
    def upper_quartile(self) -> float | None:
        """A quarter of the numbers is above it."""
        return self.quantiles[0.75] if self.quantiles else None


@dataclass(frozen=True, slots=True)
class DataProfile:
    """A whole table: its columns by name, in their order."""

    row_count: int
    columns: dict[str, ColumnProfile]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.row_count, len(self.columns)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; times as text."""
        return {
            "row_count": self.row_count,
            "columns": {name: _plain(dataclasses.asdict(each)) for name, each in self.columns.items()},
        }

    def to_pandas_dataframe(self) -> "pd.DataFrame":
        """A row a column, without histogram and values."""
        import pandas as pd

        told = [dataclasses.asdict(each) for each in self.columns.values()]
        for row in told:
            quantiles = row.pop("quantiles") or {}
            row |= {f"quantile_{share}": quantiles.get(share) for share in QUANTILES}
        frame = pd.DataFrame(told).drop(columns=["histogram", "value_counts"], errors="ignore")
        return frame.set_index("name") if len(frame) else frame


class Summary:
    """What has been seen of a table with the columns of `schema`."""

    def __init__(self, schema: "pa.Schema") -> None:
        self._rows = 0
        self._columns = [_ColumnSummary(field.name, field.type) for field in schema]

    def add(self, batch: "pa.RecordBatch") -> None:
        """Count the rows of `batch` in."""
        self._rows += batch.num_rows
        for summary, column in zip(self._columns, batch.columns, strict=True):
            summary.add(column)

    def merge(self, other: "Summary") -> None:
        """Count in what `other`, of another part of the table, has seen; it is used up."""
        self._rows += other._rows
        for one, two in zip(self._columns, other._columns, strict=True):
            one.merge(two)

    def profile(self) -> DataProfile:
        """What it comes to."""
        return DataProfile(self._rows, {each.name: each.profile() for each in self._columns})


class _ColumnSummary:
    def __init__(self, name: str, kind: "pa.DataType") -> None:
        self.name, self._type = name, _type_name(kind)
        self._count = self._missing = self._empty = 0
        self._bounds: list[Any] = []
        self._moments, self._quantiles, self._distinct = Moments(), Quantiles(), Distinct()
        self._values: Counter[Any] | None = Counter()

    def add(self, column: "pa.Array") -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_floating(column.type) and column.type != pa.float16():
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
            column = pc.add(column, pa.scalar(0.0, column.type))  # of the two zeros one
        self._count += len(column)
        self._missing += column.null_count
        column = column.drop_null()
        if not len(column) or self._type == "nested":
            return
        if self._type == "text":
            self._empty += pc.sum(pc.equal(column, "")).as_py() or 0
        if self._type != "boolean":
            found = pc.min_max(column).as_py()
            self._bound(found["min"], found["max"])
        if self._type in {"integer", "float"}:
            numbers = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            self._count_numbers(numbers)
        self._count_values(pc.value_counts(column))

    def merge(self, other: "_ColumnSummary") -> None:
        self._count += other._count
        self._missing += other._missing
        self._empty += other._empty
        self._bound(*other._bounds)
        self._moments.merge(other._moments)
        self._quantiles.merge(other._quantiles)
        self._distinct.merge(other._distinct)
        self._values = None if self._values is None or other._values is None else self._values + other._values
        self._limit()

    def profile(self) -> ColumnProfile:
        numbers = self._moments
        is_number = bool(numbers.count)
        variance = numbers.variance if is_number else None
        least, greatest = (self._bounds[0], self._bounds[1]) if self._bounds else (None, None)
        return ColumnProfile(
            self.name,
            self._type,
            self._count,
            self._missing,
            self._empty,
            self._distinct.count if self._values is None else len(self._values),
            min=least,
            max=greatest,
            mean=numbers.mean if is_number else None,
            std=None if variance is None else variance**0.5,
            variance=variance,
            skewness=numbers.skewness if is_number else None,
            kurtosis=numbers.kurtosis if is_number else None,
            quantiles=dict(zip(QUANTILES, self._shares().at(list(QUANTILES)), strict=True)) if is_number else None,
            histogram=self._histogram() if is_number else None,
            value_counts=self._top(),
        )

    def _count_numbers(self, numbers: "np.ndarray[Any, Any]") -> None:
        import numpy as np

        finite = numbers[np.isfinite(numbers)]
        self._moments.add(finite)
        self._quantiles.add(finite)

    def _count_values(self, counted: "pa.StructArray") -> None:
        values, counts = counted.field("values"), counted.field("counts")
        self._distinct.add(values.to_numpy(zero_copy_only=False))
        if self._values is not None:
            self._values.update(dict(zip(values.to_pylist(), counts.to_pylist(), strict=True)))
            self._limit()

    def _limit(self) -> None:
        if self._values is not None and len(self._values) > _VALUES:
            self._values = None

    def _bound(self, *found: Any) -> None:
        known = [*self._bounds, *found]
        self._bounds = [min(known), max(known)] if known else []

    def _top(self) -> tuple[ValueCountEntry, ...] | None:
        if self._values is None or self._type == "nested":
            return None
        found = sorted(self._values.items(), key=lambda each: (-each[1], str(each[0])))
        return tuple(ValueCountEntry(value, count) for value, count in found[:_TOP])

    def _shares(self) -> Quantiles:
        """By the values themselves where each is counted."""
        return self._quantiles if self._values is None else Quantiles.of(self._values)

    def _histogram(self) -> tuple[HistogramBucket, ...]:
        import numpy as np

        shares = self._shares()
        least, greatest = shares.bounds
        edges = np.linspace(least, greatest, BINS + 1) if least < greatest else np.array([least, least])
        counts = shares.counts(edges)
        return tuple(
            HistogramBucket(float(one), float(other), float(count))
            for one, other, count in zip(edges[:-1], edges[1:], counts, strict=True)
        )


def _type_name(kind: "pa.DataType") -> str:
    import pyarrow as pa

    names: tuple[tuple[Any, str], ...] = (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (lambda of: pa.types.is_floating(of) or pa.types.is_decimal(of), "float"),
        (pa.types.is_temporal, "datetime"),
        (lambda of: pa.types.is_string(of) or pa.types.is_large_string(of), "text"),
    )
    return next((name for holds, name in names if holds(kind)), "nested")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
