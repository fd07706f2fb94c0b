import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import DatasetValidationError, UserErrorException
from runtime.labels.converting import Target, convert
from runtime.labels.reading import Format, Source
from runtime.labels.values import Box, Class, Entity, Region, Size, Task
from tests.runtime.labels.labelled import bad, boxed, converted, found, items, write_lines

JSONL = Format.JSON_LINES

_FORMS: list[tuple[Task, dict[str, Any], object]] = [
    (Task.IMAGE_CLASSIFICATION, {"image_url": "a.jpg", "label": "dog, brown"}, Class("dog, brown")),
    (Task.IMAGE_MULTI_LABEL_CLASSIFICATION, {"image_url": "a.jpg", "label": ["Hund", "hund"]}, Class("Hund")),
    (Task.OBJECT_DETECTION, boxed(), Box("cat", 0.25, 0.1, 0.75, 0.5)),
    (
        Task.IMAGE_INSTANCE_SEGMENTATION,
        {
            "image_url": "a.jpg",
            "label": [{"label": "Köter", "isCrowd": 1, "polygon": [[0, 0, 1, 0, 1, 1], [0, 0, 0.5, 0, 0, 0.5]]}],
        },
        Region("Köter", ((0, 0, 1, 0, 1, 1), (0, 0, 0.5, 0, 0, 0.5)), crowd=True),
    ),
    (Task.TEXT_CLASSIFICATION, {"text": "a\nb", "label": "good"}, Class("good")),
    (Task.TEXT_MULTI_LABEL_CLASSIFICATION, {"text": "a", "label": ["x", "y"]}, Class("x")),
    (Task.TEXT_ENTITIES, {"text": "Ada saw", "label": [{"label": "PER", "start": 0, "end": 3}]}, Entity("PER", 0, 3)),
]


@pytest.mark.parametrize(("task", "row", "first"), _FORMS, ids=lambda each: str(each) if isinstance(each, Task) else "")
def test_every_form_is_told_by_its_first_label_and_written_as_it_was(
    tmp_path: Path, task: Task, row: dict[str, Any], first: object
) -> None:
    unlabelled = {name: "b" for name in row if name in {"image_url", "text"}}
    path = write_lines(tmp_path / "in.jsonl", [unlabelled, "", row])
    assert Source(path, JSONL).settled_task() is task
    assert [each.labels[:1] for each in items(path, JSONL)] == [(), (first,)]
    again = converted(path, JSONL, tmp_path / "out.jsonl", JSONL)
    assert items(again, JSONL) == items(path, JSONL)


def test_an_image_has_its_size_format_and_confidence(tmp_path: Path) -> None:
    row = boxed() | {"label_confidence": [0.5]}
    (item,) = items(write_lines(tmp_path / "in.jsonl", [row]), JSONL)
    assert (item.size, item.form, item.confidence) == (Size(400, 200), "jpg", (0.5,))
    again = converted(tmp_path / "in.jsonl", JSONL, tmp_path / "out.jsonl", JSONL)
    told = json.loads(again.read_text())
    assert told["label_confidence"] == [0.5]
    assert told["image_details"] == {"format": "jpg", "width": 400, "height": 200}


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [(0, False), (1, True), (True, True), ("true", True), ("True", True), ("1", True), ("false", False), (None, False)],
)
def test_a_crowd_is_one_in_all_spellings(tmp_path: Path, spelled: object, *, meant: bool) -> None:
    (item,) = items(write_lines(tmp_path / "in.jsonl", [boxed(isCrowd=spelled)]), JSONL)
    assert [label.crowd for label in item.labels if isinstance(label, Box)] == [meant]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (boxed(isCrowd="maybe"), "crowd is 'maybe'"),
        (boxed(topX=0.8), "corners swapped"),
        (boxed(bottomX=1.5), "right is 1.5, outside"),
        (boxed(topX=120, bottomX=130), "left is 120, outside"),
        (boxed(topX=float("nan")), "left is 'nan'"),
        (boxed(topX="0.1"), "'0.1', and no number"),
        (boxed(label=""), "class is ''"),
        (boxed() | {"image_details": {"width": 400, "height": 0}}, "400 by 0"),
        (boxed() | {"image_details": {"width": "wide", "height": 1}}, "'wide'"),
        (boxed() | {"image_url": ""}, "no 'image_url'"),
        (boxed() | {"label": "cat"}, "no list; is the task another"),
        ("{", "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ("[]", "no JSON object"),
        ('{"image_url": "a", "label": [3]}', "no object"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(tmp_path: Path, row: dict[str, Any] | str, told: str) -> None:
    assert told in bad(write_lines(tmp_path / "in.jsonl", [row]), JSONL, Task.OBJECT_DETECTION)


def test_a_pixel_outside_is_a_rounding_and_more_is_not(tmp_path: Path) -> None:
    (item,) = items(write_lines(tmp_path / "in.jsonl", [boxed(bottomX=1.0025, topX=-0.001)]), JSONL)
    assert item.labels == (Box("cat", 0.0, 0.1, 1.0, 0.5),)
    assert "outside" in bad(write_lines(tmp_path / "in.jsonl", [boxed(bottomX=1.003)]), JSONL)
    unsized = boxed(bottomX=1.0025) | {"image_details": {}}
    assert "outside" in bad(write_lines(tmp_path / "in.jsonl", [unsized]), JSONL)


def test_polygons_of_too_few_points_are_told(tmp_path: Path) -> None:
    for polygon in ([], None, [[0, 0, 1, 1]], [[0, 0, 1, 1, 1, 0, 0]], [0, 0, 1, 1, 1, 0], [["a"] * 6]):
        row = {"image_url": "a", "label": [{"label": "x", "polygon": polygon}]}
        assert "x" in bad(write_lines(tmp_path / "in.jsonl", [row]), JSONL, Task.IMAGE_INSTANCE_SEGMENTATION)


def test_an_entity_lies_in_its_text(tmp_path: Path) -> None:
    for start, end in ((0, 4), (2, 2), (-1, 1), (None, 1), (True, 2)):
        row = {"text": "abc", "label": [{"label": "x", "start": start, "end": end}]}
        assert "of 3 characters" in bad(write_lines(tmp_path / "in.jsonl", [row]), JSONL, Task.TEXT_ENTITIES)


def test_a_bad_line_is_an_error_with_its_number_or_counted(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [boxed(), "", "{", boxed() | {"image_url": "b.jpg"}])
    target = Target(tmp_path / "out.jsonl", JSONL)
    with pytest.raises(DatasetValidationError, match=r"in\.jsonl: line 3: broken JSON.*--skip-bad"):
        convert(Source(path, JSONL), target)
    assert [each.name for each in tmp_path.iterdir()] == ["in.jsonl"]
    tally = convert(Source(path, JSONL), target, skip_bad=True)
    assert (tally.items, tally.skipped) == (2, 1)
    assert "line 3" in tally.told[0]
    with pytest.raises(UserErrorException, match="overwrite"):
        convert(Source(path, JSONL), target, skip_bad=True)


def test_items_that_come_twice_and_classes_that_nobody_said_are_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [boxed(), boxed(label="dog"), boxed(label="cow") | {"image_url": "c"}])
    told = [str(each) for each in found(path, JSONL, classes=frozenset({"cat", "dog"}))]
    assert "there already" in told[1]
    assert "'cow'" in told[2]
    twice = write_lines(tmp_path / "in.jsonl", [{"image_url": "a", "label": ["x", "x"]}])
    assert "a class twice" in bad(twice, JSONL)


def test_a_file_whose_labels_say_nothing_needs_the_task(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [{"image_url": "a"}, "{"])
    with pytest.raises(UserErrorException, match="--task"):
        Source(path, JSONL).settled_task()


def test_memory_does_not_grow_with_the_items() -> None:
    """Items are read one by one: the first comes from a stream without an end."""
    from runtime.labels import json_lines

    class Endless:
        lines = (json.dumps(boxed() | {"image_url": f"{number}.jpg"}).encode() + b"\n" for number in itertools.count())

        def readline(self, _: int) -> bytes:
            return next(self.lines)

    told = json_lines.items(json_lines.lines(Endless(), "endless"), Task.OBJECT_DETECTION)
    assert [where for where, _ in itertools.islice(told, 3)] == ["line 1", "line 2", "line 3"]
