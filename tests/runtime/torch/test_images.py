"""Labelled images through torch's own DataLoader."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runtime import Dataset, Datastore, LabeledDatasetTask, Workspace
from runtime.errors import DatasetValidationError, UserErrorException
from runtime.workspace import init
from tests.runtime.labels.labelled import write_lines

ROOT = Path(__file__).parents[3]
COUNT = 8
TASKS = {
    "classes": LabeledDatasetTask.IMAGE_CLASSIFICATION,
    "boxes": LabeledDatasetTask.OBJECT_DETECTION,
    "instances": LabeledDatasetTask.IMAGE_INSTANCE_SEGMENTATION,
}


def label(kind: str, number: int) -> Any:
    if kind == "classes":
        return "odd" if number % 2 else "even"
    if kind == "boxes":
        corners = {"topX": 0.25, "topY": 0, "bottomX": 0.5, "bottomY": (number + 1) / 20}
        return [{"label": "cat", "isCrowd": ["false", "true"][number % 2]} | corners]
    return [{"label": "cat", "isCrowd": 0, "polygon": [[0.5, 0.25, 1, 0.25, 1, 0.75, 0.5, 0.75]]}]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Datastore:
    """Images of one grey, 10 by 20 as they are looked at, and labels of each kind, registered by its name."""
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(tmp_path / ".moorage"))
    workspace = Workspace.of(init(tmp_path / ".moorage"))
    (tmp_path / "store" / "images").mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    for number in range(COUNT):
        grey = (number * 10,) * 3
        Image.new("RGB", (20, 10), grey).save(tmp_path / "store" / "images" / f"{number}.jpg", exif=turned)
    store = Datastore.register_local_folder(workspace, "store", str(tmp_path / "store"))
    for kind, task in TASKS.items():
        rows = [
            {"image_url": f"AmlDatastore://store/images/{number}.jpg", "label": label(kind, number)}
            for number in range(COUNT)
        ]
        write_lines(tmp_path / "store" / f"{kind}.jsonl", rows)
        Dataset.Labeled.from_json_lines((store, f"{kind}.jsonl"), task).register(workspace, kind)
    return store


@pytest.mark.full
@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_get_the_same_images_labels_and_ids(method: str) -> None:
    command = [sys.executable, "-m", "tests.support.torch_labels", method, str(COUNT)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_trained_on_is_told_before_an_image_is_read(store: Datastore, tmp_path: Path) -> None:
    write_lines(tmp_path / "store" / "texts.jsonl", [{"text": "a", "label": "x"}])
    with pytest.raises(UserErrorException, match="is of texts"):
        Dataset.Labeled.from_json_lines((store, "texts.jsonl"), "TextClassification").to_torchvision()
    rows = [{"image_url": "AmlDatastore://store/images/0.jpg"}, {"image_url": "AmlDatastore://store/images/none.jpg"}]
    write_lines(tmp_path / "store" / "odd.jsonl", rows)
    with pytest.raises(DatasetValidationError, match=r"line 1: .*0\.jpg has no class"):
        Dataset.Labeled.from_json_lines((store, "odd.jsonl"), TASKS["classes"]).to_torchvision()
    with pytest.raises(DatasetValidationError, match=r"no file 'images/none\.jpg'"):
        Dataset.Labeled.from_json_lines((store, "odd.jsonl"), TASKS["boxes"]).to_torchvision()
