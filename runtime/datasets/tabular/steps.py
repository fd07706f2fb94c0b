"""The steps of a tabular dataset: what is done to its rows, in order, as they stream by.

    take, skip             by count, in the order of the files' paths and of the rows in each
    sample, split          by one draw a row, from a generator that the seed begins: the same rows whenever it is read
    keep, drop             columns; names that are not there are no error
    filter                 rows for which an expression is true
    period                 rows whose time lies in a span; files whose partition cannot have one are not opened

Each step is a value, kept as JSON. `start` gives its state for one read: a function from batch to batch, None at the
end.
"""

import datetime as dt
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.datasets import expressions
from runtime.datasets.expressions import Expression
from runtime.datasets.tabular.filtering import mask
from runtime.errors import DatasetValidationError, UserErrorException

if TYPE_CHECKING:
    import pyarrow as pa

Apply = Callable[["pa.RecordBatch"], "pa.RecordBatch | None"]
_SEEDS: Final = 1 << 32
_SEED: Final = 0x6D6F6F72  # where no seed is said: still the same rows at each read


class RowStep(Protocol):
    """One step."""

    def columns(self, there: Sequence[str]) -> list[str]:
        """The columns after it, of those `there` before it."""

    def needs(self) -> set[str]:
        """The columns that it looks at."""

    def start(self) -> Apply:
        """A function for one read: what is left of each batch; None once nothing more can follow."""

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` reads."""


class _Rows:
    """What steps on rows share: the columns stay."""

    def columns(self, there: Sequence[str]) -> list[str]:
        """As RowStep."""
        return list(there)

    def needs(self) -> set[str]:
        """As RowStep."""
        return set()


@dataclass(frozen=True)
class Take(_Rows):
    """The first `count` rows."""

    count: int

    def start(self) -> Apply:
        """As RowStep."""
        left = self.count

        def apply(batch: "pa.RecordBatch") -> "pa.RecordBatch | None":
            nonlocal left
            if left <= 0:
                return None
            part = batch.slice(0, left)
            left -= part.num_rows
            return part

        return apply

    def to_json(self) -> dict[str, Any]:
        """As RowStep."""
        return {"take": self.count}


@dataclass(frozen=True)
class Skip(_Rows):
    """All but the first `count` rows."""

    count: int

    def start(self) -> Apply:
        """As RowStep."""
        left = self.count

        def apply(batch: "pa.RecordBatch") -> "pa.RecordBatch":
            nonlocal left
            part = batch.slice(min(left, batch.num_rows))
            left -= batch.num_rows - part.num_rows
            return part

        return apply

    def to_json(self) -> dict[str, Any]:
        """As RowStep."""
        return {"skip": self.count}


@dataclass(frozen=True)
class Sample(_Rows):
    """Each row whose draw, of all between 0 and 1, lies in [above, below).

    Two of one seed that meet at a bound are the halves of a split, disjoint and complete.
    """

    above: float
    below: float
    seed: int | None = None

    def start(self) -> Apply:
        """As RowStep."""
        import numpy as np
        import pyarrow as pa

        draws = np.random.default_rng(_SEED if self.seed is None else self.seed)

        def apply(batch: "pa.RecordBatch") -> "pa.RecordBatch":
            drawn = draws.random(batch.num_rows)
            return batch.filter(pa.array((drawn >= self.above) & (drawn < self.below)))

        return apply

    def to_json(self) -> dict[str, Any]:
        """As RowStep."""
        return {"sample": [self.above, self.below], "seed": self.seed}


@dataclass(frozen=True)
class Keep:
    """These columns, in the order that they have."""

    names: tuple[str, ...]

    def columns(self, there: Sequence[str]) -> list[str]:
        """As RowStep."""
        return [name for name in there if name in self.names]

    def needs(self) -> set[str]:
        """As RowStep."""
        return set()

    def start(self) -> Apply:
        """As RowStep."""
        return lambda batch: batch.select(self.columns(batch.schema.names))

    def to_json(self) -> dict[str, Any]:
        """As RowStep."""
        return {"keep": list(self.names)}


@dataclass(frozen=True)
class Drop:
    """All columns but these."""

    names: tuple[str, ...]

    def columns(self, there: Sequence[str]) -> list[str]:
        """As RowStep."""
        return [name for name in there if name not in self.names]

    def needs(self) -> set[str]:
        """As RowStep."""
        return set()

    def start(self) -> Apply:
        """As RowStep."""
        return lambda batch: batch.select(self.columns(batch.schema.names))

    def to_json(self) -> dict[str, Any]:
        """As RowStep."""
        return {"drop": list(self.names)}


@dataclass(frozen=True, eq=False)  # two expressions make a third by ==
class Filter(_Rows):
    """Rows for which `expression` is true."""

    expression: Expression

    def needs(self) -> set[str]:
        """As RowStep."""
        return expressions.names(self.expression)

    def start(self) -> Apply:
        """As RowStep."""
        return lambda batch: batch.filter(mask(self.expression, batch))

    def to_json(self) -> dict[str, Any]:
        """As RowStep."""
        return {"filter": expressions.to_json(self.expression)}


@dataclass(frozen=True)
class Period(_Rows):
    """Rows whose `column` is a time from `start_time` to `end_time`; None is no bound.

    `partition` is the column of the files' own dates, if there is one.
    """

    column: str
    start_time: dt.datetime | None = None
    end_time: dt.datetime | None = None
    with_bounds: bool = True
    partition: str | None = None

    def needs(self) -> set[str]:
        """As RowStep."""
        return {self.column}

    def start(self) -> Apply:
        """As RowStep."""
        return Filter(self.expression).start()

    @property
    def expression(self) -> Expression:
        """The same as an expression."""
        of, found = expressions.column(self.column), []
        if self.start_time is not None:
            found.append(of >= self.start_time if self.with_bounds else of > self.start_time)
        if self.end_time is not None:
            found.append(of <= self.end_time if self.with_bounds else of < self.end_time)
        return found[0] if len(found) == 1 else found[0] & found[1]

    def may_have(self, begin: dt.datetime, end: dt.datetime) -> bool:
        """Whether a file of the rows of [begin, end) can have one that stays."""
        return (self.start_time is None or end > self.start_time) and (self.end_time is None or begin <= self.end_time)

    def to_json(self) -> dict[str, Any]:
        """As RowStep."""
        times = [None if each is None else each.isoformat() for each in (self.start_time, self.end_time)]
        return {"period": times, "column": self.column, "with_bounds": self.with_bounds, "partition": self.partition}


def from_json(document: Mapping[str, Any]) -> RowStep:
    """The inverse of `to_json`.

    Raises:
        DatasetValidationError: it is none, or of a newer Moorage.
    """
    made: dict[str, Callable[[Any], Any]] = {
        "take": Take,
        "skip": Skip,
        "sample": lambda bounds: Sample(bounds[0], bounds[1], document["seed"]),
        "keep": lambda names: Keep(tuple(names)),
        "drop": lambda names: Drop(tuple(names)),
        "filter": lambda tree: Filter(expressions.from_json(tree)),
        "period": lambda times: Period(
            document["column"], _time(times[0]), _time(times[1]), document["with_bounds"], document["partition"]
        ),
    }
    kind = next(iter(document), "")
    if kind not in made:
        raise DatasetValidationError(f"a dataset's step {kind!r} is not known to this Moorage; install a newer one")
    step: RowStep = made[kind](document[kind])
    return step


def _time(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)


def checked_count(count: object, what: str) -> int:
    """`count`, if it is a number of rows.

    Raises:
        ValueError: it is none, as v1 raises it.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{what}({count!r}): a number of rows is 0 or more")
    return count


def checked_share(share: object, what: str) -> float:
    """`share`, if it lies between 0 and 1.

    Raises:
        ValueError: it does not.
    """
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= float(share) <= 1:
        raise ValueError(f"{what}({share!r}): a share lies between 0 and 1")
    return float(share)


def settled_seed(seed: object) -> int:
    """`seed`; one is drawn where there is none, and kept, so that the dataset stays what it is.

    Raises:
        ValueError: it is none, as v1 raises it.
    """
    if seed is None:
        return secrets.randbelow(_SEEDS)
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed={seed!r}: a seed is a whole number, 0 or more")
    return int(seed)


def checked_names(names: str | Sequence[str], what: str) -> tuple[str, ...]:
    """Column names as a step keeps them: one, or several."""
    found = (names,) if isinstance(names, str) or not isinstance(names, Iterable) else tuple(names)
    if not all(isinstance(name, str) for name in found):
        raise UserErrorException(f"{what}: {names!r} are no names of columns")
    return found
