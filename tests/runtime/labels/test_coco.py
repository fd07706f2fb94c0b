"""COCO: written so that pycocotools reads the same, and every trap of reading it."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as judge_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from runtime.errors import DatasetValidationError
from runtime.labels import json_lines, masks
from runtime.labels.converting import Target, convert
from runtime.labels.reading import Format, Source
from runtime.labels.values import BadItem, Box, Item, Mask, Region, Size, Task
from tests.runtime.labels.labelled import bad, boxed, converted, found, items, write_lines

# pycocotools 2.0.11 with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

JSONL, FORM = Format.JSON_LINES, Format.COCO
DETECTION, SEGMENTATION = Task.OBJECT_DETECTION, Task.IMAGE_INSTANCE_SEGMENTATION


def write_coco(path: Path, **changed: Any) -> Path:
    """One image of 100 by 50 with one box, and what is `changed` of its image and annotation."""
    image = {"id": 7, "file_name": "a/b.jpg", "width": 100, "height": 50} | changed.pop("image", {})
    annotation = {"id": 0, "image_id": 7, "category_id": 3, "bbox": [10, 10, 20.5, 10], "iscrowd": 0} | changed
    annotation = {key: value for key, value in annotation.items() if value is not ...}
    path.write_text(
        json.dumps({"annotations": [annotation], "categories": [{"id": 3, "name": "cat"}], "images": [image]})
    )
    return path


def judged(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def average_precision(coco: COCO, kind: str) -> float:
    """Of the file's labels that are no crowd, taken for a model's findings."""
    keys = ("image_id", "category_id", "bbox", "segmentation")
    rows = [{key: each[key] for key in keys if each[key]} | {"score": 0.9} for each in coco.dataset["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, coco.loadRes(rows), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def region(name: str, *parts: list[float], crowd: int = 0) -> dict[str, Any]:
    return {"label": name, "isCrowd": crowd, "polygon": [*parts]}


SQUARE = [0.1, 0.1, 0.5, 0.1, 0.5, 0.6, 0.1, 0.6]
TRIANGLE = [0.6, 0.2, 0.9, 0.2, 0.75, 0.9]


def test_a_judge_reads_what_was_written(tmp_path: Path) -> None:
    details = {"image_details": {"width": 80, "height": 60}}
    rows: list[dict[str, Any]] = [
        {"image_url": "AmlDatastore://s/1.jpg", "label": [region("dog", SQUARE, TRIANGLE), region("Cat", TRIANGLE)]},
        {"image_url": "AmlDatastore://s/2.jpg", "label": [region("dog", SQUARE, crowd=1), region("cat", TRIANGLE)]},
        {"image_url": "AmlDatastore://s/3.jpg", "label": []},
    ]
    path = write_lines(tmp_path / "in.jsonl", [row | details for row in rows])
    coco = judged(converted(path, JSONL, tmp_path / "coco.json", FORM))
    assert sorted(coco.imgs) == [1, 2, 3]
    assert sorted(coco.anns) == [1, 2, 3, 4]
    assert {key: each["name"] for key, each in coco.cats.items()} == {1: "Cat", 2: "cat", 3: "dog"}
    assert [each["file_name"] for each in coco.imgs.values()] == ["1.jpg", "2.jpg", "3.jpg"]
    for each in coco.anns.values():
        area = coco.annToMask(each).sum()
        assert each["area"] == pytest.approx(area, rel=0.1)
        assert isinstance(each["segmentation"], dict) == bool(each["iscrowd"])
    assert coco.annToMask(coco.anns[3])[6:36, 8:40].all()  # of the crowd's mask, rows and columns are not swapped
    assert average_precision(coco, "segm") == pytest.approx(1.0)
    assert average_precision(coco, "bbox") == pytest.approx(1.0)


def test_detections_are_judged_too_and_a_crowd_has_a_mask(tmp_path: Path) -> None:
    second = boxed(isCrowd="true") | {"image_url": "b.jpg"}
    path = write_lines(tmp_path / "in.jsonl", [boxed(), second])
    coco = judged(converted(path, JSONL, tmp_path / "coco.json", FORM))
    assert coco.anns[1]["bbox"] == pytest.approx([100, 20, 200, 80])
    assert coco.anns[1]["area"] == pytest.approx(16_000)
    assert coco.annToMask(coco.anns[2])[20:100, 100:300].all()
    assert coco.annToMask(coco.anns[2]).sum() == 16_000
    assert average_precision(coco, "bbox") == pytest.approx(1.0)
    assert items(tmp_path / "coco.json", FORM)[1].labels == (Box("cat", 0.25, 0.1, 0.75, 0.5, crowd=True),)


_shares = st.floats(0, 1, allow_subnormal=False)
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@st.composite
def _labels(draw: st.DrawFn) -> list[dict[str, Any]]:
    if draw(st.booleans()):
        xs, ys = (sorted(draw(st.tuples(_shares, _shares))) for _ in "xy")
        corners = {"topX": xs[0], "topY": ys[0], "bottomX": xs[1], "bottomY": ys[1]}
        return [{"label": draw(_names), "isCrowd": draw(st.integers(0, 1))} | corners]
    parts = draw(
        st.lists(st.lists(_shares, min_size=6, max_size=12).filter(lambda each: len(each) % 2 == 0), min_size=1)
    )
    return [region(draw(_names), *parts, crowd=draw(st.integers(0, 1)))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_labels(), st.integers(1, 90), st.integers(1, 90))
def test_there_and_back_is_exact(tmp_path: Path, label: list[dict[str, Any]], width: int, height: int) -> None:
    row = {
        "image_url": "AmlDatastore://s/a b,ü.jpg",
        "label": label,
        "image_details": {"width": width, "height": height},
    }
    path = write_lines(tmp_path / "in.jsonl", [row])
    task = Source(path, JSONL).settled_task()
    for old in ("coco.json", "out.jsonl"):
        (tmp_path / old).unlink(missing_ok=True)
    converted(path, JSONL, tmp_path / "coco.json", FORM)
    converted(tmp_path / "coco.json", FORM, tmp_path / "out.jsonl", JSONL, task)
    again = json.loads((tmp_path / "out.jsonl").read_text())
    assert again["image_url"] == row["image_url"]
    for key, value in again["label"][0].items():
        if key != "polygon":
            assert value == pytest.approx(label[0][key], abs=1e-6), key
        else:
            assert [pytest.approx(part, abs=1e-6) for part in label[0][key]] == value


class TestReading:
    def test_a_box_is_pixels_and_half_of_one_counts(self, tmp_path: Path) -> None:
        (item,) = items(write_coco(tmp_path / "coco.json"), FORM)
        assert item == Item("a/b.jpg", labels=(Box("cat", 0.1, 0.2, 0.305, 0.4),), size=Size(100, 50))

    def test_shares_and_no_sizes_are_seen_by_both(self, tmp_path: Path) -> None:
        studio = {"width": 0.0, "height": 0.0, "coco_url": "AmlDatastore://s/a/b.jpg"}
        path = write_coco(tmp_path / "coco.json", bbox=[0.1, 0.2, 0.5, 0.25], image=studio)
        (item,) = items(path, FORM)
        assert item.file == "AmlDatastore://s/a/b.jpg"
        assert item.labels == (Box("cat", 0.1, 0.2, 0.6, 0.45),)
        assert "no size" in bad(path, FORM, boxes="pixels")

    def test_pixels_without_sizes_are_told(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path / "coco.json", image={"width": 0, "height": 0})
        assert "--images" in bad(path, FORM)

    def test_small_boxes_in_a_picture_with_a_size_are_not_guessed(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path / "coco.json", bbox=[0, 0, 1, 1])
        assert "--boxes pixels or normalised" in bad(path, FORM)
        assert items(path, FORM, boxes="pixels")[0].labels == (Box("cat", 0, 0, 0.01, 0.02),)
        assert items(path, FORM, boxes="normalised")[0].labels == (Box("cat", 0, 0, 1, 1),)

    def test_sizes_come_from_the_images_as_they_are_looked_at(self, tmp_path: Path) -> None:
        (tmp_path / "images" / "a").mkdir(parents=True)
        turned = Image.Exif()
        turned[0x0112] = 6
        Image.new("RGB", (50, 100)).save(tmp_path / "images" / "a" / "b.jpg", exif=turned)
        path = write_coco(tmp_path / "coco.json", image={"width": 0, "height": 0})
        (item,) = items(path, FORM, images=tmp_path / "images")
        assert item.size == Size(100, 50)
        assert item.labels == (Box("cat", 0.1, 0.2, 0.305, 0.4),)
        (tmp_path / "images" / "a" / "b.jpg").write_bytes(b"none")
        assert "no image" in bad(path, FORM, images=tmp_path / "images")
        (tmp_path / "images" / "a" / "b.jpg").unlink()
        assert "no such file" in bad(path, FORM, images=tmp_path / "images")

    @pytest.mark.parametrize(
        "spelled", [{"iscrowd": ...}, {"iscrowd": ..., "isCrowd": "true"}, {"iscrowd": True}, {"iscrowd": "1"}]
    )
    def test_a_crowd_in_all_spellings(self, tmp_path: Path, spelled: dict[str, Any]) -> None:
        (item,) = items(write_coco(tmp_path / "coco.json", **spelled), FORM)
        assert [label.crowd for label in item.labels if isinstance(label, Box)] == [
            len(spelled) > 1 or ... not in spelled.values()
        ]

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"category_id": 4}, "category 4"),
            ({"bbox": [90, 10, 20, 10]}, "outside"),
            ({"bbox": [30, 10, -20, 10]}, "swapped"),
            ({"bbox": [1, 2, 3]}, "no bbox"),
            ({"bbox": ...}, "no bbox"),
            ({"segmentation": {"size": [50, 100], "counts": [3]}, "bbox": ...}, "do not add up"),
            ({"segmentation": {"size": [50, 100], "counts": "~~"}, "bbox": ...}, "counts"),
            ({"segmentation": {"size": [5, 5], "counts": [0, 25]}, "bbox": ...}, "5 by 5"),
            ({"segmentation": [[1, 2, 3]], "bbox": ...}, "three points"),
            ({"image": {"file_name": ""}}, "no file_name"),
        ],
    )
    def test_what_is_wrong_is_told(self, tmp_path: Path, changed: dict[str, Any], told: str) -> None:
        assert told in bad(write_coco(tmp_path / "coco.json", **changed), FORM)

    def test_images_that_are_missing_or_there_twice_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "coco.json").write_text(
            json.dumps(
                {
                    "images": [
                        {"id": 1, "file_name": "a.jpg"},
                        {"id": 1, "file_name": "b.jpg"},
                        {"id": 2, "file_name": "a.jpg"},
                        3,
                    ],
                    "annotations": [{"image_id": 9, "category_id": 1}],
                    "categories": [],
                }
            )
        )
        told = found(tmp_path / "coco.json", FORM)
        assert isinstance(told[0], Item)
        assert [str(each) for each in told[1:] if isinstance(each, BadItem)] == [
            "its id is another image's, too",
            "'a.jpg' is there already, further up",
            "it has no id",
            "1 annotations are of it, and it is not among the images",
        ]

    @pytest.mark.parametrize(
        "text", ['{"images": [{"id": 1}', "no", '{"categories": [{"id": 1}], "images": []}', '{"annotations": [1]}']
    )
    def test_a_broken_file_is_an_error(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "coco.json").write_text(text)
        with pytest.raises(DatasetValidationError, match=r"coco\.json: "):
            found(tmp_path / "coco.json", FORM, DETECTION)

    def test_boxes_may_be_taken_for_regions_and_regions_for_boxes(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path / "coco.json", segmentation=[[10, 10, 30, 10, 30, 20]], bbox=...)
        assert items(path, FORM)[0].labels == (Region("cat", ((0.1, 0.2, 0.3, 0.2, 0.3, 0.4),)),)
        assert items(path, FORM, DETECTION)[0].labels == (Box("cat", 0.1, 0.2, 0.3, 0.4),)
        plain = write_coco(tmp_path / "coco.json")
        assert Source(plain, FORM).settled_task() is DETECTION
        assert isinstance(items(plain, FORM, SEGMENTATION)[0].labels[0], Region)


class TestWriting:
    def test_names_that_fall_together_or_lead_out_are_refused(self, tmp_path: Path) -> None:
        second = boxed() | {"image_url": "azureml://subscriptions/x/datastores/other/paths/a.jpg"}
        path = write_lines(tmp_path / "in.jsonl", [boxed(), second, boxed() | {"image_url": "../a.jpg"}])
        tally = convert(Source(path, JSONL), Target(tmp_path / "coco.json", FORM), skip_bad=True)
        assert (tally.items, tally.skipped) == (1, 2)
        assert "another image is called 'a.jpg'" in tally.told[0]
        assert "no path below a folder" in tally.told[1]
        assert len(judged(tmp_path / "coco.json").anns) == 1

    def test_an_image_without_a_size_is_refused(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "in.jsonl", [boxed() | {"image_details": {}}])
        with pytest.raises(DatasetValidationError, match="line 1: its size is not known"):
            convert(Source(path, JSONL), Target(tmp_path / "coco.json", FORM))
        assert not (tmp_path / "coco.json").exists()


class TestMasks:
    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 12), st.integers(1, 12), st.data())
    def test_a_mask_and_its_polygons_are_the_same_pixels(self, height: int, width: int, data: st.DataObject) -> None:
        bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
        pixels = np.array(bits, np.uint8).reshape((height, width), order="F")
        packed = judge_masks.encode(np.asfortranarray(pixels))
        mask = masks.parse({"size": [height, width], "counts": packed["counts"].decode()})
        assert mask.size == Size(width, height)
        flat = [bit for at, count in enumerate(mask.counts) for bit in [at % 2] * count]
        assert flat == pixels.flatten(order="F").tolist()
        assert masks.pixels(mask) == sum(bits)
        if not any(bits):
            with pytest.raises(BadItem, match="empty"):
                masks.to_region("x", mask, crowd=False)
            return
        region = masks.to_region("x", mask, crowd=False)
        again = masks.of_polygons(region.polygons, mask.size)
        assert [each for each in again.counts if each] == [each for each in mask.counts if each]
        assert _outside_first(again) == _outside_first(mask)

    def test_a_crowd_comes_back_as_the_same_mask(self, tmp_path: Path) -> None:
        counts = [1010, 10, 40, 10, 3930]
        path = write_coco(tmp_path / "coco.json", iscrowd=1, segmentation={"size": [50, 100], "counts": counts})
        (item,) = items(path, FORM, SEGMENTATION)
        assert item.labels[0] == Region(
            "cat", ((0.2, 0.2, 0.22, 0.2, 0.22, 0.4, 0.2, 0.4),), crowd=True, mask=Mask(Size(100, 50), tuple(counts))
        )
        again = converted(path, FORM, tmp_path / "out.json", FORM, SEGMENTATION)
        assert judged(again).anns[1]["segmentation"]["counts"] == counts
        lines = converted(path, FORM, tmp_path / "out.jsonl", JSONL, SEGMENTATION)
        (row,) = map(json_lines.parse, lines.read_bytes().splitlines())
        assert row["label"][0]["polygon"] == [[0.2, 0.2, 0.22, 0.2, 0.22, 0.4, 0.2, 0.4]]


def _outside_first(mask: Mask) -> bool:
    return mask.counts[0] > 0
