"""An expression over one row of a dataset: a tree that is built by operators, kept as JSON, and evaluated later.

`column('size') > 10` builds, and nothing is looked at until `evaluate` is given a row. A row is a function from (kind, name)
to a value: kind 'column' for what a dataset's columns or partitions hold, 'file' for what is known of a file.

A value is also *nothing* (None) or an *error* (`Failed`): an operation on the wrong type fails for that row and not for
the dataset. `==` and `!=` know nothing from something; every other operation on nothing gives nothing; `&` and `|` answer as
soon as one side settles it. A filter keeps the rows for which the whole is True. Times without a zone are UTC.
"""

import datetime as dt
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runtime.errors import DatasetValidationError, UserErrorException

Row = Callable[[str, str], object]
_SOURCES: Final = ("column", "file")


@dataclass(frozen=True, slots=True)
class Failed:
    """The value of an operation that its operands do not allow."""

    reason: str


class Expression:
    """One node; its operands are nodes, or plain values."""

    __hash__ = object.__hash__

    def __init__(self, operation: str, *operands: object) -> None:
        self.operation = operation
        self.operands = operands
        self.depth: int = 1 + max((each.depth for each in operands if isinstance(each, Expression)), default=0)

    def __eq__(self, other: object) -> "Expression":  # type: ignore[override]  # builds, and does not compare
        return self._with("==", other)

    def __ne__(self, other: object) -> "Expression":  # type: ignore[override]  # as above
        return self._with("!=", other)

    def __gt__(self, other: object) -> "Expression":
        return self._with(">", other)

    def __ge__(self, other: object) -> "Expression":
        return self._with(">=", other)

    def __lt__(self, other: object) -> "Expression":
        return self._with("<", other)

    def __le__(self, other: object) -> "Expression":
        return self._with("<=", other)

    def __and__(self, other: object) -> "Expression":
        return _joined("&", self, _checked(other))

    def __or__(self, other: object) -> "Expression":
        return _joined("|", self, _checked(other))

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> "Expression":
        return self._with("~")

    def __getitem__(self, field: str) -> "Expression":
        """The field of a record."""
        return self._with("field", field)

    def __iter__(self) -> Iterator[object]:
        raise UserErrorException(f"{self!r} is a column's expression, and holds no rows to go through")

    def __bool__(self) -> bool:
        raise UserErrorException(
            f"{self!r} is not evaluated yet, so neither true nor false; combine by '&', '|' and '~', each side in (...)"
        )

    def contains(self, value: object) -> "Expression":
        """Whether the text holds `value`."""
        return self._with("contains", value)

    def starts_with(self, value: object) -> "Expression":
        """Whether the text begins with `value`."""
        return self._with("starts_with", value)

    def ends_with(self, value: object) -> "Expression":
        """Whether the text ends with `value`."""
        return self._with("ends_with", value)

    def substring(self, start: object, length: object = None) -> "Expression":
        """`length` characters of the text from `start` on (from 0); None: to its end."""
        return self._with("substring", start, length)

    def index_of(self, value: object, start: object = 0) -> "Expression":
        """Where `value` stands first in the text, from `start` on; -1 if nowhere."""
        return self._with("index_of", value, start)

    def length(self) -> "Expression":
        """How many characters the text has."""
        return self._with("length")

    def to_upper(self) -> "Expression":
        """The text in capitals."""
        return self._with("to_upper")

    def to_lower(self) -> "Expression":
        """The text in small letters."""
        return self._with("to_lower")

    def is_null(self) -> "Expression":
        """Whether there is nothing."""
        return self._with("is_null")

    def is_error(self) -> "Expression":
        """Whether it could not be evaluated."""
        return self._with("is_error")

    def _with(self, operation: str, *others: object) -> "Expression":
        return Expression(operation, self, *map(_checked, others))

    def __repr__(self) -> str:
        if self.operation in _SOURCES:
            return f"{self.operation}({self.operands[0]!r})"
        return (
            f"({f' {self.operation} '.join(map(repr, self.operands))})"
            if len(self.operands) == 2
            else (f"{self.operation}({', '.join(map(repr, self.operands))})")
        )


def _joined(operation: str, one: Expression, other: object) -> Expression:
    """`one` and `other`, balanced: a thousand alternatives in a row are a tree ten deep, and not a thousand."""
    if one.operation == operation:
        first, last = one.operands
        if isinstance(first, Expression) and isinstance(last, Expression) and last.depth < first.depth:
            return Expression(operation, first, _joined(operation, last, other))
    return Expression(operation, one, other)


def column(name: str) -> Expression:
    """The value of a column."""
    return Expression("column", name)


def file_property(name: str) -> Expression:
    """What is known of the file."""
    return Expression("file", name)


def names(expression: Expression, kind: str = "column") -> set[str]:
    """The columns (or, of `kind` 'file', the properties) that it needs."""
    if expression.operation in _SOURCES:
        return {str(expression.operands[0])} if expression.operation == kind else set()
    return set().union(*(names(each, kind) for each in expression.operands if isinstance(each, Expression)))


def evaluate(expression: Expression, row: Row) -> object:
    """The value for one row: a plain value, None, or `Failed`."""
    operation, operands = expression.operation, expression.operands
    if operation in _SOURCES:
        return _plain(row(operation, str(operands[0])))
    values = [evaluate(each, row) if isinstance(each, Expression) else _plain(each) for each in operands]
    if operation in _OPEN:
        return _OPEN[operation](*values)
    for value in values[:1] if operation == "substring" else values:
        if value is None or isinstance(value, Failed):
            return next((each for each in values if isinstance(each, Failed)), None)
    try:
        return _STRICT[operation](*values)
    except (TypeError, AttributeError):
        return Failed(f"{operation} of {', '.join(type(each).__name__ for each in values)}")


def to_json(expression: Expression) -> list[Any]:
    """As what `json` takes: [operation, operand, ...]; a time is {"time": ISO 8601}."""
    return [expression.operation, *map(_operand_to_json, expression.operands)]


def from_json(document: object) -> Expression:
    """The inverse of `to_json`.

    Raises:
        DatasetValidationError: it is none, or of a newer Moorage.
    """
    if isinstance(document, list) and document and (document[0] in _SOURCES or document[0] in {*_OPEN, *_STRICT}):
        return Expression(*(each if number == 0 else _operand_from_json(each) for number, each in enumerate(document)))  # type: ignore[arg-type]  # the first is text
    raise DatasetValidationError(
        "a dataset's filter has an operation that this Moorage does not know; install a newer one"
    )


def _operand_to_json(operand: object) -> object:
    if isinstance(operand, Expression):
        return to_json(operand)
    return {"time": operand.isoformat()} if isinstance(operand, dt.datetime) else operand


def _operand_from_json(operand: object) -> object:
    if isinstance(operand, list):
        return from_json(operand)
    return dt.datetime.fromisoformat(operand["time"]) if isinstance(operand, dict) else operand


def _checked(operand: object) -> object:
    """An operand that JSON can keep."""
    if isinstance(operand, Expression) or operand is None or isinstance(operand, bool | int | str):
        return operand
    if isinstance(operand, dt.date):
        return _plain(operand)
    if hasattr(operand, "item"):  # a number of numpy's
        return _checked(operand.item())
    if isinstance(operand, float) and math.isfinite(operand):
        return operand
    raise UserErrorException(
        f"{operand!r} cannot stand in a filter; compare with text, a number, True, False, None, a date or another column"
    )


def _plain(value: object) -> object:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    return value


def _equal(one: object, other: object) -> object:
    failed = next((each for each in (one, other) if isinstance(each, Failed)), None)
    return failed or one == other


def _unequal(one: object, other: object) -> object:
    found = _equal(one, other)
    return found if isinstance(found, Failed) else not found


def _settled(by: bool, one: object, other: object) -> object:  # noqa: FBT001 # the value that settles it
    for each in (one, other):
        if not (each is None or isinstance(each, bool | Failed)):
            return Failed(f"{type(each).__name__} is neither true nor false")
    if one is by or other is by:
        return by
    return next((each for each in (one, other) if isinstance(each, Failed)), None if None in {one, other} else not by)


def _not(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return not value


def _field(record: object, name: str) -> object:
    if not isinstance(record, Mapping):
        raise TypeError
    return _plain(record.get(name))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _substring(text: object, start: Any, length: Any) -> str:
    begin = max(0, operator.index(start))
    return _text(text)[begin : None if length is None else begin + max(0, operator.index(length))]


# These see nothing and errors; the others are asked only where there is something.
_OPEN: Final[dict[str, Callable[..., object]]] = {
    "==": _equal,
    "!=": _unequal,
    "&": lambda one, other: _settled(False, one, other),
    "|": lambda one, other: _settled(True, one, other),
    "is_null": lambda value: value is None,
    "is_error": lambda value: isinstance(value, Failed),
}
_STRICT: Final[dict[str, Callable[..., object]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "~": _not,
    "field": _field,
    "contains": lambda text, value: _text(value) in _text(text),
    "starts_with": lambda text, value: _text(text).startswith(_text(value)),
    "ends_with": lambda text, value: _text(text).endswith(_text(value)),
    "substring": _substring,
    "index_of": lambda text, value, start: _text(text).find(_text(value), max(0, operator.index(start))),
    "length": lambda text: len(_text(text)),
    "to_upper": lambda text: _text(text).upper(),
    "to_lower": lambda text: _text(text).lower(),
}
