"""`moorage labels` as people and scripts call it."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runtime.cli import call
from tests.runtime.labels.labelled import BOX, boxed, write_lines


def test_a_conversion_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(tmp_path / "in.jsonl", [boxed(), "{"])
    target = str(tmp_path / "coco.json")
    assert call(["labels", "convert", str(path), target]) == 3
    assert "in.jsonl: line 2: broken JSON" in capsys.readouterr().err
    assert call(["labels", "convert", str(path), target, "--skip-bad"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{target}: 1 items, 1 left out\n"
    assert "left out" in told.err
    assert call(["labels", "convert", str(path), target, "--skip-bad"]) == 3
    assert "--overwrite" in capsys.readouterr().err
    assert call(["labels", "convert", target, str(tmp_path / "lines"), "--to", "jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"items": 1, "skipped": 0, "first_skipped": []}
    assert json.loads((tmp_path / "lines").read_text())["image_url"] == "AmlDatastore://store/a.jpg"


def test_images_get_a_datastore(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("file,label\n./a.jpg,x\n")
    arguments = ["labels", "convert", str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl"), "--datastore", "pictures"]
    assert call(arguments) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["image_url"] == "AmlDatastore://pictures/a.jpg"


def test_an_ending_that_says_nothing_is_a_matter_of_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(tmp_path / "in.txt", [boxed()])
    assert call(["labels", "check", str(path)]) == 2
    assert "--from" in capsys.readouterr().err


def test_a_check_counts_classes_and_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (400, 100)).save(tmp_path / "images" / "a.jpg")
    rows: list[dict[str, Any] | str] = [
        boxed() | {"label": [BOX, BOX, BOX | {"label": "dog", "bottomX": 0.25}]},
        boxed(bottomX=3) | {"image_url": "b.jpg"},
        boxed() | {"image_url": "c.jpg", "label": []},
        boxed(),
        "{",
    ]
    path = write_lines(tmp_path / "in.jsonl", rows)
    arguments = ["labels", "check", str(path), "--images", str(tmp_path / "images")]
    assert call([*arguments, "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["wrong"] == {"duplicate": 2, "no area": 1, "size": 1, "outside": 1, "no file": 1, "broken": 1}
    assert told["classes"] == [
        {"class": "cat", "labels": 2, "items": 1, "share": "66.7%"},
        {"class": "dog", "labels": 1, "items": 1, "share": "33.3%"},
    ]
    assert (told["items"], told["unlabelled"]) == (2, 1)
    assert {each["where"] for each in told["findings"]} == {"line 1", "line 2", "line 3", "line 4", "line 5"}
    assert call(arguments) == 3
    text = capsys.readouterr().out
    assert "66.7%" in text
    assert "outside of the image" in text
    assert call(["labels", "check", str(write_lines(path, [boxed()]))]) == 0


def test_findings_of_one_kind_are_counted_and_the_first_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path / "in.jsonl", [boxed(), *["{"] * 1000])
    assert call(["labels", "check", str(path), "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["wrong"] == {"broken": 1000}
    assert len(told["findings"]) == 20
