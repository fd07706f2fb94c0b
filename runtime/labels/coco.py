"""COCO, read: images, annotations, categories, in whatever order they stand in the file.

The file is parsed as a stream, once for each of the three. Annotations wait in a scratch database until their image comes.

Coordinates are pixels, but Azure's studio wrote shares of 0 to 1 and images of 0 by 0. That is seen by both together,
on the whole file. Where all coordinates are at most 1 and images do have sizes nobody can tell, and `boxes` must say
it; what our own writer wrote says so itself. An annotation that is bad makes its whole image bad: an image with half of
its labels would teach something false.
"""

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from runtime.errors import DatasetValidationError, UserErrorException
from runtime.labels import geometry, images, masks, places
from runtime.labels.json_lines import Found, name_of
from runtime.labels.values import BadItem, Item, Label, Size, Task

_AT_ONCE: Final = 1000
_SHARES: Final = 1 + 1e-6


@dataclass(frozen=True, slots=True)
class Reading:
    """How COCO is read: `boxes` is auto, pixels or normalised; sizes come from below `images` where they are missing."""

    task: Task
    boxes: str = "auto"
    images: Path | None = None


def parts(path: Path, name: str) -> Iterator[Any]:
    """The elements of a list of the file.

    Raises:
        DatasetValidationError: the file is no JSON.
    """
    try:
        import ijson
    except ImportError:
        raise UserErrorException("COCO and Label Studio need ijson: pip install 'moorage[labels]'") from None
    number = 0
    with path.open("rb") as stream:
        try:
            for number, part in enumerate(ijson.items(stream, name, use_float=True), 1):  # noqa: B007 # told below
                yield part
        except (ijson.JSONError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DatasetValidationError(
                f"{path}: broken JSON after {number} of {name.rpartition('.')[0] or 'its tasks'} ({reason})"
            ) from None


def task_of(path: Path) -> Task:
    """Segmentation if an annotation that is no crowd has an outline, else detection."""
    for each in parts(path, "annotations.item"):
        if (
            isinstance(each, dict)
            and each.get("segmentation")
            and str(_crowd_of(each)).lower() in {"0", "false", "none"}
        ):
            return Task.IMAGE_INSTANCE_SEGMENTATION
    return Task.OBJECT_DETECTION


def read(path: Path, reading: Reading) -> Iterator[Found]:
    """Every image with its labels, or what is wrong with it, in the order of the file's images."""
    names = _categories(path)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="moorage-"))
        waiting = stack.enter_context(
            contextlib.closing(sqlite3.connect(Path(folder) / "annotations", isolation_level=None))
        )
        try:
            reading = replace(reading, boxes=_boxes(path, reading.boxes, _stage(path, waiting)))
        except sqlite3.Error as error:
            raise DatasetValidationError(
                f"{path}: no room for its annotations in {folder} ({error}); set TMPDIR"
            ) from None
        yield from _joined(path, waiting, names, reading)
        yield from _left(waiting)


def _categories(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in parts(path, "categories.item"):
        try:
            found[str(each["id"])] = name_of(each["name"])
        except (KeyError, TypeError, BadItem):
            raise DatasetValidationError(f"{path}: a category has no id or no name: {str(each)[:80]}") from None
    return found


def _boxes(path: Path, said: str, largest: float) -> str:
    """What they are: pixels or normalised; unsure where the images' sizes decide."""
    if said != "auto":
        return said
    info = next(parts(path, "info"), None) if 0 <= largest <= _SHARES else None
    ours = isinstance(info, dict) and info.get("boxes") == "pixels"
    return "unsure" if 0 <= largest <= _SHARES and not ours else "pixels"


def _stage(path: Path, waiting: sqlite3.Connection) -> float:
    """Keep all annotations by image; the largest of their coordinates, -1 if there are none."""
    waiting.executescript(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;"
        "CREATE TABLE annotations (image TEXT, body TEXT); CREATE TABLE images (id TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN"
    )
    largest, rows = -1.0, []
    for each in parts(path, "annotations.item"):
        if not isinstance(each, dict):
            raise DatasetValidationError(f"{path}: an annotation is no object: {str(each)[:80]}")
        largest = max(largest, _largest(each))
        rows.append((str(each.get("image_id")), json.dumps(each)))
        if len(rows) >= _AT_ONCE:
            waiting.executemany("INSERT INTO annotations VALUES (?, ?)", rows)
            rows.clear()
    waiting.executemany("INSERT INTO annotations VALUES (?, ?)", rows)
    waiting.execute("CREATE INDEX by_image ON annotations (image)")
    return largest


def _largest(annotation: dict[str, Any]) -> float:
    outline, box = annotation.get("segmentation"), annotation.get("bbox")
    found = [value for part in outline if isinstance(part, list) for value in part] if isinstance(outline, list) else []
    found += box if isinstance(box, list) else []
    return max((each for each in found if isinstance(each, int | float)), default=-1.0)


def _joined(path: Path, waiting: sqlite3.Connection, names: dict[str, str], reading: Reading) -> Iterator[Found]:
    for number, image in enumerate(parts(path, "images.item"), 1):
        told = image.get("id") if isinstance(image, dict) else None
        where = f"image {told}" if told is not None else f"number {number} of the images"
        try:
            yield where, _item(image, _taken(waiting, told), names, reading)
        except BadItem as bad:
            yield where, bad


def _taken(waiting: sqlite3.Connection, image: Any) -> list[dict[str, Any]]:
    """The annotations of an image that comes for the first time."""
    if image is None:
        raise BadItem("it has no id")
    key = (str(image),)
    if not waiting.execute("INSERT OR IGNORE INTO images VALUES (?)", key).rowcount:
        raise BadItem("its id is another image's, too", "duplicate")
    asked = waiting.execute("SELECT body FROM annotations WHERE image = ? ORDER BY rowid", key)
    return [json.loads(body) for (body,) in asked]


def _left(waiting: sqlite3.Connection) -> Iterator[Found]:
    """What nobody took."""
    asked = "SELECT image, count(*) FROM annotations WHERE image NOT IN (SELECT id FROM images) GROUP BY image"
    for image, count in waiting.execute(asked):
        yield f"image {image}", BadItem(f"{count} annotations are of it, and it is not among the images", "no file")


def _item(
    image: dict[str, Any],
    annotations: Sequence[dict[str, Any]],
    names: dict[str, str],
    reading: Reading,
) -> Item:
    file = _file(image)
    size = geometry.size(image.get("width"), image.get("height"))
    normalised = reading.boxes == "normalised" or (reading.boxes == "unsure" and size is None)
    if reading.boxes == "unsure" and size is not None and annotations:
        raise BadItem(
            "all of the file's coordinates are at most 1, and it has a size: say --boxes pixels or normalised", "unsure"
        )
    if size is None and reading.images is not None:
        size = images.size_of(reading.images, file)
    if size is None and annotations and not normalised:
        raise BadItem(
            "it has boxes in pixels and no size; --images FOLDER reads the sizes of the images themselves", "no size"
        )
    scale = (1.0, 1.0) if normalised or size is None else (1 / size.width, 1 / size.height)
    return Item(file, labels=tuple(_label(each, names, reading.task, size, scale) for each in annotations), size=size)


def _file(image: dict[str, Any]) -> str:
    """The name on a datastore where the image has one, as Azure's exports do; else its path."""
    for key in ("coco_url", "file_name"):
        told = image.get(key)
        if isinstance(told, str) and told and (key == "file_name" or places.on_datastore(told)):
            return told
    raise BadItem("it has no file_name")


def _crowd_of(annotation: dict[str, Any]) -> Any:
    return next((annotation[key] for key in ("iscrowd", "isCrowd", "is_crowd") if key in annotation), None)


def _label(
    told: dict[str, Any], names: dict[str, str], task: Task, size: Size | None, scale: tuple[float, float]
) -> Label:
    name = names.get(str(told.get("category_id")))
    if name is None:
        raise BadItem(f"an annotation is of category {told.get('category_id')!r}, which is not there", "unknown class")
    crowd = geometry.crowd(_crowd_of(told))
    outline = told.get("segmentation")
    if task is Task.OBJECT_DETECTION and told.get("bbox"):
        return geometry.box(name, _corners(told["bbox"], scale), crowd=crowd, size=size)
    if isinstance(outline, dict):
        mask = masks.parse(outline)
        if size is not None and mask.size != size:
            raise BadItem(
                f"the mask of '{name}' is {mask.size.width} by {mask.size.height} pixels, and the image is not"
            )
        kept = told.get("segmentation_polygons")  # what our writer made the mask of
        found = masks.to_region(name, mask, crowd=crowd) if not kept else _region(name, kept, crowd, size, scale)
    elif outline:
        found = _region(name, outline, crowd, size, scale)
    else:
        left, top, right, bottom = _corners(told.get("bbox"), scale)
        corners = [left, top, right, top, right, bottom, left, bottom]
        found = geometry.polygons(name, [corners], crowd=crowd, size=size)
    if task is Task.OBJECT_DETECTION:
        return geometry.box(name, geometry.bounds(found), crowd=crowd, size=size)
    return found


def _region(name: str, outline: Any, crowd: bool, size: Size | None, scale: tuple[float, float]) -> Any:  # noqa: FBT001
    # one of the values
    if not isinstance(outline, list):
        raise BadItem(f"the segmentation of '{name}' is {type(outline).__name__}")
    scaled = [
        [geometry.number(value, "a point") * scale[at % 2] for at, value in enumerate(part)]
        if isinstance(part, list)
        else part
        for part in outline
    ]
    return geometry.polygons(name, scaled, crowd=crowd, size=size)


def _corners(told: Any, scale: tuple[float, float]) -> tuple[float, float, float, float]:
    if not isinstance(told, list) or len(told) != 4:
        raise BadItem("an annotation has no bbox of four numbers")
    x, y, width, height = (geometry.number(value, "bbox") for value in told)
    return x * scale[0], y * scale[1], (x + width) * scale[0], (y + height) * scale[1]
