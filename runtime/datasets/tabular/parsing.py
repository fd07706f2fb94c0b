"""A block of whole records into columns: by Arrow where it reads as we promise, else by Python's csv module.

Three ways, each slower and more patient than the one before:

    typed     Arrow parses and converts at once; any value that does not fit, or a row of another length, ends it
    as text   Arrow parses, and `converting` takes the values one column after the other
    by hand   for rows of other lengths, and for quotes that Arrow reads otherwise

Without `multi_line` a line is a record, whatever quotes say. A block in which quotes stand otherwise than around whole
fields is read by hand. Short rows end in nulls; what is beyond the last column is told and dropped.
"""

import contextlib
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runtime.datasets.tabular.converting import FALSE, TRUE, Bad, convert
from runtime.datasets.tabular.kinds import ColumnType, Kind
from runtime.errors import DatasetValidationError

if TYPE_CHECKING:
    import pyarrow as pa

_AS_IT_IS: Final = (Kind.STRING, Kind.STREAM)
_FIELD_BYTES: Final = 1 << 30
_ENDS: Final = re.compile(r"\r\n|\n|\r")  # and none of those that `splitlines` knows besides in text


@dataclass(frozen=True, slots=True)
class Layout:
    """How the records of a file stand: `names` of all columns in order, the type of each, and which are `wanted`."""

    names: tuple[str, ...]
    types: tuple[ColumnType, ...]
    wanted: tuple[str, ...]
    separator: str = ","
    multi_line: bool = False
    empty_as_string: bool = False

    def type_of(self, name: str) -> ColumnType:
        """The type of the column `name`."""
        return self.types[self.names.index(name)]


@dataclass(frozen=True, slots=True)
class Parsed:
    """The wanted columns of a block, and what of it could not be taken as it stood."""

    table: "pa.Table"
    bad: tuple[Bad, ...] = field(default=())


def parse_block(block: bytes, layout: Layout) -> Parsed:
    """The records of `block`, text in UTF-8.

    Raises:
        DatasetValidationError: the bytes are no UTF-8.
    """
    import pyarrow as pa

    if layout.separator.isascii() and (b'"' not in block or _is_well_quoted(block, layout)):
        for as_text in (False, True):
            with contextlib.suppress(pa.ArrowInvalid):
                return _converted(_by_arrow(block, layout, as_text=as_text), layout, has_nulls=True)
    return _by_hand(block, layout)


def records(text: str, separator: str, *, multi_line: bool) -> Iterator[list[str]]:
    """The fields of each record of `text`; empty lines are none."""
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_BYTES))
    if multi_line:
        yield from filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        return
    for line in filter(None, _ENDS.split(text)):
        # A quote that is not closed in its line is a character like any other.
        if line.count('"') % 2:
            yield from csv.reader([line], delimiter=separator, quoting=csv.QUOTE_NONE)
        else:
            yield from csv.reader([line], delimiter=separator)


def _by_arrow(block: bytes, layout: Layout, *, as_text: bool) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    types = {
        name: pa.string() if as_text or kind.formats or kind.decimal_mark != "." else kind.arrow
        for name, kind in zip(layout.names, layout.types, strict=True)
    }
    return arrow_csv.read_csv(
        pa.BufferReader(block),
        arrow_csv.ReadOptions(column_names=list(layout.names), use_threads=False, block_size=len(block) + 1),
        arrow_csv.ParseOptions(delimiter=layout.separator, newlines_in_values=True),
        arrow_csv.ConvertOptions(
            column_types=types,
            include_columns=list(layout.wanted),
            null_values=[""],
            true_values=list(TRUE),
            false_values=list(FALSE),
            strings_can_be_null=not layout.empty_as_string,
        ),
    )


def _is_well_quoted(block: bytes, layout: Layout) -> bool:
    """Whether quotes stand around whole fields only, doubled within, and, without `multi_line`, each closed in its line."""
    import numpy as np

    characters = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(characters == ord('"'))
    if len(quotes) % 2:
        return False
    around = np.zeros(256, bool)
    around[[ord(layout.separator), ord("\n"), ord("\r"), ord('"')]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    if not around[characters[opening[opening > 0] - 1]].all():
        return False
    if not around[characters[closing[closing < len(block) - 1] + 1]].all():
        return False
    if layout.multi_line:
        return True
    ends = np.flatnonzero((characters == ord("\n")) | (characters == ord("\r")))
    return not (np.searchsorted(quotes, ends) % 2).any()


def _converted(table: "pa.Table", layout: Layout, *, has_nulls: bool = False) -> Parsed:
    """The columns with their types. `has_nulls`: where empty text is to be null, it is so already."""
    import pyarrow as pa

    columns, bad = [], []
    for name in layout.wanted:
        chunked = table.column(name)
        column = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()  # which copies even one
        if column.type == pa.string() and not (has_nulls and layout.type_of(name).kind in _AS_IT_IS):
            column, lost = convert(name, column, layout.type_of(name), empty_as_string=layout.empty_as_string)
            bad += [lost] if lost else []
        columns.append(column)
    return Parsed(pa.table(columns, schema=schema_of(layout)), tuple(bad))


def _by_hand(block: bytes, layout: Layout) -> Parsed:
    import pyarrow as pa

    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        raise DatasetValidationError(
            f"byte {error.object[error.start]:#04x} is no UTF-8; name the files' encoding, such as encoding='latin1'"
        ) from None
    width = len(layout.names)
    columns: list[list[str | None]] = [[] for _ in layout.names]
    longer: list[tuple[int, list[str]]] = []
    for number, row in enumerate(records(text, layout.separator, multi_line=layout.multi_line)):
        if len(row) > width:
            longer.append((number, row[width:]))
        for position, column in enumerate(columns):
            column.append(row[position] if position < len(row) else None)
    arrays = {name: pa.array(column, pa.string()) for name, column in zip(layout.names, columns, strict=True)}
    parsed = _converted(pa.table({name: arrays[name] for name in layout.wanted}), layout)
    if not longer:
        return parsed
    at, beyond = longer[0]
    what = f"is beyond the {width} columns"
    return Parsed(parsed.table, (*parsed.bad, Bad(f"column {width + 1}", at, beyond[0], what, len(longer))))


def schema_of(layout: Layout) -> "pa.Schema":
    """The wanted columns' names and Arrow types."""
    import pyarrow as pa

    return pa.schema([(name, layout.type_of(name).arrow) for name in layout.wanted])


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Column names as a table can have them: an empty one by its number, a second `a` as `a_1`."""
    taken: dict[str, int] = {}
    found = []
    for number, name in enumerate(names, 1):
        base = name or f"Column{number}"
        candidate, count = base, taken.get(base, 0)
        while candidate in taken:
            count += 1
            candidate = f"{base}_{count}"
        taken[base] = count
        taken.setdefault(candidate, 0)
        found.append(candidate)
    return tuple(found)
