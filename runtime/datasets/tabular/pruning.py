"""Which row groups of parquet cannot have a row that a filter keeps: by the least and greatest value that each tells.

Only a column compared with a constant of its own kind says something, and `&` and `|` of such; whatever else a filter
asks, the row group is read. Never wrong: a group is left out only where no value between its bounds can be kept.
"""

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from runtime.datasets.expressions import Expression

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_EXACT: Final = 1 << 53  # integers below it are the same as numbers with a fraction
_CAN_BE: Final[dict[str, Callable[[Any, Any, Any], bool]]] = {
    ">": lambda _, greatest, value: greatest > value,
    ">=": lambda _, greatest, value: greatest >= value,
    "<": lambda least, _, value: least < value,
    "<=": lambda least, _, value: least <= value,
    "==": lambda least, greatest, value: least <= value <= greatest,
}


def may_hold(filters: Sequence[Expression], group: "pq.RowGroupMetaData", comparable: Collection[str]) -> bool:
    """Whether the group can have a row of which all `filters` are true; `comparable` columns are kept as they are read."""
    if not filters:
        return True
    bounds: dict[str, tuple[Any, Any]] = {}
    for at in range(group.num_columns):
        column = group.column(at)
        if column.path_in_schema in comparable and column.is_stats_set and column.statistics.has_min_max:
            told = column.statistics
            bounds[column.path_in_schema] = (_plain(told.min), _plain(told.max))
    return all(_can_be(each, bounds) for each in filters)


def _can_be(node: Expression, bounds: dict[str, tuple[Any, Any]]) -> bool:
    operation, operands = node.operation, node.operands
    if operation in {"&", "|"}:
        found = [not isinstance(each, Expression) or _can_be(each, bounds) for each in operands]
        return all(found) if operation == "&" else any(found)
    if operation not in _CAN_BE or not isinstance(operands[0], Expression) or operands[0].operation != "column":
        return True
    told, value = bounds.get(str(operands[0].operands[0])), _plain(operands[1])
    if told is None or not _kind(told[0]) or len({_kind(each) for each in (*told, value)}) != 1:
        return True
    return _CAN_BE[operation](*told, value)


def _plain(value: Any) -> Any:
    """Times as columns have them: UTC without a zone, whole microseconds."""
    if hasattr(value, "to_pydatetime"):  # pandas' own, which knows nanoseconds
        value = value.to_pydatetime(warn=False)
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 # as columns have it
    return value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        return "number" if abs(value) < _EXACT else ""
    return "text" if isinstance(value, str) else "time" if isinstance(value, dt.datetime) else ""
