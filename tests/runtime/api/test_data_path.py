"""DataPath, DataReference and DatasetConsumptionConfig: what a job is told of each."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mountd.dataset.manifest import Manifest
from runtime import (
    DataPath,
    DataPathComputeBinding,
    DataReference,
    Dataset,
    DatasetConsumptionConfig,
    Datastore,
    UserErrorException,
    Workspace,
)
from runtime.consumption import InputSpec
from runtime.datasets.file import resolve
from runtime.outputs import OutputSpec
from runtime.workspace import init
from tests.support.content import make_tree


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.of(init(tmp_path / ".moorage"))


@pytest.fixture
def data(tmp_path: Path, workspace: Workspace) -> Datastore:
    root = make_tree(tmp_path / "data", {"wd/a.bin": 100, "wd/sub/b.bin": 50, "one.bin": 7})
    return Datastore.register_local_folder(workspace, "data", root)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Workspace:
    made = Workspace.of(init(tmp_path / "other/.moorage"))
    Datastore.register_local_folder(made, "data", tmp_path / "data")
    return made


class TestDataReference:
    def test_its_text_is_the_variable_that_a_job_sets(self, data: Datastore) -> None:
        reference = data.path("wd", "samples")
        assert str(reference) == "$AZUREML_DATAREFERENCE_samples"
        unnamed = data.path("wd")
        assert str(unnamed) == f"$AZUREML_DATAREFERENCE_{unnamed.name}" != str(data.path("wd"))
        assert reference.arg_val == "DatasetConsumptionConfig:samples"
        assert reference.as_upload().arg_val == "DatasetOutputConfig:samples"
        assert DataPath(data, "wd", "samples").create_data_reference().name == "samples"

    def test_as_an_input_it_is_what_lies_there(self, workspace: Workspace, data: Datastore) -> None:
        spec = data.path("wd", "samples").as_download("there").spec_in(workspace.folder)
        assert (spec.name, spec.mode, spec.path_on_compute) == ("samples", "download", "there")
        with Manifest.open(resolve(workspace.folder, spec.dataset).manifest) as manifest:
            assert [path for path, _ in manifest.files()] == ["a.bin", "sub/b.bin"]
        one = DataReference(data, "one", "one.bin").as_mount().spec_in(workspace.folder)
        assert (one.mode, resolve(workspace.folder, one.dataset).single_file) == ("mount", "one.bin")

    def test_as_an_output_it_is_a_place(self, data: Datastore) -> None:
        binding = DataPathComputeBinding("upload", "./out", overwrite=True)
        made = DataPath(data, "/models/").create_data_reference("model", binding)
        assert made.output_spec() == OutputSpec("model", "data", "models", overwrite=True, source="./out")
        assert made.to_config() == {
            "datastore_name": "data",
            "mode": "upload",
            "path_on_datastore": "/models/",
            "path_on_compute": "./out",
            "overwrite": True,
        }
        assert DataPath.create_from_data_reference(made) == DataPath(data, "/models/", "model")

    def test_a_path_below_has_a_name_of_its_own(self, data: Datastore) -> None:
        below = data.path("wd", "samples").path("sub/b.bin")
        assert (below.name, below.path_on_datastore) == ("samples_sub_b_bin", "wd/sub/b.bin")
        assert Dataset.File.from_files(below).to_path() == ["/b.bin"]

    def test_what_does_not_fit_is_said(self, workspace: Workspace, data: Datastore, elsewhere: Workspace) -> None:
        for call, said in (
            (lambda: data.path("wd", "no-name"), "data reference name 'no-name' cannot be"),
            (lambda: DataReference(data, "x", mode="rw"), "no mode 'rw'; use mount, download, upload"),
            (lambda: DataPathComputeBinding("rw"), "no mode 'rw'"),
            (lambda: data.path("wd").as_upload().spec_in(workspace.folder), "is an output"),
            (lambda: data.path("wd").output_spec(), "is an input"),
            (lambda: data.path().as_upload().output_spec(), "name a path on the datastore"),
            (lambda: data.path("wd").spec_in(elsewhere.folder), "is a dataset of the workspace"),
        ):
            with pytest.raises(UserErrorException, match=said):
                call()


class TestConsumption:
    def test_each_form_of_a_dataset(self, workspace: Workspace, data: Datastore) -> None:
        made = Dataset.File.from_files((data, "wd")).register(workspace, "wd")
        folder = workspace.folder
        assert DatasetConsumptionConfig("x", made).spec_in(folder) == InputSpec("x", str(made.id), "direct")
        parameter = SimpleNamespace(name="input", default_value=made)  # as a pipeline's parameter
        assert DatasetConsumptionConfig("x", parameter, "mount").spec_in(folder) == InputSpec(
            "x", str(made.id), "mount"
        )
        for version, reference in ((None, "wd"), ("latest", "wd"), (1, "wd@1"), ("1", "wd@1")):
            named = DatasetConsumptionConfig("x", (workspace, "wd", version))
            assert named.spec_in(folder).dataset == reference
        part = DatasetConsumptionConfig("x", made.take(1)).spec_in(folder)
        assert resolve(folder, part.dataset).files == 1

    def test_copies_keep_the_original(self, data: Datastore) -> None:
        first = DatasetConsumptionConfig("x", Dataset.File.from_files((data, "wd")))
        assert (first.as_mount("/p").mode, first.as_download().mode, first.mode) == ("mount", "download", "direct")
        assert (first.as_mount("/p").path_on_compute, first.path_on_compute) == ("/p", None)
        assert first.as_mount().arg_val == first.arg_val == "DatasetConsumptionConfig:x"

    def test_a_dataset_of_another_workspace_is_refused(
        self,
        workspace: Workspace,
        data: Datastore,
        elsewhere: Workspace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        here = Dataset.File.from_files((data, "wd"))
        for dataset in (here, here.take(1), here.register(workspace, "wd"), (workspace, "wd")):
            with pytest.raises(
                UserErrorException, match=r"is a dataset of the workspace .* (and is wanted in|and the job is of)"
            ):
                DatasetConsumptionConfig("x", dataset).spec_in(elsewhere.folder)
        free = Dataset.File.from_files(str(tmp_path / "data/wd"))  # of no workspace
        part = free.skip(1)
        for each in (workspace, elsewhere):
            assert resolve(each.folder, DatasetConsumptionConfig("x", free).spec_in(each.folder).dataset).files == 2
            assert resolve(each.folder, DatasetConsumptionConfig("x", part).spec_in(each.folder).dataset).files == 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("1x", "d"), "input name '1x' cannot be"),
            (("x-y", "d"), "cannot be an environment variable"),
            (("x", "d", "hdfs"), "use mount or download"),
            (("x", "d", "stream"), "no mode 'stream'"),
        ],
    )
    def test_names_and_modes(self, arguments: Any, said: str) -> None:
        with pytest.raises(UserErrorException, match=said):
            DatasetConsumptionConfig(*arguments)

    def test_what_is_no_dataset(self, workspace: Workspace) -> None:
        for wrong, said in (
            ("wd", "str is no dataset"),
            ((None, "wd"), "None is no workspace"),
            ((workspace, "wd", "first"), "'first' is no version"),
            ((workspace,), "tuple is no dataset"),
        ):
            with pytest.raises(UserErrorException, match=said):
                DatasetConsumptionConfig("x", wrong).spec_in(workspace.folder)
