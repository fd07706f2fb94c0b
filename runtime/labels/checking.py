"""What is wrong in a file of labels, and how its classes weigh.

What a conversion would refuse is found here, too, and besides what it lets pass: boxes and outlines of no area, and the same
label twice on one image. Findings are counted by kind; of each kind the first few are kept.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.labels import geometry, images
from runtime.labels.reading import Source
from runtime.labels.values import BadItem, Box, Item, Label, Region, Task

_KEPT: Final = 20
_NO_AREA: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    where: str
    what: str


@dataclass(slots=True)
class Report:
    """All of it: `labels` and `items` count by class, `kinds` by kind of finding."""

    task: Task
    items: int = 0
    unlabelled: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    items_with: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def tell(self, kind: str, where: str, what: str) -> None:
        """Count a finding, and keep it if few of its kind are kept."""
        self.kinds[kind] += 1
        if self.kinds[kind] <= _KEPT:
            self.findings.append(Finding(kind, where, what))


def check(source: Source) -> Report:
    """Read all of `source`; with `source.images`, every image is looked at, too.

    Raises:
        DatasetValidationError: the file as a whole cannot be read.
    """
    report = Report(source.settled_task())
    for where, item in source.found(report.task):
        if isinstance(item, BadItem):
            report.tell(item.kind, where, str(item))
            continue
        report.items += 1
        report.unlabelled += not item.labels
        report.labels.update(label.name for label in item.labels)
        report.items_with.update({label.name for label in item.labels})
        for kind, what in _odd(item, source.images):
            report.tell(kind, where, f"{item.file or 'the text'}: {what}")
    return report


def _odd(item: Item, folder: Path | None) -> Iterator[tuple[str, str]]:
    for label, count in Counter(item.labels).items():
        if count > 1:
            yield "duplicate", f"'{label.name}' is there {count} times at the same place"
        if _area(label) <= _NO_AREA:
            yield "no area", f"the label '{label.name}' has no area"
    if folder is not None and item.file:
        try:
            real = images.size_of(folder, item.file)
        except BadItem as bad:
            yield bad.kind, str(bad)
            return
        if item.size is not None and item.size != real:
            said = f"{item.size.width} by {item.size.height}"
            yield "size", f"it is said to be {said} pixels, and is {real.width} by {real.height}"


def _area(label: Label) -> float:
    if isinstance(label, Box):
        return (label.right - label.left) * (label.bottom - label.top)
    return sum(map(geometry.area, label.polygons)) if isinstance(label, Region) else 1.0
