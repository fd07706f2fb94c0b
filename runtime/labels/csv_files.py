"""CSV: a row an item, its class in a column; where an item may have several classes, a row for each of them.

Written: `image_url,label` or `text,label`, in UTF-8, quoted where needed, so that a class may hold any character. An item
without a label has an empty one. Read: the columns go by any of the names below, whatever their case and order; with
several classes a cell may also be a list, as `["a", "b"]` or `['a', 'b']`.
"""

import ast
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from runtime.errors import DatasetValidationError
from runtime.labels.json_lines import Found
from runtime.labels.values import BadItem, Class, Item, Task

_FILES: Final = ("image_url", "image", "file", "filename", "file_name", "path", "url")
_TEXTS: Final = ("text", "sentence", "document")
_LABELS: Final = ("label", "labels", "class", "category", "classes")


def task_of(path: Path) -> Task:
    """One class, of an image or of a text, as the header says; several are never guessed."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = _header(path, stream)
    return Task.IMAGE_CLASSIFICATION if any(each in _FILES for each in header) else Task.TEXT_CLASSIFICATION


def _header(path: Path, stream: TextIO) -> list[str]:
    try:
        return [name.strip().lower() for name in next(csv.reader(stream), [])]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetValidationError(f"{path}: line 1: no header of a CSV ({error})") from None


def read(path: Path, task: Task) -> Iterator[Found]:
    """Every item, or what is wrong with it, with the number of its first line."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = _header(path, stream)
        columns = (_column(path, header, _FILES if task.is_of_images else _TEXTS), _column(path, header, _LABELS))
        rows = _rows(path, stream, columns)
        if task.has_one_class:
            yield from (_one(where, key, cell, task) for where, key, cell in rows)
        else:
            yield from _several(rows, task)


def _column(path: Path, header: list[str], names: tuple[str, ...]) -> int:
    found = next((header.index(name) for name in names if name in header), None)
    if found is None:
        raise DatasetValidationError(f"{path}: no column {names[0]!r}; its header is {', '.join(header) or 'empty'}")
    return found


def _rows(path: Path, stream: TextIO, columns: tuple[int, int]) -> Iterator[tuple[str, str, str | BadItem]]:
    """(place, the item's name, the label's cell) of each row that is not empty."""
    reader = csv.reader(stream, strict=True)
    while True:
        where = f"line {reader.line_num + 2}"  # the header is one that this reader has not seen
        try:
            row = next(reader, None)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DatasetValidationError(f"{path}: {where}: {error}; nothing behind it can be told apart") from None
        if row is None:
            return
        if len(row) <= max(columns):
            if row:
                yield where, "", BadItem(f"it has {len(row)} cells, and the header more")
        elif not row[columns[0]]:
            yield where, "", BadItem("the item's cell is empty")
        else:
            yield where, row[columns[0]], row[columns[1]]


def _one(where: str, key: str, cell: str | BadItem, task: Task) -> Found:
    return where, cell if isinstance(cell, BadItem) else _item(key, (cell,) if cell else (), task)


def _item(key: str, names: tuple[str, ...], task: Task) -> Item:
    labels = tuple(map(Class, dict.fromkeys(names)))
    return Item(file=key, labels=labels) if task.is_of_images else Item(text=key, labels=labels)


def _several(rows: Iterator[tuple[str, str, str | BadItem]], task: Task) -> Iterator[Found]:
    """Rows of one item that follow one another are one item; where they do not, it comes twice, and is told."""
    begun: tuple[str, str, tuple[str, ...]] | None = None
    for where, key, cell in rows:
        if begun and (isinstance(cell, BadItem) or key != begun[1]):
            yield begun[0], _item(begun[1], begun[2], task)
            begun = None
        if isinstance(cell, BadItem):
            yield where, cell
        else:
            begun = (begun[0] if begun else where, key, (begun[2] if begun else ()) + _listed(cell))
    if begun:
        yield begun[0], _item(begun[1], begun[2], task)


def _listed(cell: str) -> tuple[str, ...]:
    if cell.startswith("[") and cell.endswith("]"):
        try:
            found = ast.literal_eval(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return (cell,)
        if isinstance(found, list) and all(isinstance(each, str) and each for each in found):
            return tuple(found)
    return (cell,) if cell else ()


class Writer:
    """Writes a CSV file."""

    def __init__(self, draft: Path, task: Task) -> None:
        self._out: TextIO = draft.open("w", encoding="utf-8", newline="")
        self._task = task
        self._rows = csv.writer(self._out, lineterminator="\n")
        self._rows.writerow(("image_url" if task.is_of_images else "text", "label"))

    def add(self, item: Item) -> None:
        """Write the rows of one item."""
        for name in [label.name for label in item.labels] or [""]:
            listed = not self._task.has_one_class and name.startswith("[")  # which would be read as a list
            self._rows.writerow((item.key, repr([name]) if listed else name))

    def close(self, *, whole: bool) -> None:  # noqa: ARG002 # as the other writers
        """End the file."""
        self._out.close()
