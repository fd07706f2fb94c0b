r"""A partition format: what the folders and names of a dataset's files say, as values of named parts.

    {name}               a part: one or more characters without '/', '\' and '.'
    {name:yyyy/MM/dd}    the date, of which a format has one at most: digits at yyyy (which it needs), MM, dd, HH, mm, ss
    *                    anything, as little as possible
    {{ and }}            the brackets themselves; every other character is itself

It is matched against the end of a file's path in its store. A name that stands twice has the same text both times. A path
that does not match, or whose date is none, has nothing in every part. Pure: no dataset is known here.
"""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from runtime.errors import DatasetValidationError

Value = str | dt.datetime | None
_PIECES: Final = re.compile(r"\{\{|\}\}|\{(?P<inner>[^{}]*)\}|(?P<star>\*)|(?P<bad>[{}])|[^{}*]+")
_FIELDS: Final = {"yyyy": ("year", 4), "MM": ("month", 2), "dd": ("day", 2)} | {
    "HH": ("hour", 2),
    "mm": ("minute", 2),
    "ss": ("second", 2),
}
_DATE_PIECES: Final = re.compile("|".join(_FIELDS) + "|.", re.DOTALL)
_RESERVED: Final = "_sys_"
_LIKE: Final = "write one like '{country}/{day:yyyy/MM/dd}/data.csv'"


@dataclass(frozen=True, slots=True)
class PartitionFormat:
    """A parsed format: `names` are its parts as they become columns, the date last."""

    text: str
    names: tuple[str, ...]
    date: str | None
    _groups: tuple[str, ...] = field(repr=False)
    _expression: re.Pattern[str] = field(repr=False)

    def values(self, path: str) -> dict[str, Value]:
        """The value of each part for the file at `path`; None where the path does not match."""
        found = self._expression.search(path)
        values: dict[str, Value] = dict.fromkeys(self.names)
        if found is None:
            return values
        for number, name in enumerate(self._groups):
            values[name] = found[f"p{number}"]
        if self.date is not None:
            try:
                parts = {name: int(found[name]) for name, _ in _FIELDS.values() if name in self._expression.groupindex}
                values[self.date] = dt.datetime(**({"month": 1, "day": 1} | parts))  # type: ignore[arg-type]  # noqa: DTZ001  # a path tells no zone
            except ValueError:
                return dict.fromkeys(self.names)
        return values

    def matches(self, path: str) -> bool:
        """Whether `path` has a value for every part."""
        return None not in self.values(path).values()


@lru_cache(64)
def parse_partition_format(text: str) -> PartitionFormat:
    """Read a format.

    Raises:
        DatasetValidationError: it breaks a rule, which `error_code` names.
    """
    writer = _Writer(text)
    for match in _PIECES.finditer(text):
        if match["bad"]:
            raise writer.error(
                "BAD_BRACKET", f"a {match['bad']!r} without its other one; a bracket itself is written twice"
            )
        if match["inner"] is not None:
            writer.part(match["inner"])
        elif match["star"]:
            writer.written.append(".*?")
        else:
            writer.written.append(re.escape(match[0][:1] if match[0] in {"{{", "}}"} else match[0]))
    if not writer.strings and writer.date is None:
        raise writer.error("NO_PART", f"no part in it; {_LIKE}")
    names = (*writer.strings, *([writer.date] if writer.date else []))
    expression = re.compile(f"{''.join(writer.written)}\\Z", re.DOTALL)
    return PartitionFormat(text, names, writer.date, tuple(writer.strings), expression)


class _Writer:
    """The regular expression of a format, while it is written."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.written: list[str] = []
        self.strings: list[str] = []
        self.date: str | None = None

    def error(self, code: str, what: str) -> DatasetValidationError:
        return DatasetValidationError(f"partition_format {self.text!r}: {what} ({code})", code)

    def part(self, inner: str) -> None:
        """Add `{inner}`."""
        name, colon, form = inner.partition(":")
        if not name.strip():
            raise self.error("NO_NAME", f"a part without a name; {_LIKE}")
        if name.startswith(_RESERVED):
            raise self.error("RESERVED", f"names that begin with {_RESERVED!r} are taken; call {name!r} something else")
        if colon:
            self._date(name, form)
        elif name == self.date:
            self.written.append("(?P=date)")
        elif name in self.strings:
            self.written.append(f"(?P=p{self.strings.index(name)})")
        else:
            self.written.append(f"(?P<p{len(self.strings)}>[^/\\\\.]+)")
            self.strings.append(name)

    def _date(self, name: str, form: str) -> None:
        if not form:
            raise self.error("NO_DATE_FORMAT", f"no format behind {name!r}:; {_LIKE}")
        if self.date is not None or name in self.strings:
            raise self.error("TOO_MANY_DATE", "more than one date; put all of it into one part")
        if "yyyy" not in form:
            raise self.error("NO_YEAR", f"the date {name!r} has no yyyy; {_LIKE}")
        self.date = name
        self.written.append(f"(?P<date>{''.join(_date_pieces(form))})")


def _date_pieces(form: str) -> Iterator[str]:
    seen: set[str] = set()
    for match in _DATE_PIECES.finditer(form):
        piece = match[0]
        if piece not in _FIELDS:
            yield re.escape(piece)
            continue
        name, digits = _FIELDS[piece]
        yield f"(?P={name})" if name in seen else f"(?P<{name}>[0-9]{{{digits}}})"
        seen.add(name)
