import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import DatasetValidationError
from runtime.labels.reading import Format, Source
from runtime.labels.values import Box, Class, Entity, Item, Region, Size, Task
from tests.runtime.labels.labelled import bad, boxed, converted, found, items, write_lines

STUDIO, JSONL = Format.LABEL_STUDIO, Format.JSON_LINES


def result(kind: str, name: str, **value: Any) -> dict[str, Any]:
    sides = {"original_width": 200, "original_height": 100}
    return {"type": kind, "id": name, "value": value | {kind: [name]}} | sides


def write_tasks(path: Path, *results: dict[str, Any], **task: Any) -> Path:
    """One task with these results."""
    told = {"id": 5, "data": {"image": "/data/local-files/?d=set%2Fa%20b.jpg"}, "annotations": [{"result": results}]}
    path.write_text(json.dumps([told | task]))
    return path


RECTANGLE = result("rectanglelabels", "cat", x=10, y=20, width=50, height=30, rotation=0)


def test_coordinates_are_percent_and_the_path_is_the_local_files(tmp_path: Path) -> None:
    path = write_tasks(tmp_path / "in.json", RECTANGLE)
    assert Source(path, STUDIO).settled_task() is Task.OBJECT_DETECTION
    (item,) = items(path, STUDIO)
    assert item == Item("set/a b.jpg", labels=(Box("cat", 0.1, 0.2, 0.6, 0.5),), size=Size(200, 100))


def test_polygons_choices_and_entities(tmp_path: Path) -> None:
    outline = result("polygonlabels", "cat", points=[[0, 0], [50, 0], [50, 100]])
    assert items(write_tasks(tmp_path / "in.json", outline), STUDIO)[0].labels == (
        Region("cat", ((0.0, 0.0, 0.5, 0.0, 0.5, 1.0),)),
    )
    assert items(write_tasks(tmp_path / "in.json", result("choices", "cat")), STUDIO)[0].labels == (Class("cat"),)
    both = {"type": "choices", "value": {"choices": ["a", "b"]}}
    assert len(items(write_tasks(tmp_path / "in.json", both), STUDIO)[0].labels) == 2
    entity = result("labels", "PER", start=0, end=3, text="Ada")
    path = write_tasks(tmp_path / "in.json", entity, data={"text": "Ada left"})
    assert items(path, STUDIO) == [Item(text="Ada left", labels=(Entity("PER", 0, 3),))]


def test_the_annotation_that_was_changed_last_counts_and_a_prediction_never(tmp_path: Path) -> None:
    annotations = [
        {"result": [result("choices", "second")], "updated_at": "2026-02-01"},
        {"result": [result("choices", "first")], "updated_at": "2026-01-01"},
        {"result": [result("choices", "third")], "updated_at": "2026-03-01", "was_cancelled": True},
    ]
    guess = [{"result": [result("choices", "guess")], "score": 0.9}]
    path = write_tasks(tmp_path / "in.json", annotations=annotations, predictions=guess)
    assert items(path, STUDIO)[0].labels == (Class("second"),)
    path = write_tasks(tmp_path / "in.json", annotations=[], predictions=guess)
    assert items(path, STUDIO, Task.IMAGE_CLASSIFICATION)[0].labels == ()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (RECTANGLE | {"value": RECTANGLE["value"] | {"rotation": 12}}, "turned by 12"),
        (RECTANGLE | {"value": RECTANGLE["value"] | {"width": 95}}, "outside"),
        (RECTANGLE | {"value": RECTANGLE["value"] | {"rectanglelabels": ["a", "b"]}}, "2 classes"),
        (RECTANGLE | {"value": RECTANGLE["value"] | {"rectanglelabels": []}}, "no rectanglelabels"),
        (RECTANGLE | {"value": None}, "no value"),
        (result("brushlabels", "x"), "brushlabels"),
        (result("polygonlabels", "x", points=[[0, 0], [1, 1], [2, 2]]), "takes rectanglelabels"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    assert told in bad(write_tasks(tmp_path / "in.json", row), STUDIO, Task.OBJECT_DETECTION)


@pytest.mark.parametrize("text", ["[{", "{}x", '[{"id": 1, "data": {}}, '])
def test_a_broken_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.json").write_text(text)
    with pytest.raises(DatasetValidationError, match=r"in\.json: broken JSON"):
        found(tmp_path / "in.json", STUDIO, Task.OBJECT_DETECTION)


@pytest.mark.parametrize(
    ("task", "row"),
    [
        (Task.OBJECT_DETECTION, boxed(isCrowd=1)),
        (
            Task.IMAGE_INSTANCE_SEGMENTATION,
            {
                "image_url": "a/ü b.jpg",
                "label": [
                    {"label": "x", "isCrowd": 1, "polygon": [[0, 0, 1, 0, 1, 1], [0, 0, 0.5, 0, 0, 0.25]]},
                    {"label": "x", "isCrowd": 0, "polygon": [[0, 0, 1, 0, 1, 1]]},
                ],
                "image_details": {"width": 8, "height": 4},
            },
        ),
        (Task.IMAGE_MULTI_LABEL_CLASSIFICATION, {"image_url": "https://h/a.jpg", "label": ["a", "b"]}),
        (Task.TEXT_ENTITIES, {"text": "Ada", "label": [{"label": "PER", "start": 0, "end": 3}]}),
        (Task.TEXT_CLASSIFICATION, {"text": "Ada", "label": "x"}),
    ],
)
def test_there_and_back(tmp_path: Path, task: Task, row: dict[str, Any]) -> None:
    path = write_lines(tmp_path / "in.jsonl", [row])
    written = converted(path, JSONL, tmp_path / "out.json", STUDIO)
    (before,), (after,) = items(path, JSONL), items(written, STUDIO, task)
    assert (after.key, after.size) == (before.key, before.size)
    for one, other in zip(before.labels, after.labels, strict=True):
        if isinstance(one, Box) and isinstance(other, Box):
            assert (one.name, one.crowd) == (other.name, other.crowd)
            assert [one.left, one.top, one.right, one.bottom] == pytest.approx(
                [other.left, other.top, other.right, other.bottom], abs=1e-9
            )
        else:
            assert one == other
