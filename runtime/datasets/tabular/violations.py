"""What a reader could not take as it stood: counted by column and file, told at the end in one line each.

v1 made nulls of such values and said nothing. Here the caller is told, or, with `on_error='fail'`, the first one ends
the read.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from runtime.errors import DatasetValidationError

_LOG = logging.getLogger(__name__)
_SHOWN = 40  # characters of a value in a message
_LINES = 20


@dataclass(slots=True)
class Violation:
    """So many values of one column in one file: the first of them, where it stood, and what it is not."""

    column: str
    path: str
    row: int
    value: str
    what: str
    count: int = 0

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= _SHOWN else f"{self.value[:_SHOWN]}..."
        many = f", and {self.count - 1:,} more in this file" if self.count > 1 else ""
        return f"{self.path}: row {self.row:,}, column '{self.column}': {shown!r} {self.what}{many}"


class Violations:
    """The violations of one read; used by its consuming thread only. `fails`: the first one is an error."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.found: dict[tuple[str, str, str], Violation] = {}

    def add(self, column: str, path: str, row: int, value: str, what: str, count: int = 1) -> None:
        """Count `count` values; `row` (from 1, without headers) and `value` are the first one's.

        Raises:
            DatasetValidationError: the read fails on violations.
        """
        known = self.found.setdefault((column, path, what), Violation(column, path, row, value, what))
        known.count += count
        if self.fails:
            raise DatasetValidationError(f"{known}; on_error='null' reads on, with nulls")

    def tell(self, say: Callable[[str], None] = _LOG.warning) -> None:
        """Say each, in a bounded number of lines."""
        lines = [f"{each}: read as null" for each in self.found.values()]
        for line in lines[:_LINES]:
            say(line)
        if len(lines) > _LINES:
            say(f"{len(lines) - _LINES} more columns and files have values that were read as null")
