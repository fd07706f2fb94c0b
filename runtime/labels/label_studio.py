"""Label Studio's JSON: a list of tasks, each with its annotations' results. Coordinates are percent, 0 to 100.

A task has as many annotations as people finished it: the one that was changed last counts, cancelled ones do not, and
predictions never become labels. A polygon of several parts is a result for each, the later ones with the first as their
parent; a crowd is a result whose note says "crowd". What the tool's own datastore says (`image_url`) is kept beside its
address.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from runtime.labels import geometry, places
from runtime.labels.coco import parts
from runtime.labels.json_lines import Found, entity, name_of
from runtime.labels.values import BadItem, Box, Class, Entity, Item, Label, Region, Size, Task

_KINDS: Final = {
    Task.OBJECT_DETECTION: "rectanglelabels",
    Task.IMAGE_INSTANCE_SEGMENTATION: "polygonlabels",
    Task.TEXT_ENTITIES: "labels",
}
_CLASSES: Final = "choices"
_KNOWN: Final = (_CLASSES, *_KINDS.values(), "brushlabels", "ellipselabels", "keypointlabels")
_CROWD: Final = "crowd"


def task_of(path: Path) -> Task | None:
    """What the first result is of; several classes are seen only where the first result has them."""
    for told in parts(path, "item"):
        try:
            results, text = _results(told), "image" not in told["data"]
        except (BadItem, KeyError, TypeError):
            continue
        for result in results:
            kind = result.get("type")
            if kind == _CLASSES:
                value = result.get("value")
                chosen = value.get(_CLASSES) if isinstance(value, dict) else None
                several = isinstance(chosen, list) and len(chosen) > 1
                return _of_classes(text=text, several=several)
            if found := next((task for task, name in _KINDS.items() if name == kind), None):
                return found
    return None


def _of_classes(*, text: bool, several: bool) -> Task:
    if text:
        return Task.TEXT_MULTI_LABEL_CLASSIFICATION if several else Task.TEXT_CLASSIFICATION
    return Task.IMAGE_MULTI_LABEL_CLASSIFICATION if several else Task.IMAGE_CLASSIFICATION


def read(path: Path, task: Task) -> Iterator[Found]:
    """Every task, or what is wrong with it, in the order of the file."""
    for number, told in enumerate(parts(path, "item"), 1):
        where = f"task {told['id'] if isinstance(told, dict) and 'id' in told else number}"
        try:
            yield where, _item(told, task)
        except BadItem as bad:
            yield where, bad


def _item(told: Any, task: Task) -> Item:
    results = _results(told)
    data = told["data"]
    if not task.is_of_images:
        text = data.get("text")
        if not isinstance(text, str) or not text:
            raise BadItem("its data has no 'text'")
        return Item(text=text, labels=_labels(results, task, None, len(text)))
    address = data.get("image_url") if places.on_datastore(str(data.get("image_url", ""))) else data.get("image")
    if not isinstance(address, str) or not address:
        raise BadItem("its data has no 'image'")
    sized = next((each for each in results if each.get("original_width")), data)
    size = geometry.size(
        sized.get("original_width", sized.get("width")), sized.get("original_height", sized.get("height"))
    )
    return Item(places.from_local_files(address), labels=_labels(results, task, size, 0), size=size)


def _results(told: Any) -> list[dict[str, Any]]:
    """Those of the annotation that counts."""
    if not isinstance(told, dict) or not isinstance(told.get("data"), dict):
        raise BadItem("it is no task with 'data'")
    annotations = told.get("annotations", told.get("completions")) or []
    if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
        raise BadItem("its annotations are no list of objects")
    done = [each for each in annotations if not (each.get("was_cancelled") or each.get("skipped"))]
    if not done:
        return []
    last = max(
        enumerate(done), key=lambda each: (str(each[1].get("updated_at") or each[1].get("created_at") or ""), each[0])
    )
    results = last[1].get("result") or []
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        raise BadItem("an annotation's result is no list of objects")
    return results


def _labels(results: Sequence[dict[str, Any]], task: Task, size: Size | None, length: int) -> tuple[Label, ...]:
    wanted = _CLASSES if task.has_classes else _KINDS[task]
    found: dict[str, Label] = {}
    for number, result in enumerate(results):
        if result.get("type") != wanted:
            if result.get("type") in _KNOWN:
                raise BadItem(f"it has {result.get('type')}, and the task {task} takes {wanted}")
            continue
        value = result.get("value")
        if not isinstance(value, dict):
            raise BadItem("a result has no value")
        names = value.get(wanted)
        if not isinstance(names, list) or not names:
            raise BadItem(f"a result has no {wanted}")
        if task.has_classes:
            found.update({name_of(name): Class(name_of(name)) for name in names})
            continue
        if len(names) > 1:
            raise BadItem(f"a result has {len(names)} classes; one is meant")
        _put(found, str(result.get("id", number)), result, _one(value, name_of(names[0]), result, size, length))
    if task.has_one_class and len(found) > 1:
        raise BadItem(f"it has {len(found)} classes; is the task another than {task}?")
    return tuple(found.values())


def _put(found: dict[str, Label], key: str, result: dict[str, Any], label: Label) -> None:
    """Keep a label, or join it to the one that it is a part of."""
    whole = found.get(str(result.get("parentID")))
    if isinstance(whole, Region) and isinstance(label, Region) and whole.name == label.name:
        found[str(result["parentID"])] = Region(whole.name, whole.polygons + label.polygons, whole.crowd)
    elif key in found:
        raise BadItem(f"two results have the id {key!r}", "duplicate")
    else:
        found[key] = label


def _one(value: dict[str, Any], name: str, result: dict[str, Any], size: Size | None, length: int) -> Label:
    kind = result["type"]
    if kind == "labels":
        return entity(name, value.get("start"), value.get("end"), length)
    meta = result.get("meta")
    notes = meta.get("text") if isinstance(meta, dict) else None
    crowd = isinstance(notes, list) and _CROWD in notes
    if kind == "polygonlabels":
        points = value.get("points")
        if not isinstance(points, list) or not all(isinstance(each, list) and len(each) == 2 for each in points):
            raise BadItem(f"a polygon of '{name}' has no points")
        flat = [geometry.number(each, "a point") / 100 for point in points for each in point]
        return geometry.polygons(name, [flat], crowd=crowd, size=size)
    if value.get("rotation"):
        raise BadItem(f"the box of '{name}' is turned by {value['rotation']} degrees; a box has upright sides")
    x, y, width, height = (geometry.number(value.get(key), key) / 100 for key in ("x", "y", "width", "height"))
    return geometry.box(name, (x, y, x + width, y + height), crowd=crowd, size=size)


class Writer:
    """Writes a list of tasks."""

    def __init__(self, draft: Path, task: Task) -> None:
        self._out: TextIO = draft.open("w", encoding="utf-8", newline="\n")
        self._task = task
        self._count = 0
        self._out.write("[")

    def add(self, item: Item) -> None:
        """Write one task."""
        row = {"id": self._count + 1, "data": self._data(item), "annotations": [{"result": self._told(item)}]}
        self._out.write((",\n" if self._count else "\n") + json.dumps(row))
        self._count += 1

    def _data(self, item: Item) -> dict[str, Any]:
        if not self._task.is_of_images:
            return {"text": item.text}
        sides = {"width": item.size.width, "height": item.size.height} if item.size else {}
        if places.on_datastore(item.file):
            return {"image": places.as_local_files(places.path_of(item.file)), "image_url": item.file} | sides
        return {"image": item.file if "://" in item.file else places.as_local_files(item.file)} | sides

    def _told(self, item: Item) -> list[dict[str, Any]]:
        kind = _CLASSES if self._task.has_classes else _KINDS[self._task]
        places_of = {"from_name": "label", "to_name": "image" if self._task.is_of_images else "text", "type": kind}
        if item.size and not self._task.has_classes:
            places_of |= {"original_width": item.size.width, "original_height": item.size.height}  # type: ignore[dict-item] # JSON
        if self._task.has_classes:
            names = [label.name for label in item.labels]
            return [places_of | {"id": "r1", "value": {kind: names}}] if names else []
        told = []
        for number, label in enumerate(item.labels, 1):
            for part, value in enumerate(_values(label, item.text)):
                row: dict[str, Any] = places_of | {"id": f"r{number}" if not part else f"r{number}.{part}"}
                if part:
                    row["parentID"] = f"r{number}"
                if isinstance(label, Box | Region) and label.crowd:
                    row["meta"] = {"text": [_CROWD]}
                told.append(row | {"value": value | {kind: [label.name]}})
        return told

    def close(self, *, whole: bool) -> None:
        """End the list, if it is to be `whole`, and the file."""
        with self._out:
            if whole:
                self._out.write("]\n")


def _values(label: Label, text: str) -> Iterator[dict[str, Any]]:
    if isinstance(label, Entity):
        yield {"start": label.start, "end": label.end, "text": text[label.start : label.end]}
    if isinstance(label, Box):
        sides = {"width": (label.right - label.left) * 100, "height": (label.bottom - label.top) * 100}
        yield {"x": label.left * 100, "y": label.top * 100, "rotation": 0} | sides
    if isinstance(label, Region):
        for part in label.polygons:
            points = [[x * 100, y * 100] for x, y in zip(part[::2], part[1::2], strict=True)]
            yield {"points": points, "closed": True}
