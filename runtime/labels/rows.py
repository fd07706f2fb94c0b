"""The rows of a labelled dataset: lines of its frozen file, through its steps, one by one.

In a job the bytes come through its helper, which has the credentials; elsewhere from the store itself. Each line is
looked at as a conversion does, so a row that is got is a good one.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from runtime.datasets.labelled import LabelledDefinition, Row
from runtime.datasets.tabular import files
from runtime.datastores import reaching
from runtime.errors import DatasetValidationError
from runtime.labels import json_lines
from runtime.labels.reading import Seen
from runtime.labels.values import BadItem, Item, Task
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from runtime.datasets.file import FrozenDataset
    from runtime.datasets.steps import Candidate

_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One row: the line's `number`, the object that it is (`told`), and what that means."""

    number: int
    told: dict[str, Any]
    item: Item


def read(folder: WorkspaceFolder, frozen: "FrozenDataset", definition: LabelledDefinition) -> Iterator[LabelledRow]:
    """The rows that the steps leave.

    Raises:
        DatasetValidationError: it is not one file, or a line is no item of the task; the message has its number.
    """
    if frozen.files != 1:
        raise DatasetValidationError(
            f"{definition.paths[0]}: {frozen.files} files; a labelled dataset is one of JSON Lines"
        )
    task, seen = Task(definition.task), Seen()
    with _opened(folder, frozen) as (name, stream):
        kept: Iterable[Candidate] = _lines(stream, name, task)
        for position, step in enumerate(definition.steps):
            kept = step.keep(kept, position, None)
        for row in cast("Iterable[Row]", kept):
            yield _checked(name, row, task, seen)


def _lines(stream: io.BufferedIOBase, name: str, task: Task) -> Iterator[Row]:
    """Each line with what a step draws by; one that is broken goes by its text, and is told if it is kept."""
    for number, line in json_lines.lines(stream, name):
        try:
            key = str(json_lines.parse(line).get("image_url" if task.is_of_images else "text"))
        except BadItem:
            key = repr(line)
        yield Row(key, key, number, len(line), 0, line)


def _checked(name: str, row: Row, task: Task, seen: Seen) -> LabelledRow:
    try:
        told = json_lines.parse(row.line)
        item: Item | BadItem = seen.checked(json_lines.item_of(told, task))
    except BadItem as bad:
        item = bad
    if isinstance(item, BadItem):
        raise DatasetValidationError(
            f"{name}: line {row.inode}: {item}; `moorage labels check` lists all that is wrong"
        )
    return LabelledRow(row.inode, told, item)


@contextlib.contextmanager
def _opened(folder: WorkspaceFolder, frozen: "FrozenDataset") -> Iterator[tuple[str, io.BufferedIOBase]]:
    """The path of the one file, and its bytes."""
    if reaching.helper_of(folder) is not None:
        with reaching.open_files(folder, frozen) as opened:
            path = next(path for path, _ in opened.manifest.files())
            yield path, io.BufferedReader(opened.open(path), _BUFFER_BYTES)
        return
    with files.open_files(frozen) as found:
        if found:
            yield found[0].path, io.BufferedReader(found[0].open(), _BUFFER_BYTES)
        else:  # a file without bytes has no rows
            yield "", io.BytesIO()
