"""Labels as values: a task, an item, and what was said of it.

Coordinates are shares of the picture, 0 to 1, from its upper left corner, as Azure ML has them; pixels are met in the
formats that use them only. An item is whole or bad: nothing takes half of its labels.
"""

import enum
import hashlib
from dataclasses import dataclass


class Task(enum.StrEnum):
    """What was asked of those who labelled; the first four are v1's `LabeledDatasetTask`."""

    IMAGE_CLASSIFICATION = "ImageClassification"
    IMAGE_MULTI_LABEL_CLASSIFICATION = "ImageMultiLabelClassification"
    OBJECT_DETECTION = "ObjectDetection"
    IMAGE_INSTANCE_SEGMENTATION = "InstanceSegmentation"
    TEXT_CLASSIFICATION = "TextClassification"
    TEXT_MULTI_LABEL_CLASSIFICATION = "TextMultiLabelClassification"
    TEXT_ENTITIES = "TextNamedEntities"

    @property
    def is_of_images(self) -> bool:
        """Whether its items are images, and not texts."""
        return not self.value.startswith("Text")

    @property
    def has_one_class(self) -> bool:
        """Whether an item has one class at the most."""
        return self in {Task.IMAGE_CLASSIFICATION, Task.TEXT_CLASSIFICATION}

    @property
    def has_classes(self) -> bool:
        """Whether a label is of the item as a whole."""
        return self.value.endswith("Classification")


def hashed(name: str) -> int:
    """Eight bytes for a name, which many of them fit into memory by."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())


class BadItem(Exception):  # noqa: N818 # it is an item, and its place turns it into an error
    """What is wrong with one item; whoever reads knows where, and whether to go on. `kind` is a word for the count."""

    def __init__(self, message: str, kind: str = "broken") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's size in pixels, as it is looked at (an EXIF orientation obeyed)."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Class:
    """A label of the whole item."""

    name: str


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `left` <= `right`, `top` <= `bottom`, all 0 to 1."""

    name: str
    left: float
    top: float
    right: float
    bottom: float
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class Mask:
    """Pixels by columns from the upper left: `counts` are lengths of runs, outside and inside in turn."""

    size: Size
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """One thing's outline: polygons x1, y1, x2, y2, ..., all 0 to 1. Where there is a `mask`, it says the same exactly."""

    name: str
    polygons: tuple[tuple[float, ...], ...]
    crowd: bool = False
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """The characters of a text from `start` up to, and without, `end`."""

    name: str
    start: int
    end: int


Label = Class | Box | Region | Entity


@dataclass(frozen=True, slots=True)
class Item:
    """An image (`file`, as its source names it) or a `text`, and its labels; none is a fact, too.

    `confidence` has the numbers that the source gives, for each label or for all of them; `form` is the image's format
    ('jpg') if the source tells it.
    """

    file: str = ""
    text: str = ""
    labels: tuple[Label, ...] = ()
    size: Size | None = None
    form: str = ""
    confidence: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """What makes it the same item as another one."""
        return self.file or self.text
