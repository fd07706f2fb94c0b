"""What was logged, in the shapes that v1 gives it: pure.

    logged once by `log`          the value            logged several times, or by `log_list`    a list
    one `log_row`                 {column: value}      several rows, or a table of columns       {column: [values]}
    an image                      its address, as v1 forms it
    a confusion matrix, …         the dictionary itself

A row that lacks a column which others have holds None there, so that columns stay of one length.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runtime.tracking.journal import Entry

IMAGE = "image"
_LINES = frozenset({"scalar", "list"})
_TABLES = frozenset({"row", "table"})
_ADDRESS = "aml://artifactId/ExperimentRun/dcid."


def by_name(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """The entries of each metric, in their order; metrics in the order of their first entry."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.name, []).append(entry)
    return found


def shaped(entries: Iterable[Entry], run_id: str) -> dict[str, Any]:
    """Every metric by name, as `Run.get_metrics` returns it."""
    return {name: _shape(its, run_id) for name, its in by_name(entries).items()}


def _shape(entries: Sequence[Entry], run_id: str) -> Any:
    kinds = {entry.kind for entry in entries}
    if kinds <= _TABLES:
        columns = columns_of(entries)
        single = len(entries) == 1 and not any(isinstance(value, list) for value in entries[0].value.values())
        return {key: value[0] for key, value in columns.items()} if single else columns
    values = [value for entry in entries for value in _values(entry, run_id)]
    return values[0] if len(entries) == 1 and entries[0].kind != "list" else values


def _values(entry: Entry, run_id: str) -> list[Any]:
    if entry.kind == "list":
        return list(entry.value)
    if entry.kind == IMAGE:
        return [f"{_ADDRESS}{run_id}/{entry.value}"]
    return [entry.value]


def columns_of(entries: Sequence[Entry]) -> dict[str, list[Any]]:
    """Rows and tables of one name as columns of one length."""
    columns: dict[str, list[Any]] = {}
    length = 0
    for entry in entries:
        added: Mapping[str, list[Any]] = {
            key: value if isinstance(value, list) else [value] for key, value in entry.value.items()
        }
        rows = max(map(len, added.values()), default=0)
        for key in [*columns, *(key for key in added if key not in columns)]:
            have = columns.setdefault(key, [None] * length)
            have += added.get(key, [None] * rows)
        length += rows
    return columns


def series_of(entries: Sequence[Entry]) -> dict[str, list[tuple[float, float]]]:
    """What can be plotted: a line of (x, y) for each column of numbers, by its name ('' for plain values)."""
    if {entry.kind for entry in entries} <= _TABLES:
        columns = columns_of(entries)
        numeric = {key: value for key, value in columns.items() if value and all(map(is_number, value))}
        axis, *others = list(numeric) or [""]
        if not others:
            return {key: [(float(at), float(y)) for at, y in enumerate(value)] for key, value in numeric.items()}
        return {key: [(float(x), float(y)) for x, y in zip(numeric[axis], numeric[key], strict=True)] for key in others}
    if not {entry.kind for entry in entries} <= _LINES:
        return {}
    points: list[tuple[float, float]] = []
    for entry in entries:
        values = entry.value if entry.kind == "list" else [entry.value]
        if not all(map(is_number, values)):
            return {}
        points += [
            (float(len(points) + at if entry.step is None else entry.step), float(y)) for at, y in enumerate(values)
        ]
    return {"": points} if points else {}


def is_number(value: object) -> bool:
    """True for what has a place on an axis (NaN and the infinities are numbers; True is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)
