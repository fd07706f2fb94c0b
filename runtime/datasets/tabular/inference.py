"""Column types out of the first rows, as v1 finds them.

A column gets the first type that all its values have: boolean (only 0 and 1, or only true and false), integer,
number, date; else it is text. Empty fields say nothing, and a column of nothing else is text. What a later row holds
that does not fit is a violation then, not another type.
"""

import re
from collections.abc import Iterable
from typing import Final

from runtime.datasets.tabular import dates
from runtime.datasets.tabular.kinds import TEXT, ColumnType, Kind

SAMPLE_ROWS: Final = 200
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_LARGEST: Final = 1 << 63


def infer(values: Iterable[str | None]) -> ColumnType:
    """The type of a column that holds `values`."""
    texts = [text for each in values if each and (text := each.strip())]
    if not texts:
        return TEXT
    distinct = set(texts)
    if distinct <= {"0", "1"} or {text.lower() for text in distinct} <= {"true", "false"}:
        return ColumnType(Kind.BOOLEAN)
    if all(is_integer(text) for text in distinct):
        return ColumnType(Kind.INTEGER)
    if all(_NUMBER.fullmatch(text) for text in distinct):
        return ColumnType(Kind.FLOAT)
    if all(dates.parse(text) for text in distinct):
        return ColumnType(Kind.DATETIME)
    return TEXT


def is_integer(text: str) -> bool:
    """True if `text` is an integer of 64 bits."""
    return re.fullmatch(r"[+-]?0*\d{1,19}", text) is not None and -_LARGEST <= int(text) < _LARGEST


def ambiguous_date(values: Iterable[str | None]) -> str | None:
    """A date among `values` whose month and day could be swapped, if none of them says which is which."""
    texts = [each.strip() for each in values if each]
    if texts and all(dates.is_ambiguous(text) for text in texts):
        return texts[0]
    return None
