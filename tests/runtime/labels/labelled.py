"""Files of labels, and what is read back from them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runtime.labels.converting import Target, convert
from runtime.labels.reading import Format, Source
from runtime.labels.values import BadItem, Item, Task

BOX = {"label": "cat", "topX": 0.25, "topY": 0.1, "bottomX": 0.75, "bottomY": 0.5, "isCrowd": 0}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """JSON Lines of `rows`; a text stands as it is."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def boxed(**changed: Any) -> dict[str, Any]:
    """A row of one image with one box."""
    row = {"image_url": "AmlDatastore://store/a.jpg", "label": [BOX | changed]}
    return row | {"image_details": {"format": "jpg", "width": "400px", "height": 200}}


def found(path: Path, form: Format, task: Task | None = None, **options: Any) -> list[Item | BadItem]:
    """All that a file says."""
    source = Source(path, form, task, **options)
    return [item for _, item in source.found(source.settled_task())]


def items(path: Path, form: Format, task: Task | None = None, **options: Any) -> list[Item]:
    """As `found`, and all of it is good."""
    told = found(path, form, task, **options)
    assert not [str(each) for each in told if isinstance(each, BadItem)]
    return [each for each in told if isinstance(each, Item)]


def bad(path: Path, form: Format, task: Task | None = None, **options: Any) -> str:
    """What is wrong with the one item."""
    (told,) = found(path, form, task, **options)
    assert isinstance(told, BadItem)
    return str(told)


def converted(path: Path, form: Format, target: Path, into: Format, task: Task | None = None) -> Path:
    """`path` as another format."""
    convert(Source(path, form, task), Target(target, into))
    return target
