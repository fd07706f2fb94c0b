"""Rows of JSON Lines: an object a line, its members the columns.

The columns and their types come from the first rows; a number that is an integer in one and a fraction in another is
a number with a fraction (v1 made a null of it). A nested object or list stays one, and has the type that the first
rows give it. What a later row holds that does not fit is null and told; a line that is no object is an error that
names it, or is left out and counted.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runtime.datasets.tabular.converting import Bad, convert
from runtime.datasets.tabular.definition import JsonLines
from runtime.datasets.tabular.delimited import Delimited, Header, blocks, first_block
from runtime.datasets.tabular.files import TableFile
from runtime.datasets.tabular.inference import SAMPLE_ROWS
from runtime.datasets.tabular.parsing import Parsed
from runtime.errors import DatasetValidationError

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class _Lines:
    rows: list[dict[str, Any]]
    bad: tuple[Bad, ...]


def look(files: Sequence[TableFile], options: JsonLines) -> "pa.Schema":
    """The columns of the first rows, in the order in which they appear.

    Raises:
        DatasetValidationError: a line is no object, and such lines are not to be left out.
    """
    import pyarrow as pa

    sample: list[dict[str, Any]] = []
    for file in files:
        block = first_block(file, _as_text(options), SAMPLE_ROWS - len(sample))
        sample += _parsed(block, file, options, 0).rows[: SAMPLE_ROWS - len(sample)]
        if len(sample) >= SAMPLE_ROWS:
            break
    names = dict.fromkeys(name for row in sample for name in row)
    return pa.schema([(name, _type(name, [row.get(name) for row in sample], options)) for name in names])


def read(
    files: Sequence[TableFile], kept: Sequence[int], options: JsonLines, schema: "pa.Schema", wanted: Sequence[str]
) -> Iterator[tuple[int, Parsed]]:
    """Yield the wanted columns of the files `kept`, in their order, as (number of the file, rows); errors as `look`."""
    import pyarrow as pa

    lines: dict[int, int] = {}
    for number, block in blocks(files, kept, _as_text(options)):
        before = lines.get(number, 0)
        lines[number] = before + block.count(b"\n")
        found = _parsed(block, files[number], options, before)
        columns, bad = [], list(found.bad)
        for name in wanted:
            column, lost = _column(name, [row.get(name) for row in found.rows], schema.field(name).type, options)
            columns.append(column)
            bad += [lost] if lost else []
        table = pa.table(columns, schema=pa.schema([schema.field(name) for name in wanted]))
        yield number, Parsed(table, tuple(bad))


def _as_text(options: JsonLines) -> Delimited:
    return Delimited(encoding=options.encoding, header=Header.NO_HEADERS)


def _parsed(block: bytes, file: TableFile, options: JsonLines, before: int) -> _Lines:
    rows: list[dict[str, Any]] = []
    wrong: list[Bad] = []
    for number, line in enumerate(block.split(b"\n")):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            reason = None if isinstance(row, dict) else f"{type(row).__name__} in the place of an object"
            if b"\\u" in line:
                json.dumps(row, ensure_ascii=False).encode()  # half of a pair is no text
        except UnicodeEncodeError:
            reason = "half of a surrogate pair"
        except (ValueError, RecursionError) as error:
            reason = str(error)
        if reason is None:
            rows.append(row)
            continue
        text = line[:_SHOWN].decode(errors="replace")
        if not options.drops_invalid:
            raise DatasetValidationError(
                f"{file.path}: line {before + number + 1}: no JSON object ({reason}): {text!r}; "
                "invalid_lines='drop' leaves such lines out"
            )
        wrong.append(Bad("(line)", len(rows), text, "is no JSON object and left out"))
    bad = (Bad(wrong[0].column, wrong[0].at, wrong[0].text, wrong[0].what, len(wrong)),) if wrong else ()
    return _Lines(rows, bad)


def _type(name: str, values: list[Any], options: JsonLines) -> "pa.DataType":
    import pyarrow as pa

    if name in options.types:
        return options.types[name].arrow
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pa.float64() if float in kinds else pa.int64() if kinds else pa.string()
    if kinds in ({dict}, {list}):
        return pa.array(values).type
    return pa.bool_() if kinds == {bool} else pa.string()


def _column(name: str, values: list[Any], kind: "pa.DataType", options: JsonLines) -> "tuple[pa.Array, Bad | None]":
    import pyarrow as pa

    if name in options.types:
        return convert(name, pa.array([_text(each) for each in values]), options.types[name], empty_as_string=True)
    if pa.types.is_string(kind):
        return pa.array([_text(each) for each in values], kind), None
    try:
        return pa.array(_checked(values, kind), kind), None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _each(name, values, kind)


def _checked(values: list[Any], kind: "pa.DataType") -> list[Any]:
    """Python calls True an integer, and Arrow takes it for one."""
    import pyarrow as pa

    if not pa.types.is_boolean(kind) and any(isinstance(each, bool) for each in values):
        raise pa.ArrowTypeError("a truth in a column of something else")
    if pa.types.is_floating(kind):  # Arrow refuses an integer of more than 53 bits
        return [float(each) if isinstance(each, int) else each for each in values]
    return values


def _each(name: str, values: list[Any], kind: "pa.DataType") -> "tuple[pa.Array, Bad]":
    import pyarrow as pa

    found: list[Any] = []
    lost: list[int] = []
    for number, value in enumerate(values):
        try:
            found.append(pa.array(_checked([value], kind), kind)[0].as_py())
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            found.append(None)
            lost.append(number)
    text = str(values[lost[0]])
    return pa.array(found, kind), Bad(name, lost[0], text, f"is no {kind}", len(lost))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)
