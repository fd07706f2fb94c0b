"""COCO, written so that pycocotools, torchvision and others read the same from it.

Ids are integers from 1 (pycocotools takes annotation 0 for "no match"), images in the order of the items, categories by
name. `iscrowd`, `area` and `segmentation` are always there, boxes are pixels, images have their size, a crowd is a mask.
Annotations wait in a scratch file: images are written as they come, and categories are known last.
"""

import json
import tempfile
from pathlib import Path
from typing import Any, Final, TextIO

from runtime.labels import geometry, images, masks, places
from runtime.labels.values import BadItem, Box, Item, Label, Mask, Region, Size, Task, hashed

_INFO: Final = {"description": "labels written by Moorage", "boxes": "pixels"}


class Writer:
    """Writes a COCO file; what has no size is looked up below `folder`."""

    def __init__(self, draft: Path, task: Task, folder: Path | None = None) -> None:
        self._task = task
        self._folder = folder
        self._out: TextIO = draft.open("w", encoding="utf-8", newline="\n")
        self._waiting: TextIO = tempfile.TemporaryFile("w+", encoding="utf-8", prefix="moorage-")  # noqa: SIM115 # close() ends it
        self._names: dict[str, int] = {}
        self._images = self._annotations = 0
        self._renamed: set[int] = set()
        self._out.write('{"info": ' + json.dumps(_INFO) + ', "images": [')

    def add(self, item: Item) -> None:
        """Write one image; raises BadItem, with nothing written, if COCO cannot say it."""
        size = item.size or (images.size_of(self._folder, item.file) if self._folder else None)
        if size is None:
            raise BadItem("its size is not known; --images FOLDER reads the sizes of the images themselves", "no size")
        name = places.path_of(item.file)
        if hashed(name) in self._renamed:
            raise BadItem(f"another image is called {name!r}, too", "duplicate")
        told = [(label.name, _annotation(label, size)) for label in item.labels]
        if name != item.file:
            self._renamed.add(hashed(name))
        self._images += 1
        row = {"id": self._images, "file_name": name, "width": size.width, "height": size.height}
        if places.on_datastore(item.file):
            row["coco_url"] = item.file
        self._out.write((",\n" if self._images > 1 else "\n") + json.dumps(row))
        for label, body in told:
            number = self._names.setdefault(label, len(self._names))
            self._annotations += 1
            rest = json.dumps({"id": self._annotations, "image_id": self._images} | body)
            self._waiting.write(f"{number} {rest}\n")

    def close(self, *, whole: bool) -> None:
        """Write what waited, if the file is to be `whole`, and end it."""
        with self._out, self._waiting:
            if not whole:
                return
            ids = {name: number for number, name in enumerate(sorted(self._names), 1)}
            by_number = [ids[name] for name in self._names]
            self._out.write('],\n"annotations": [')
            self._waiting.seek(0)
            for at, line in enumerate(self._waiting):
                number, _, rest = line.rstrip("\n").partition(" ")
                self._out.write((",\n" if at else "\n") + f'{{"category_id": {by_number[int(number)]}, {rest[1:]}')
            categories = [{"id": number, "name": name, "supercategory": ""} for name, number in ids.items()]
            self._out.write('],\n"categories": ' + json.dumps(categories) + "}\n")


def _annotation(label: Label, size: Size) -> dict[str, Any]:
    if isinstance(label, Box):
        return _of_box(label, size)
    if isinstance(label, Region):
        return _of_region(label, size)
    raise BadItem(f"{type(label).__name__} is nothing that COCO can say")


def _of_box(box: Box, size: Size) -> dict[str, Any]:
    bbox = _bbox((box.left, box.top, box.right, box.bottom), size)
    outline: Any = _mask(masks.of_box(box, size)) if box.crowd else []
    return {"bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": int(box.crowd), "segmentation": outline}


def _of_region(region: Region, size: Size) -> dict[str, Any]:
    bbox = _bbox(geometry.bounds(region), size)
    sides = (size.width, size.height)
    scaled = [[value * sides[at % 2] for at, value in enumerate(part)] for part in region.polygons]
    if region.mask is None and not region.crowd:
        covered = sum(map(geometry.area, scaled))
        return {"bbox": bbox, "area": covered, "iscrowd": 0, "segmentation": scaled}
    mask = region.mask or masks.of_polygons(region.polygons, size)
    if mask.size != size:
        raise BadItem(f"the mask of '{region.name}' is of another size than the image")
    kept = {} if region.mask else {"segmentation_polygons": scaled}
    told = {"bbox": bbox, "area": masks.pixels(mask), "iscrowd": int(region.crowd), "segmentation": _mask(mask)}
    return told | kept


def _mask(mask: Mask) -> dict[str, Any]:
    return {"size": [mask.size.height, mask.size.width], "counts": list(mask.counts)}


def _bbox(corners: tuple[float, float, float, float], size: Size) -> list[float]:
    left, top, right, bottom = corners
    return [left * size.width, top * size.height, (right - left) * size.width, (bottom - top) * size.height]
