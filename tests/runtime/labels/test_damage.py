"""Files in which anything may stand where something else was meant: told, and never a defect of ours."""

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import UserErrorException
from runtime.labels.converting import Target, convert
from runtime.labels.reading import Format, Source
from runtime.labels.values import Task
from tests.runtime.labels.labelled import BOX, boxed

REGION = {"label": "x", "isCrowd": 1, "polygon": [[0, 0, 1, 0, 1, 1]]}
RECTANGLE = {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["x"]}
MASK = {"size": [2, 2], "counts": [1, 3]}
STUDIO = [
    {
        "id": 1,
        "data": {"image": "a.jpg"},
        "annotations": [
            {
                "updated_at": "2026",
                "result": [
                    {"id": "r", "type": "rectanglelabels", "value": RECTANGLE, "meta": {"text": ["crowd"]}},
                    {
                        "id": "s",
                        "type": "rectanglelabels",
                        "value": RECTANGLE,
                        "original_width": 9,
                        "original_height": 9,
                    },
                ],
            }
        ],
    }
]
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 2, "height": 2}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": [[0, 0, 2, 0, 2, 2]]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": MASK, "iscrowd": 1},
    ],
    "categories": [{"id": 1, "name": "x"}],
}
SAMPLES: list[tuple[Format, Any]] = [
    (Format.JSON_LINES, boxed() | {"label": [BOX], "label_confidence": [0.5]}),
    (Format.JSON_LINES, {"image_url": "a.jpg", "label": [REGION]}),
    (Format.COCO, COCO),
    (Format.LABEL_STUDIO, STUDIO),
]
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400)
_anything = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def _places(told: Any) -> Iterator[tuple[Any, Any]]:
    for key in told if isinstance(told, dict) else range(len(told)) if isinstance(told, list) else ():
        yield told, key
        yield from _places(told[key])


@pytest.mark.parametrize(("form", "sample"), SAMPLES, ids=lambda each: str(each) if isinstance(each, Format) else "")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_stands_there_is_good_or_told(tmp_path: Path, form: Format, sample: Any, data: st.DataObject) -> None:
    damaged = copy.deepcopy(sample)
    holder, key = data.draw(st.sampled_from([*_places(damaged)]), label="place")
    holder[key] = data.draw(_anything, label="value")
    path = tmp_path / "in"
    path.write_text(json.dumps(damaged) + "\n")
    task = data.draw(st.sampled_from([None, Task.OBJECT_DETECTION, Task.IMAGE_INSTANCE_SEGMENTATION]), label="task")
    into = data.draw(st.sampled_from([Format.JSON_LINES, Format.COCO, Format.LABEL_STUDIO]), label="into")
    with contextlib.suppress(UserErrorException):
        convert(Source(path, form, task), Target(tmp_path / "out", into, overwrite=True), skip_bad=True)
