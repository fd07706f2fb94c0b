"""A definition and its frozen files into rows: the schema at once, the batches as they are asked for.

    columns    Path (if asked for), the partition's, then those of the files; what no step and no reader needs is not parsed
    files      left out unopened where a filter or period on partition columns alone says that no row of theirs can stay,
               as long as no step before it counts rows
    steps      on each batch in turn; the read ends when one of them says that no more can follow

What a file's values violate is told when the read ends, complete or not.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from runtime.datasets import expressions
from runtime.datasets.expressions import Expression
from runtime.datasets.partition import PartitionFormat
from runtime.datasets.tabular import delimited, json_lines, parquet
from runtime.datasets.tabular.definition import JsonLines, Parquet, TabularDefinition
from runtime.datasets.tabular.delimited import Delimited
from runtime.datasets.tabular.files import TableFile
from runtime.datasets.tabular.inference import infer
from runtime.datasets.tabular.kinds import TEXT, ColumnType, Kind
from runtime.datasets.tabular.parsing import Parsed
from runtime.datasets.tabular.steps import Apply, Drop, Filter, Keep, Period, RowStep
from runtime.datasets.tabular.violations import Violations
from runtime.errors import DatasetValidationError

if TYPE_CHECKING:
    import pyarrow as pa

PATH: Final = "Path"
_UNITS: Final = (("ss", dt.timedelta(seconds=1)), ("mm", dt.timedelta(minutes=1)), ("HH", dt.timedelta(hours=1)))


@dataclass(frozen=True)
class Rows:
    """The outcome: `schema` of the batches. `notes` are lines that a user should see once."""

    schema: "pa.Schema"
    batches: "Iterator[pa.RecordBatch]"
    notes: tuple[str, ...] = ()


def evaluate(
    definition: TabularDefinition,
    files: Sequence[TableFile],
    violations: Violations,
    share: tuple[int, int] = (0, 1),
    source: "Source | None" = None,
) -> Rows:
    """The rows of `definition`; only what the schema needs is read at once.

    `source` gives the rows where that are no files': those of a query.
    `share` (number, count) gives the rows of each n-th file; of each n-th batch where files are fewer or rows are counted.

    Raises:
        DatasetValidationError: the files are not what the definition says; of the batches, too.
        MountdError: as reading raises it; of the batches, too.
    """
    import pyarrow as pa

    extra = _Extra.of(definition, files)
    source = source or _source(definition, files)
    if shared := set(extra.schema.names) & set(source.schema.names):
        name = min(shared)
        if definition.include_path and name == PATH:
            raise DatasetValidationError(f"the files have a column '{PATH}' of their own; leave include_path out")
        raise DatasetValidationError(
            f"the partition format and the files both have a column '{name}'; name the format's part otherwise"
        )
    whole = pa.schema([*extra.schema, *source.schema])
    names, needed = _columns(definition.steps, whole.names)
    outer = [name for name in extra.schema.names if name in needed]
    kept = [number for number in range(len(files)) if _may_stay(definition, extra.values[number])]
    number, count = share
    by_file = not definition.counts_rows and len(files) >= count
    kept = kept[number::count] if by_file else kept
    wanted = [name for name in source.schema.names if name in needed] or source.schema.names[:1]  # rows must be counted
    read = source.read(kept, wanted)
    batches = _batches(read, files, {number: extra.of_file(number, outer) for number in kept}, violations)
    schema = pa.schema([whole.field(name) for name in names])
    stepped = _stepped(batches, definition.steps, names, violations)
    return Rows(
        schema, stepped if by_file else islice(stepped, number, None, count), _notes(definition, source, whole.names)
    )


def _notes(definition: TabularDefinition, source: "Source", there: Sequence[str]) -> tuple[str, ...]:
    """What a user should see; a type for a column that is not there is most often a misspelt name."""
    unknown = [name for name in definition.source.types if name not in there]
    shown = ", ".join(there[:20])
    return (
        *source.notes,
        *(f"set_column_types names '{name}', and no column is called so: {shown}" for name in unknown),
    )


@dataclass(frozen=True)
class Source:
    """The columns of the files, and how those that are wanted are read from the files of some numbers."""

    schema: "pa.Schema"
    read: Callable[[Sequence[int], Sequence[str]], Iterator[tuple[int, Parsed]]]
    notes: tuple[str, ...] = ()


def partition_values(
    definition: TabularDefinition, files: Sequence[TableFile], keys: Sequence[str]
) -> list[dict[str, Any]]:
    """The different values that files have of the parts `keys`, in the files' order."""
    rows = _Extra.of(definition, files).values
    distinct = dict.fromkeys(tuple(row[key] for key in keys) for row in rows)
    return [dict(zip(keys, values, strict=True)) for values in distinct]


def _source(definition: TabularDefinition, files: Sequence[TableFile]) -> Source:
    import pyarrow as pa

    options = definition.source
    if isinstance(options, Delimited):
        text, head = options, delimited.look(files, options)
        schema = pa.schema([(name, kind.arrow) for name, kind in zip(head.names, head.types, strict=True)])
        notes = tuple(
            f"column '{name}': {date!r} is read as month/day; set_column_types={{'{name}': "
            "DataType.to_datetime('%d/%m/%Y')} reads it the other way"
            for name, date in head.ambiguous.items()
        )
        return Source(schema, lambda kept, wanted: delimited.read(files, kept, text, head, wanted), notes)
    if isinstance(options, JsonLines):
        lines, schema = options, json_lines.look(files, options)
        return Source(schema, lambda kept, wanted: json_lines.read(files, kept, lines, schema, wanted))
    if not isinstance(options, Parquet):
        raise TypeError("a query's rows come from a database")
    columns, schema = options, parquet.look(files, options)
    filters = _filters(definition.steps)
    return Source(schema, lambda kept, wanted: parquet.read(files, kept, columns, schema, wanted, filters))


def _filters(steps: Sequence[RowStep]) -> list[Expression]:
    """What must be true of every row that stays, as far as no step before it counts rows."""
    found: list[Expression] = []
    for step in steps:
        if isinstance(step, Filter | Period):
            found.append(step.expression)
        elif not isinstance(step, Keep | Drop):
            break  # it counts rows
    return found


def _columns(steps: Sequence[RowStep], there: Sequence[str]) -> tuple[list[str], set[str]]:
    """The columns after all steps, in order, and all that are needed on the way.

    Raises:
        DatasetValidationError: a step looks at a column that is not there.
    """
    names, looked = list(there), set[str]()
    for step in steps:
        for name in sorted(step.needs() - set(names)):
            raise DatasetValidationError(f"no column '{name}'; there are {', '.join(names[:20])}")
        looked |= step.needs()
        names = step.columns(names)
    return names, looked | set(names)


@dataclass(frozen=True)
class _Extra:
    """The columns that are the same for all rows of a file: `values` by file, before they have types."""

    schema: "pa.Schema"
    values: list[dict[str, Any]]

    @classmethod
    def of(cls, definition: TabularDefinition, files: Sequence[TableFile]) -> "_Extra":
        """Path and the partition's columns; text in them gets a type as text in files does."""
        import pyarrow as pa

        fields: list[tuple[str, pa.DataType]] = [(PATH, pa.string())] if definition.include_path else []
        values: list[dict[str, Any]] = [{PATH: file.url} if definition.include_path else {} for file in files]
        if (partition := definition.partition) is not None:
            found = [partition.values(file.place) for file in files]
            for name in partition.names:
                kind = _type(name, [each[name] for each in found], definition, partition)
                fields.append((name, kind.arrow))
                typed = _typed([each[name] for each in found], kind)
                for row, value in zip(values, typed, strict=True):
                    row[name] = value
        return cls(pa.schema(fields), values)

    def of_file(self, number: int, names: Sequence[str]) -> dict[str, Any]:
        """The value of each of `names`, as an Arrow scalar."""
        import pyarrow as pa

        return {name: pa.scalar(self.values[number][name], self.schema.field(name).type) for name in names}


def _type(name: str, values: list[Any], definition: TabularDefinition, partition: PartitionFormat) -> ColumnType:
    if name == partition.date:
        return ColumnType(Kind.DATETIME)
    return definition.source.types.get(name) or infer(values)


def _typed(values: list[Any], kind: ColumnType) -> list[Any]:
    import pyarrow as pa

    from runtime.datasets.tabular.converting import convert

    if kind.kind is Kind.DATETIME and not any(isinstance(each, str) for each in values):
        return values
    typed: list[Any] = convert("", pa.array(values, pa.string()), kind, empty_as_string=kind == TEXT)[0].to_pylist()
    return typed


def _may_stay(definition: TabularDefinition, values: dict[str, Any]) -> bool:
    """Whether a row of a file with these values can stay."""
    for step in definition.steps:
        if isinstance(step, Period) and step.partition in values:
            day = values[step.partition]
            if day is not None and not step.may_have(day, day + _length(definition, day)):
                return False
        elif isinstance(step, Filter):
            known = expressions.names(step.expression) <= values.keys()
            if known and expressions.evaluate(step.expression, lambda _, name: values[name]) is not True:
                return False
        elif not isinstance(step, Keep | Drop | Period):
            return True  # it counts rows
    return True


def _length(definition: TabularDefinition, begin: dt.datetime) -> dt.timedelta:
    """How long the time is that one partition of the date stands for."""
    form = definition.partition_format or ""
    for piece, length in _UNITS:
        if piece in form:
            return length
    if "dd" in form:
        return dt.timedelta(days=1)
    if "MM" in form:
        return (begin.replace(day=1) + dt.timedelta(days=32)).replace(day=1) - begin
    return begin.replace(year=begin.year + 1) - begin if begin.year < dt.MAXYEAR else dt.timedelta(days=366)


def _batches(
    read: Iterator[tuple[int, Parsed]],
    files: Sequence[TableFile],
    extra: Mapping[int, dict[str, Any]],
    violations: Violations,
) -> "Iterator[pa.RecordBatch]":
    """Rows with the columns that are the file's; violations are counted on the way."""
    import pyarrow as pa

    at, rows = -1, 0
    for number, parsed in read:
        at, rows = (at, rows) if number == at else (number, 0)
        for bad in parsed.bad:
            violations.add(bad.column, files[number].path, rows + bad.at + 1, bad.text, bad.what, bad.count)
        rows += parsed.table.num_rows
        for batch in parsed.table.to_batches():
            columns = [pa.repeat(value, batch.num_rows) for value in extra[number].values()]
            yield pa.record_batch([*columns, *batch.columns], names=[*extra[number], *batch.schema.names])


def _stepped(
    batches: "Iterator[pa.RecordBatch]", steps: Sequence[RowStep], names: Sequence[str], violations: Violations
) -> "Iterator[pa.RecordBatch]":
    applied = [step.start() for step in steps]
    try:
        for batch in batches:
            left = _applied(batch, applied)
            if left is None:
                return
            if left.num_rows:
                yield left.select(list(names))
    finally:
        violations.tell()


def _applied(batch: "pa.RecordBatch", applied: Sequence[Apply]) -> "pa.RecordBatch | None":
    left: pa.RecordBatch | None = batch
    for apply in applied:
        if left is not None:
            left = apply(left)
    return left
