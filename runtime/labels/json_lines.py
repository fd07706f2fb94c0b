"""Azure ML's JSON Lines: an item a line, `image_url` (or `text`) and `label`.

    a class          "label": "dog"
    classes          "label": ["dog", "indoors"]
    boxes            "label": [{"label", "topX", "topY", "bottomX", "bottomY", "isCrowd"}]     0 to 1
    instances        "label": [{"label", "isCrowd", "polygon": [[x1, y1, ...], ...]}]          0 to 1
    entities         "label": [{"label", "start", "end"}]                                      characters of `text`

`label_confidence` and `image_details` ({"format", "width": 400 or "400px", "height"}) may be there. A mask that another
format had is written as polygons, the only form that there is here.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from runtime.errors import DatasetValidationError
from runtime.labels import geometry
from runtime.labels.values import BadItem, Box, Class, Entity, Item, Label, Region, Size, Task

LONGEST_LINE_BYTES: Final = 64 << 20
_SAMPLE_LINES: Final = 1000
Found = tuple[str, Item | BadItem]


def lines(stream: Any, name: str) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, each with its number from 1."""
    number = 0
    while line := stream.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        if len(line) > LONGEST_LINE_BYTES:
            raise DatasetValidationError(f"{name}: line {number} is longer than {LONGEST_LINE_BYTES >> 20} MiB")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield number, line


def task_of(path: Path) -> Task | None:
    """The task that the first labels are of."""
    with path.open("rb") as stream:
        for at, (_, line) in enumerate(lines(stream, str(path))):
            try:
                row = parse(line)
            except BadItem:
                continue
            if (task := _task(row)) or at > _SAMPLE_LINES:
                return task
    return None


def _task(row: dict[str, Any]) -> Task | None:
    label, text = row.get("label"), "image_url" not in row
    if isinstance(label, str) and label:
        return Task.TEXT_CLASSIFICATION if text else Task.IMAGE_CLASSIFICATION
    first = label[0] if isinstance(label, list) and label else None
    if isinstance(first, str):
        return Task.TEXT_MULTI_LABEL_CLASSIFICATION if text else Task.IMAGE_MULTI_LABEL_CLASSIFICATION
    if isinstance(first, dict):
        if text:
            return Task.TEXT_ENTITIES
        return Task.IMAGE_INSTANCE_SEGMENTATION if "polygon" in first else Task.OBJECT_DETECTION
    return None


def read(path: Path, task: Task) -> Iterator[Found]:
    """Every item of the file, or what is wrong with it, with the number of its line."""
    with path.open("rb") as stream:
        yield from items(lines(stream, str(path)), task)


def items(numbered: Iterable[tuple[int, bytes]], task: Task) -> Iterator[Found]:
    """As `read`, of lines from anywhere."""
    for number, line in numbered:
        try:
            yield f"line {number}", item_of(parse(line), task)
        except BadItem as bad:
            yield f"line {number}", bad


def parse(line: bytes) -> dict[str, Any]:
    """The object of one line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise BadItem(f"broken JSON ({reason})") from None
    if not isinstance(row, dict):
        raise BadItem(f"no JSON object but {type(row).__name__}")
    return row


def item_of(row: dict[str, Any], task: Task) -> Item:
    """The item of one row; raises BadItem."""
    what = "image_url" if task.is_of_images else "text"
    named = row.get(what)
    if not isinstance(named, str) or not named:
        raise BadItem(f"no '{what}'")
    details = row.get("image_details") or {}
    if not isinstance(details, dict):
        raise BadItem("'image_details' is no object")
    size = geometry.size(details.get("width"), details.get("height"))
    labels = _labels(row.get("label"), task, size, len(named))
    return Item(
        file=named if task.is_of_images else "",
        text="" if task.is_of_images else named,
        labels=labels,
        size=size,
        form=str(details.get("format") or ""),
        confidence=_confidence(row.get("label_confidence")),
    )


def _confidence(told: Any) -> tuple[float, ...]:
    if told is None:
        return ()
    return tuple(geometry.number(each, "label_confidence") for each in (told if isinstance(told, list) else [told]))


def _labels(told: Any, task: Task, size: Size | None, length: int) -> tuple[Label, ...]:
    if told is None or told == "":
        return ()
    if task.has_one_class:
        if not isinstance(told, str):
            raise BadItem(f"'label' is {type(told).__name__} and not one class; is the task another than {task}?")
        return (Class(told),)
    if not isinstance(told, list):
        raise BadItem(f"'label' is no list; is the task another than {task}?")
    return tuple(_one(each, task, size, length) for each in told)


def name_of(told: Any) -> str:
    """A class's name."""
    if not isinstance(told, str) or not told:
        raise BadItem(f"a label's class is {told!r}, and no text")
    return told


def _one(told: Any, task: Task, size: Size | None, length: int) -> Label:
    if task.has_classes:
        return Class(name_of(told))
    if not isinstance(told, dict):
        raise BadItem(f"a label is no object; is the task another than {task}?")
    name = name_of(told.get("label"))
    if task is Task.TEXT_ENTITIES:
        return entity(name, told.get("start"), told.get("end"), length)
    crowd = geometry.crowd(told.get("isCrowd", told.get("iscrowd")))
    if task is Task.IMAGE_INSTANCE_SEGMENTATION:
        return geometry.polygons(name, told.get("polygon"), crowd=crowd, size=size)
    corners = [told.get(key) for key in ("topX", "topY", "bottomX", "bottomY")]
    return geometry.box(name, corners, crowd=crowd, size=size)


def entity(name: str, start: Any, end: Any, length: int) -> Entity:
    """An entity in a text of so many characters."""
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= length:
        raise BadItem(f"'{name}' is at {start!r} to {end!r} of a text of {length} characters", "outside")
    return Entity(name, start, end)


class Writer:
    """Writes a line for each item."""

    def __init__(self, draft: Path, task: Task) -> None:
        self._out: TextIO = draft.open("w", encoding="utf-8", newline="\n")
        self._task = task

    def add(self, item: Item) -> None:
        """Write one item."""
        row: dict[str, Any] = {"image_url": item.file} if self._task.is_of_images else {"text": item.text}
        told = [_told(label) for label in item.labels]
        if not self._task.has_one_class:
            row["label"] = told
        elif told:
            row["label"] = told[0]
        if item.confidence:
            row["label_confidence"] = item.confidence[0] if self._task.has_one_class else list(item.confidence)
        if item.size or item.form:
            sides = {"width": item.size.width, "height": item.size.height} if item.size else {}
            row["image_details"] = ({"format": item.form} if item.form else {}) | sides
        self._out.write(json.dumps(row) + "\n")

    def close(self, *, whole: bool) -> None:  # noqa: ARG002 # as the other writers
        """End the file."""
        self._out.close()


def _told(label: Label) -> Any:
    return _TOLD[type(label)](label)


_TOLD: Final[dict[type, Callable[[Any], Any]]] = {
    Class: lambda label: label.name,
    Entity: lambda label: {"label": label.name, "start": label.start, "end": label.end},
    Box: lambda label: {
        "label": label.name,
        "topX": label.left,
        "topY": label.top,
        "bottomX": label.right,
        "bottomY": label.bottom,
        "isCrowd": int(label.crowd),
    },
    Region: lambda label: {
        "label": label.name,
        "isCrowd": int(label.crowd),
        "polygon": [list(part) for part in label.polygons],
    },
}
