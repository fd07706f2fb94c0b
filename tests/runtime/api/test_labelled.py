"""LabeledDataset as a script uses it: from a file to frames with images, splits, registration and jobs."""

from pathlib import Path

import pandas as pd
import pytest

from mountd.errors import DataChangedError
from runtime import Dataset, Datastore, FileHandlingOption, LabeledDataset, LabeledDatasetTask, Workspace
from runtime.errors import DatasetValidationError, UserErrorException
from runtime.workspace import init
from tests.runtime.labels.labelled import boxed, write_lines

DETECTION, CLASSES = LabeledDatasetTask.OBJECT_DETECTION, LabeledDatasetTask.IMAGE_CLASSIFICATION
COUNT = 20


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(tmp_path / ".moorage"))
    return Workspace.of(init(tmp_path / ".moorage"))


@pytest.fixture
def store(workspace: Workspace, tmp_path: Path) -> Datastore:
    """Images `pictures/{a,b}/N.jpg`, one that has no label, and `labels.jsonl`."""
    rows = []
    for number in range(COUNT):
        path = tmp_path / "store" / "pictures" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"picture {number}")
        name = f"AmlDatastore://store/pictures/{path.parent.name}/{path.name}"
        rows.append({"image_url": name, "label": "odd" if number % 2 else "even", "label_confidence": 0.5})
    (tmp_path / "store" / "pictures" / "a" / "without").write_text("a label")
    write_lines(tmp_path / "store" / "labels.jsonl", rows)
    return Datastore.register_local_folder(workspace, "store", str(tmp_path / "store"))


@pytest.fixture
def labelled(store: Datastore) -> LabeledDataset:
    made: LabeledDataset = Dataset.Labeled.from_json_lines((store, "labels.jsonl"), CLASSES)
    return made


def test_rows_have_v1s_columns(labelled: LabeledDataset) -> None:
    frame = labelled.to_pandas_dataframe()
    assert list(frame.columns) == ["image_url", "label", "label_confidence"]
    assert frame["image_url"][3] == "AmlDatastore://store/pictures/b/3.jpg"
    assert labelled.labels == ["even", "odd"]
    assert labelled.label == {"column": "label", "type": "ImageClassification"}
    assert labelled.image == {"column": "image_url"}


def test_parts_are_of_rows(labelled: LabeledDataset) -> None:
    def names(part: LabeledDataset) -> list[str]:
        return [Path(row.item.file).stem for row in part.rows()]

    assert names(labelled.skip(2).take(3)) == ["2", "3", "4"]
    first, second = labelled.random_split(0.5, seed=7)
    assert sorted(names(first) + names(second), key=int) == [str(number) for number in range(COUNT)]
    assert 0 < len(names(first)) < COUNT
    assert names(labelled.random_split(0.5, seed=7)[0]) == names(first)
    none = labelled.take(0).to_pandas_dataframe(FileHandlingOption.DOWNLOAD)
    assert none.empty
    assert list(none.columns) == ["image_url", "label"]


def test_images_are_downloaded_where_the_frame_says(labelled: LabeledDataset, tmp_path: Path) -> None:
    target = tmp_path / "here"
    frame = labelled.skip(5).to_pandas_dataframe(FileHandlingOption.DOWNLOAD, str(target))
    assert [Path(path).read_text() for path in frame["image_url"]] == [
        f"picture {number}" for number in range(5, COUNT)
    ]
    assert len([*target.rglob("*.jpg")]) == COUNT - 5
    assert not [*target.rglob("without")]
    Path(frame["image_url"][0]).write_text("another")
    with pytest.raises(UserErrorException, match="overwrite_download=True"):
        labelled.to_pandas_dataframe(FileHandlingOption.DOWNLOAD, str(target))
    labelled.to_pandas_dataframe(FileHandlingOption.DOWNLOAD, str(target), overwrite_download=True)
    assert Path(frame["image_url"][0]).read_text() == "picture 5"


@pytest.mark.fuse
def test_images_are_mounted_where_the_frame_says(labelled: LabeledDataset, tmp_path: Path) -> None:
    frame = labelled.to_pandas_dataframe(FileHandlingOption.MOUNT, str(tmp_path / "here"))
    try:
        assert [Path(path).read_text() for path in frame["image_url"]] == [
            f"picture {number}" for number in range(COUNT)
        ]
        assert (tmp_path / "here" / "store" / "pictures").is_mount()
    finally:
        labelled.unmount()
    assert not (tmp_path / "here" / "store" / "pictures").is_mount()


def test_an_image_that_is_not_there_is_told_before_anything_is_fetched(
    labelled: LabeledDataset, tmp_path: Path
) -> None:
    (tmp_path / "store" / "pictures" / "b" / "3.jpg").unlink()
    (tmp_path / "store" / "pictures" / "b" / "5.jpg").unlink()
    with pytest.raises(DatasetValidationError, match=r"has no file 'pictures/b/3.jpg', which has a label, and 1 more"):
        labelled.to_pandas_dataframe(FileHandlingOption.DOWNLOAD, str(tmp_path / "here"))
    assert not (tmp_path / "here").exists()


def test_what_is_no_labelled_file_is_told(store: Datastore, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetValidationError, match=r"labels\.jsonl: line 1: 'label' is no list.*moorage labels check"
    ):
        Dataset.Labeled.from_json_lines((store, "labels.jsonl"), DETECTION)
    lazy = Dataset.Labeled.from_json_lines((store, "labels.jsonl"), DETECTION, validate=False)
    with pytest.raises(DatasetValidationError, match="line 1"):
        lazy.to_pandas_dataframe()
    with pytest.raises(DatasetValidationError, match="21 files"):
        Dataset.Labeled.from_json_lines((store, "pictures"), CLASSES)
    with pytest.raises(UserErrorException, match="2 paths"):
        Dataset.Labeled.from_json_lines([(store, "a"), (store, "b")], CLASSES)  # type: ignore[arg-type] # that is the test
    with pytest.raises(UserErrorException, match="'Cats' is no task"):
        Dataset.Labeled.from_json_lines((store, "labels.jsonl"), "Cats")
    with pytest.raises(UserErrorException, match="FileHandlingOption"):
        Dataset.Labeled.from_json_lines((store, "labels.jsonl"), CLASSES).to_pandas_dataframe("none")  # type: ignore[arg-type] # as above
    write_lines(tmp_path / "store" / "local.jsonl", [boxed() | {"image_url": "a.jpg"}])
    local = Dataset.Labeled.from_json_lines((store, "local.jsonl"), DETECTION)
    with pytest.raises(UserErrorException, match=r"'a\.jpg' is on no datastore"):
        local.to_pandas_dataframe(FileHandlingOption.DOWNLOAD)


def test_a_version_stays_what_it_is(labelled: LabeledDataset, workspace: Workspace, tmp_path: Path) -> None:
    registered = labelled.take(4).register(workspace, "animal_labels", tags={"by": "us"})
    found = Dataset.get_by_name(workspace, "animal_labels")
    assert isinstance(found, LabeledDataset)
    assert (found.id, found.version, found.tags) == (registered.id, 1, {"by": "us"})
    pd.testing.assert_frame_equal(found.to_pandas_dataframe(), labelled.take(4).to_pandas_dataframe())
    assert Dataset.get_by_id(workspace, str(found.id)).labels == ["even", "odd"]
    with pytest.raises(UserErrorException, match="exactly this one"):
        found.register(workspace, "animal_labels", create_new_version=True)
    (tmp_path / "store" / "labels.jsonl").write_text("changed\n")
    with pytest.raises(DataChangedError, match=r"labels\.jsonl"):
        Dataset.get_by_name(workspace, "animal_labels").to_pandas_dataframe()


@pytest.mark.fuse
def test_a_job_gets_the_dataset_itself(labelled: LabeledDataset, workspace: Workspace, tmp_path: Path) -> None:
    from runtime import Experiment, ScriptRunConfig

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "from pathlib import Path\nfrom runtime import FileHandlingOption, Run\n"
        "found = Run.get_context().input_datasets['animals']\n"
        "frame = found.to_pandas_dataframe(FileHandlingOption.DOWNLOAD, 'images')\n"
        "print('read', [Path(path).read_text() for path in frame['image_url']], found.labels)\n"
    )
    config = ScriptRunConfig(str(tmp_path / "src"), "train.py", arguments=[labelled.take(2).as_named_input("animals")])
    run = Experiment(workspace, "labels").submit(config)
    run.wait_for_completion()
    told = Path(run.get_details()["logFiles"]["user_logs/std_log.txt"]).read_text()
    assert "read ['picture 0', 'picture 1'] ['even', 'odd']" in told
    with pytest.raises(UserErrorException, match="no files to mount"):
        labelled.as_named_input("animals").as_mount()
