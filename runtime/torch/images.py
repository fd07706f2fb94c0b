"""Labelled images as torch's DataLoader takes them: an item by its position, in whatever process asks.

The lines of the dataset are kept as they are, one text with its offsets: a worker gets them by fork for nothing, by
spawn as one block. An image's bytes come from the job's helper (elsewhere from one of this process tree's), which may
be asked from every worker. Class ids are those of the sorted names, from 1, the same in every worker and run; 0 is
nobody's, as detectors want it.
"""

import io
import json
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from runtime.datastores import reaching
from runtime.errors import DatasetValidationError, UserErrorException
from runtime.labels import bringing, json_lines, masks
from runtime.labels.values import Box, Item, Region, Size, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mountd.client.helper import HelperFiles
    from runtime.labels.rows import LabelledRow
    from runtime.workspace import WorkspaceFolder

_IMAGES: Final = frozenset(
    {
        Task.IMAGE_CLASSIFICATION,
        Task.IMAGE_MULTI_LABEL_CLASSIFICATION,
        Task.OBJECT_DETECTION,
        Task.IMAGE_INSTANCE_SEGMENTATION,
    }
)


@dataclass(slots=True)
class LabelledImages:
    """(image, target) by position; `labels` has the id of each class.

    image: float32 tensor [3, height, width], turned as EXIF says; 0 to 1, for classes -1 to 1, as v1 gave it. target: an id,
    a list of ids, or a dictionary of boxes (float32 [n, 4], pixels), labels, image_id, area, iscrowd and, of instances,
    masks (uint8 [n, height, width]).
    """

    task: Task
    labels: dict[str, int]
    _lines: bytes
    _offsets: "array[int]"
    _files: "dict[str, tuple[str, HelperFiles]]" = field(repr=False)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        """The item at a position from 0, or from the end where it is negative.

        Raises:
            IndexError: there is none.
            DatasetValidationError: the image does not decode; the message names it.
        """
        count = len(self)
        if not -count <= number < count:
            raise IndexError(f"item {number} of {count}")
        number %= count
        line = self._lines[self._offsets[number] : self._offsets[number + 1]]
        item = json_lines.item_of(json.loads(line), self.task)
        image, size = self._image(item.file)
        if self.task.has_classes:
            return image * 2 - 1, self._ids(item)
        return image, self._target(item, size, number)

    def _image(self, name: str) -> tuple[Any, Size]:
        import numpy as np
        import torch
        from PIL import Image, ImageOps

        store, path = bringing.place(name)
        folder, files = self._files[store]
        with files.open(path.removeprefix(f"{folder}/") if folder else path) as file:
            data = file.read()
        try:
            with Image.open(io.BytesIO(data)) as opened:
                pixels = np.array(ImageOps.exif_transpose(opened).convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise DatasetValidationError(f"{name}: no image that can be decoded") from None
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, Size(pixels.shape[1], pixels.shape[0])

    def _ids(self, item: Item) -> Any:
        ids = [self.labels[label.name] for label in item.labels]
        return ids[0] if self.task.has_one_class else ids

    def _target(self, item: Item, size: Size, number: int) -> dict[str, Any]:
        import torch

        found = [label for label in item.labels if isinstance(label, Box | Region)]
        scale = torch.tensor([size.width, size.height, size.width, size.height], dtype=torch.float32)
        boxes = torch.tensor([_corners(label) for label in found], dtype=torch.float32).reshape(-1, 4) * scale
        target = {
            "boxes": boxes,
            "labels": torch.tensor([self.labels[label.name] for label in found], dtype=torch.int64),
            "image_id": torch.tensor([number]),
            "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "iscrowd": torch.tensor([int(label.crowd) for label in found], dtype=torch.int64),
        }
        if self.task is Task.IMAGE_INSTANCE_SEGMENTATION:
            target["masks"] = _masks(found, size)
        return target


def _corners(label: Box | Region) -> tuple[float, float, float, float]:
    from runtime.labels.geometry import bounds

    return bounds(label) if isinstance(label, Region) else (label.left, label.top, label.right, label.bottom)


def _masks(labels: "list[Box | Region]", size: Size) -> Any:
    import numpy as np
    import torch

    found = np.zeros((len(labels), size.width, size.height), np.uint8)  # by columns, as a mask has its pixels
    for plane, label in zip(found, labels, strict=True):
        if isinstance(label, Region):
            counts = masks.of_polygons(label.polygons, size).counts
            plane.reshape(-1)[:] = np.repeat(np.arange(len(counts)) % 2, counts)
    return torch.from_numpy(found.transpose(0, 2, 1).copy())


def made(workspace: "WorkspaceFolder", task: Task, rows: "Iterable[LabelledRow]") -> LabelledImages:
    """The images of `rows`, which are read once, now.

    Raises:
        UserErrorException: the task is of texts, or an image is on no datastore.
        DatasetValidationError: an image is not there, or has no class where it must have one.
    """
    if task not in _IMAGES:
        raise UserErrorException(f"{task} is of texts; torchvision's datasets are of images")
    lines, offsets = io.BytesIO(), array("Q", [0])
    classes: set[str] = set()
    names: list[str] = []
    for row in rows:
        if task.has_one_class and not row.item.labels:
            raise DatasetValidationError(f"line {row.number}: {row.item.file} has no class; leave it out to train")
        offsets.append(offsets[-1] + lines.write(json.dumps(row.told).encode()))
        classes.update(label.name for label in row.item.labels)
        names.append(row.item.file)
    files = {
        each.datastore: (each.folder, reaching.open_files(workspace, each.frozen))
        for each in bringing.find(workspace, names)
    }
    ids = {name: number for number, name in enumerate(sorted(classes), 1)}
    return LabelledImages(task, ids, lines.getvalue(), offsets, files)
