"""What holds for labels of every format: which reader, the task, duplicates, unknown classes, and what becomes of bad items.

A bad item is an error that names the file and the place in it; with `skip_bad` it is left out and counted. Of each
item's name eight bytes are kept, so that one that comes a second time is told.
"""

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.errors import DatasetValidationError, UserErrorException
from runtime.labels import coco, conll, csv_files, json_lines, label_studio
from runtime.labels.json_lines import Found
from runtime.labels.values import BadItem, Class, Item, Task, hashed

_TOLD: Final = 5


class Format(enum.StrEnum):
    """The formats, by the names that the commands have for them."""

    JSON_LINES = "jsonl"
    COCO = "coco"
    CSV = "csv"
    CONLL = "conll"
    LABEL_STUDIO = "label-studio"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of labels. `task` None: what its first labels say. `classes` None: any; `boxes`, `images`: as COCO has them."""

    path: Path
    form: Format
    task: Task | None = None
    classes: frozenset[str] | None = None
    boxes: str = "auto"
    images: Path | None = None

    def found(self, task: Task) -> Iterator[Found]:
        """Every item or what is wrong with it, with its place."""
        seen = Seen(self.classes)
        for where, item in self._raw(task):
            yield where, item if isinstance(item, BadItem) else seen.checked(item)

    def _raw(self, task: Task) -> Iterator[Found]:
        if self.form is Format.COCO:
            return coco.read(self.path, coco.Reading(task, self.boxes, self.images))
        if self.form is Format.CONLL:
            return conll.read(self.path)
        read = {Format.JSON_LINES: json_lines.read, Format.CSV: csv_files.read, Format.LABEL_STUDIO: label_studio.read}
        return read[self.form](self.path, task)

    def settled_task(self) -> Task:
        """The task that was said, or that the file's first labels are of.

        Raises:
            UserErrorException: the format has no such labels, or nothing tells.
        """
        looks: dict[Format, Callable[[Path], Task | None]] = {
            Format.COCO: coco.task_of,
            Format.CSV: csv_files.task_of,
            Format.CONLL: lambda _: Task.TEXT_ENTITIES,
            Format.JSON_LINES: json_lines.task_of,
            Format.LABEL_STUDIO: label_studio.task_of,
        }
        task = self.task or looks[self.form](self.path)
        if task is None:
            raise UserErrorException(f"{self.path}: no label tells what the task is; say it with --task")
        check_fit(self.form, task)
        return task


def check_fit(form: Format, task: Task) -> None:
    """See that the format has labels of the task."""
    fits = {
        Format.COCO: task in {Task.OBJECT_DETECTION, Task.IMAGE_INSTANCE_SEGMENTATION},
        Format.CSV: task.has_classes,
        Format.CONLL: task is Task.TEXT_ENTITIES,
    }
    if not fits.get(form, True):
        raise UserErrorException(f"{form} has no labels of the task {task}; use jsonl or label-studio")


class Seen:
    """The items so far, by a hash of their names; `checked` makes a bad item of one that comes twice."""

    def __init__(self, classes: frozenset[str] | None = None) -> None:
        self._classes = classes
        self._hashes: set[int] = set()

    def checked(self, item: Item) -> Item | BadItem:
        """The item, or what is wrong with it beside others."""
        if self._classes is not None:
            unknown = next((label.name for label in item.labels if label.name not in self._classes), None)
            if unknown is not None:
                return BadItem(f"the class '{unknown}' is none of those that were said", "unknown class")
        names = [label.name for label in item.labels if isinstance(label, Class)]
        if len(set(names)) < len(names):
            return BadItem("it has a class twice", "duplicate")
        if item.file:  # two texts may well be alike
            name = hashed(item.file)
            if name in self._hashes:
                return BadItem(f"{item.file!r} is there already, further up", "duplicate")
            self._hashes.add(name)
        return item


@dataclass(slots=True)
class Tally:
    """How many items were good, how many were left out, and the first of what was wrong."""

    items: int = 0
    skipped: int = 0
    told: list[str] = field(default_factory=list)

    def skip(self, line: str) -> None:
        """Count one that is left out."""
        self.skipped += 1
        if len(self.told) < _TOLD:
            self.told.append(line)


def good(found: Iterator[Found], name: str, tally: Tally, *, skip_bad: bool) -> Iterator[tuple[str, Item]]:
    """The items that are good, counted when the next one is asked for.

    Raises:
        DatasetValidationError: one is bad, and such are not to be left out.
    """
    for where, item in found:
        if isinstance(item, Item):
            yield where, item
            continue
        refuse(f"{name}: {where}: {item}", tally, skip_bad=skip_bad)


def refuse(line: str, tally: Tally, *, skip_bad: bool) -> None:
    """Leave one item out, or make an error of it."""
    if not skip_bad:
        raise DatasetValidationError(f"{line} (--skip-bad leaves such items out)")
    tally.skip(line)
