"""Which rows of a batch an expression keeps: by Arrow for all at once, else row by row.

Arrow does what it can do with the same outcome; where it refuses (a text compared with a number, an operation on
something else) the rows are asked one by one, as `expressions.evaluate` defines them.
"""

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from runtime.datasets import expressions
from runtime.datasets.expressions import Expression

if TYPE_CHECKING:
    import pyarrow as pa

_COMPARED: Final = {">": "greater", ">=": "greater_equal", "<": "less", "<=": "less_equal"}
_TEXT: Final = {"contains": "match_substring", "starts_with": "starts_with", "ends_with": "ends_with"}
_CHANGED: Final = {"to_upper": "utf8_upper", "to_lower": "utf8_lower", "length": "utf8_length"}


class _ByRowError(Exception):
    """This expression is not Arrow's."""


def mask(expression: Expression, batch: "pa.RecordBatch") -> "pa.BooleanArray":
    """True for each row that `expression` is true for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found = _value(expression, batch)
        if isinstance(found, pa.Array) and pa.types.is_boolean(found.type):
            return pc.fill_null(found, False)
    except (_ByRowError, pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        pass
    return _row_by_row(expression, batch)


def _row_by_row(expression: Expression, batch: "pa.RecordBatch") -> "pa.BooleanArray":
    import pyarrow as pa

    columns = batch.to_pydict()
    kept = []
    for number in range(batch.num_rows):

        def value(_: str, name: str, at: int = number) -> object:
            return columns[name][at] if name in columns else None

        kept.append(expressions.evaluate(expression, value) is True)
    return pa.array(kept, pa.bool_())


def _value(node: object, batch: "pa.RecordBatch") -> Any:
    """An array, or a plain value."""
    if not isinstance(node, Expression):
        return _plain(node)
    operation, operands = node.operation, node.operands
    if operation == "column":
        if operands[0] not in batch.schema.names:
            raise _ByRowError
        return _comparable(batch.column(str(operands[0])))
    values = [_value(each, batch) for each in operands]
    compute = _function(operation)
    return compute(*values)


def _plain(value: object) -> object:
    """A constant as the columns have it: times are UTC, without a zone."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 # as above
    return value


def _comparable(column: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):  # no number is nothing
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return pc.cast(column, pa.timestamp("us"), safe=False)
    return column


def _function(operation: str) -> Callable[..., Any]:
    import pyarrow.compute as pc

    if operation in _COMPARED:
        return _alike(getattr(pc, _COMPARED[operation]))
    if operation in _TEXT:
        return _with_constant(getattr(pc, _TEXT[operation]))
    if operation in _CHANGED:
        return _of_text(getattr(pc, _CHANGED[operation]))
    others: dict[str, Callable[..., Any]] = {
        "==": _equal,
        "!=": lambda one, other: pc.invert(_equal(one, other)),
        "&": _both(pc.and_kleene),
        "|": _both(pc.or_kleene),
        "~": pc.invert,
        "is_null": pc.is_null,
    }
    if operation not in others:
        raise _ByRowError
    return others[operation]


def _alike(compare: Callable[..., Any]) -> Callable[..., Any]:
    def function(one: Any, other: Any) -> Any:
        _check_alike(one, other)
        return compare(one, other)

    return function


def _equal(one: Any, other: Any) -> Any:
    import pyarrow.compute as pc

    if one is None or other is None:
        return pc.is_null(one if other is None else other)
    _check_alike(one, other)
    same = pc.fill_null(pc.equal(one, other), False)
    nothing = [pc.is_null(each) for each in (one, other) if hasattr(each, "type")]
    return pc.or_(same, pc.and_(*nothing)) if len(nothing) == 2 else same


def _check_alike(*values: Any) -> None:
    """Arrow casts text to numbers and times; an expression does not."""
    kinds = {_kind(each) for each in values}
    if len(kinds) != 1 or None in kinds:
        raise _ByRowError


def _kind(value: Any) -> str | None:
    import pyarrow as pa

    kind = value.type if isinstance(value, pa.Array) else pa.scalar(value).type
    tests = {
        "text": pa.types.is_string,
        "truth": pa.types.is_boolean,
        "number": lambda of: pa.types.is_integer(of) or pa.types.is_floating(of),
        "time": pa.types.is_timestamp,
    }
    return next((name for name, holds in tests.items() if holds(kind)), None)


def _with_constant(function: Callable[..., Any]) -> Callable[..., Any]:
    def of(texts: Any, value: Any) -> Any:
        if not isinstance(value, str) or not hasattr(texts, "type") or _kind(texts) != "text":
            raise _ByRowError
        return function(texts, value)

    return of


def _of_text(function: Callable[..., Any]) -> Callable[..., Any]:
    def of(texts: Any) -> Any:
        if not hasattr(texts, "type") or _kind(texts) != "text":
            raise _ByRowError
        return function(texts)

    return of


def _both(function: Callable[..., Any]) -> Callable[..., Any]:
    def of(one: Any, other: Any) -> Any:
        if not (hasattr(one, "type") and hasattr(other, "type")):
            raise _ByRowError
        return function(one, other)

    return of
