"""Labels of one format into another, an item at a time. The target is there whole, or not at all."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.errors import UserErrorException
from runtime.labels import coco_writing, conll, csv_files, json_lines, label_studio, places
from runtime.labels.reading import Format, Source, Tally, check_fit, good, refuse
from runtime.labels.values import BadItem, Item, Task

Progress = Callable[[int], None]
_EACH = 1000  # items between two calls of progress


class Writer(Protocol):
    """What takes items."""

    def add(self, item: Item) -> None:
        """Write one item; raises BadItem, with nothing written, if the format cannot say it."""

    def close(self, *, whole: bool) -> None:
        """End the file; unless `whole`, it is of no use to anybody."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and as what; files that name no datastore are said to be on `datastore`, if there is one."""

    path: Path
    form: Format
    datastore: str = ""
    overwrite: bool = False


def convert(source: Source, target: Target, *, skip_bad: bool = False, progress: Progress | None = None) -> Tally:
    """Write what `source` says as `target`; how many items there were.

    Raises:
        DatasetValidationError: the source is broken, or an item is and `skip_bad` is False.
        UserErrorException: the target has no labels of this task, or is there already.
    """
    task = source.settled_task()
    check_fit(target.form, task)
    if target.path.exists() and not target.overwrite:
        raise UserErrorException(f"{target.path} is there already; --overwrite replaces it")
    tally = Tally()
    with _whole(target.path) as draft:
        writer = _writer(target.form, draft, task, source.images)
        whole = False
        try:
            for where, item in good(source.found(task), str(source.path), tally, skip_bad=skip_bad):
                try:
                    writer.add(_named(item, target.datastore))
                except BadItem as bad:
                    refuse(f"{source.path}: {where}: {bad}", tally, skip_bad=skip_bad)
                    continue
                tally.items += 1
                if progress and tally.items % _EACH == 0:
                    progress(tally.items)
            whole = True
        finally:
            writer.close(whole=whole)
    return tally


def _named(item: Item, datastore: str) -> Item:
    if not datastore or not item.file or places.on_datastore(item.file) or "://" in item.file:
        return item
    return dataclasses.replace(item, file=places.below(datastore, places.path_of(item.file)))


def _writer(form: Format, draft: Path, task: Task, images: Path | None) -> Writer:
    if form is Format.COCO:
        return coco_writing.Writer(draft, task, images)
    if form is Format.CONLL:
        return conll.Writer(draft)
    made: dict[Format, Callable[[Path, Task], Writer]] = {
        Format.JSON_LINES: json_lines.Writer,
        Format.CSV: csv_files.Writer,
        Format.LABEL_STUDIO: label_studio.Writer,
    }
    return made[form](draft, task)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A draft beside `path` that takes its place if all goes well."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        umask = os.umask(0)
        os.umask(umask)
        draft.chmod(0o666 & ~umask)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
