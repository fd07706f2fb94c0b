"""A column of text into values of its type: by Arrow as a whole, or value by value where Arrow refuses the whole.

Both ways read the same values; what is no value of the type is null, and its place is told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runtime.datasets.tabular import dates
from runtime.datasets.tabular.inference import is_integer
from runtime.datasets.tabular.kinds import ColumnType, Kind

if TYPE_CHECKING:
    import pyarrow as pa

TRUE: Final = ("true", "True", "TRUE", "1")
FALSE: Final = ("false", "False", "FALSE", "0")
_WHAT: Final = {
    Kind.INTEGER: "is no integer of 64 bits",
    Kind.FLOAT: "is no number",
    Kind.BOOLEAN: "is neither true nor false",
    Kind.DATETIME: "is no date",
}


@dataclass(frozen=True, slots=True)
class Bad:
    """Values of one column that are none of its type: how many, and of the first its place (from 0) and text."""

    column: str
    at: int
    text: str
    what: str
    count: int = 1


def convert(name: str, texts: "pa.Array", kind: ColumnType, *, empty_as_string: bool) -> "tuple[pa.Array, Bad | None]":
    """The values of the column `name`, and what of it was none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.kind in {Kind.STRING, Kind.STREAM}:
        return (texts if empty_as_string else _without_empty(texts)), None
    trimmed = _without_empty(pc.utf8_trim_whitespace(texts))
    if kind.kind is Kind.FLOAT and kind.decimal_mark == ",":
        trimmed = pc.replace_substring(trimmed, ",", ".")
    try:
        values = _whole(trimmed, kind)
    except pa.ArrowInvalid:
        one = _one_by_one(kind)
        values = pa.array([None if text is None else one(text) for text in trimmed.to_pylist()], kind.arrow)
    if values.null_count == trimmed.null_count:
        return values, None
    lost = pc.and_(pc.is_null(values), pc.is_valid(trimmed))
    at = pc.index(lost, value=True).as_py()
    return values, Bad(name, at, texts[at].as_py(), _WHAT[kind.kind], values.null_count - trimmed.null_count)


def _without_empty(texts: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _whole(texts: "pa.Array", kind: ColumnType) -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.kind is Kind.DATETIME:
        return dates.timestamps(texts, kind.formats)
    if kind.kind is not Kind.BOOLEAN:
        return pc.cast(texts, kind.arrow)
    is_true, is_false = (pc.is_in(texts, value_set=pa.array(values)) for values in (TRUE, FALSE))
    return pc.if_else(pc.or_(is_true, is_false), is_true, pa.scalar(None, pa.bool_()))


def _one_by_one(kind: ColumnType) -> Callable[[str], object]:
    return _integer if kind.kind is Kind.INTEGER else _number


def _integer(text: str) -> int | None:
    return int(text) if is_integer(text) and not text.startswith("+") else None


def _number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None
