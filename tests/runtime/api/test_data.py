"""The v1 faces of workspace, datastore and dataset, as a script uses them."""

import json
import os
from pathlib import Path

import pytest

from mountd import client
from runtime import DataPath, Dataset, Datastore, FileDataset, UserErrorException, Workspace
from runtime.errors import AlreadyRegisteredError, UnknownNameError
from runtime.workspace import init
from tests.support.content import content, make_tree

IDENTITY = {"subscription_id": "sub-1", "resource_group": "group-1", "workspace_name": "teamspace"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder as the current one, and a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MOORAGE_WORKSPACE", raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def workspace(here: Path) -> Workspace:
    return Workspace.of(init(here / ".moorage"))


@pytest.fixture
def data(tmp_path: Path, workspace: Workspace) -> Datastore:
    root = make_tree(tmp_path / "data", {"wd/a.bin": 100, "wd/sub/b.bin": 5000, "one.bin": 7})
    return Datastore.register_local_folder(workspace, "data", root)


class TestWorkspace:
    @pytest.mark.parametrize("place", [".azureml/config.json", "aml_config/project.json", "config.json"])
    def test_a_v1_config_upwards_selects_a_workspace_by_name(
        self, here: Path, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (here / place).parent.mkdir(exist_ok=True)
        (here / place).write_text(json.dumps(IDENTITY))
        (here / "a" / "b").mkdir(parents=True)
        monkeypatch.chdir(here / "a" / "b")
        found = Workspace.from_config()
        assert (found.name, found.subscription_id, found.resource_group) == ("teamspace", "sub-1", "group-1")
        assert found.location == "local"
        assert found.folder.path == Path.home() / ".moorage" / "workspaces" / "teamspace"
        assert found.get_default_datastore().name == "workspaceblobstore"

    def test_the_old_form_with_a_scope_is_read(self, here: Path) -> None:
        scope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
        (here / "some.json").write_text(json.dumps({"Scope": scope}))
        found = Workspace.from_config(here / "some.json")
        assert (found.name, found.subscription_id, found.resource_group) == ("w", "s", "g")

    def test_what_write_config_writes_is_found_again(self, workspace: Workspace) -> None:
        workspace.write_config()
        assert Workspace.from_config().folder == workspace.folder
        assert Workspace.get(workspace.name).folder == workspace.folder

    def test_the_variable_decides_and_the_config_keeps_its_strings(
        self, here: Path, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = init(tmp_path / "other" / ".moorage")
        monkeypatch.setenv("MOORAGE_WORKSPACE", str(other.path))
        (here / "config.json").write_text(json.dumps(IDENTITY))
        found = Workspace.from_config()
        assert (found.folder, found.name) == (other, "teamspace")
        assert found.folder != workspace.folder

    def test_without_a_config_the_nearest_folder_is_the_workspace(self, workspace: Workspace) -> None:
        assert Workspace.from_config().folder == workspace.folder
        assert Workspace.from_config().name == "project"

    def test_nothing_found_says_both_remedies(self, here: Path) -> None:
        with pytest.raises(UserErrorException, match=r"no config\.json .* `moorage init`"):
            Workspace.from_config()
        with pytest.raises(UserErrorException, match="write_config"):
            Workspace.from_config(here)
        assert list(here.iterdir()) == []

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"subscription_id": "s", "workspace_name": 3}'])
    def test_a_config_that_is_none_is_named(self, here: Path, text: str) -> None:
        (here / "config.json").write_text(text)
        with pytest.raises(UserErrorException, match=r"project/config\.json: "):
            Workspace.from_config()


class TestDatastore:
    def test_get_default_and_the_dictionary(self, workspace: Workspace, data: Datastore) -> None:
        assert Datastore.get(workspace, "DATA").url == data.url
        assert sorted(workspace.datastores) == ["data", "workspaceblobstore"]
        workspace.set_default_datastore("data")
        assert Datastore.get_default(workspace).name == Datastore(workspace).name == "data"
        data.unregister()
        with pytest.raises(UnknownNameError, match="no datastore 'data'"):
            Datastore.get(workspace, "data")

    @pytest.mark.parametrize(
        ("protocol", "endpoint", "url"),
        [
            (None, None, "https://account1.blob.core.windows.net/container/"),
            ("https", "core.chinacloudapi.cn", "https://account1.blob.core.chinacloudapi.cn/container/"),
            ("http", "127.0.0.1:10000", "http://127.0.0.1:10000/account1/container/"),
            ("http", "localhost", "http://localhost/account1/container/"),
        ],
    )
    def test_protocol_and_endpoint_of_a_container_are_honoured(
        self, workspace: Workspace, protocol: str | None, endpoint: str | None, url: str
    ) -> None:
        made = Datastore.register_azure_blob_container(
            workspace,
            "blob",
            "container",
            "account1",
            sas_token="?sv=1&sig=hunter2",  # noqa: S106 # nobody's
            account_key="a2V5",
            protocol=protocol,
            endpoint=endpoint,
            skip_validation=True,
        )
        assert (made.url, made.datastore_type, made.credential_type) == (url, "AzureBlob", "Sas")  # a SAS wins
        assert (made.account_name, made.container_name) == ("account1", "container")
        assert "hunter2" not in f"{made!r} {vars(made)}"

    def test_upload_and_download_keep_the_tree(self, workspace: Workspace, data: Datastore, tmp_path: Path) -> None:
        target = Datastore(workspace)
        where = target.upload(tmp_path / "data", "/../up", show_progress=False)
        assert (where.datastore.name, where.path_on_datastore) == ("workspaceblobstore", "up/")
        assert target.download(tmp_path / "got", prefix="up/wd") == 2
        assert (tmp_path / "got/up/wd/sub/b.bin").read_bytes() == content("wd/sub/b.bin", 0, 5000)
        assert target.download(tmp_path / "got", prefix="up/one.bin") == 1
        assert (tmp_path / "got/up/one.bin").stat().st_size == 7
        (tmp_path / "data/wd/a.bin").write_bytes(b"other")
        with pytest.raises(UserErrorException, match=r"up/wd/a\.bin: exists.*overwrite=True"):
            target.upload(tmp_path / "data", "up")
        target.upload_files([tmp_path / "data/wd/a.bin"], target_path="other")
        assert FileDataset.to_path(Dataset.File.from_files(target.path("other"))) == ["/a.bin"]
        assert data.datastore_type == "LocalFolder"


class TestDataset:
    def test_from_files_takes_every_form_and_contacts_nothing(self, data: Datastore) -> None:
        forms = ((data, "wd"), DataPath(data, "wd"), data.path("wd"), [(data, "wd")])
        assert {Dataset.File.from_files(form).to_path() == ["/a.bin", "/sub/b.bin"] for form in forms} == {True}
        assert Dataset.File.from_files((data, "gone")).id is None

    def test_a_definition_that_contradicts_itself_is_refused(self, data: Datastore) -> None:
        with pytest.raises(UserErrorException, match="no single file"):
            Dataset.File.from_files((data, "wd/*"), is_file=True)

    def test_register_gives_a_new_object_with_name_version_and_id(self, workspace: Workspace, data: Datastore) -> None:
        unregistered = Dataset.File.from_files((data, "wd"))
        first = unregistered.register(workspace, "wd", "the files", {"a": "b"})
        assert (first.name, first.version, first.description, first.tags) == ("wd", 1, "the files", {"a": "b"})
        assert (unregistered.id, unregistered.name, unregistered.version) == (None, None, None)
        with pytest.raises(AlreadyRegisteredError, match="'wd' version 1 is exactly this"):
            unregistered.register(workspace, "wd", create_new_version=True)
        other = Dataset.File.from_files((data, "one.bin"))
        with pytest.raises(UserErrorException, match="create_new_version=True"):
            other.register(workspace, "wd")
        second = other.register(workspace, "wd", create_new_version=True)
        assert Dataset.get_by_name(workspace, "wd").id == second.id
        assert Dataset.get_by_name(workspace, "wd", 1).to_path() == ["/a.bin", "/sub/b.bin"]
        assert second.id is not None
        assert Dataset.get_by_id(workspace, second.id).version == 2
        assert {name: found.version for name, found in Dataset.get_all(workspace).items()} == {"wd": 2}
        assert "wd" in workspace.datasets
        assert "dw" not in workspace.datasets
        with pytest.raises(UserErrorException, match="did you mean 'wd'"):
            Dataset.get_by_name(workspace, "wdd")

    def test_tags_and_description_change_in_place_and_are_read_by_others(
        self, workspace: Workspace, data: Datastore
    ) -> None:
        made = Dataset.File.from_files((data, "wd")).register(workspace, "d", tags={"a": "1"})
        assert made.add_tags({"b": "2", "a": "1"}) is made
        with pytest.raises(UserErrorException, match=r"the tag 'a' is '1' already; remove_tags\(\['a'\]\)"):
            made.add_tags({"c": "3", "a": "2"})
        found = Dataset.get_by_name(workspace, "d")
        assert found.tags == made.tags == {"a": "1", "b": "2"}
        found.remove_tags(["a", "nothing"]).update(description="of two files")
        assert (found.tags, found.description) == ({"b": "2"}, "of two files")
        assert found.update(tags={"x": "y"}).tags == {"x": "y"}
        assert Dataset.get_by_id(workspace, str(made.id)).tags == {"x": "y"}
        found.tags["z"] = "a copy"
        assert found.tags == {"x": "y"}

    def test_what_has_no_name_cannot_be_tagged_or_unregistered(self, data: Datastore) -> None:
        unnamed = Dataset.File.from_files((data, "wd"))
        for call in (
            unnamed.unregister_all_versions,
            lambda: unnamed.add_tags({"a": "1"}),
            lambda: unnamed.update("x"),
        ):
            with pytest.raises(UserErrorException, match=r"no name in a workspace; register\(\)"):
                call()

    def test_unregister_all_versions_takes_the_name_and_leaves_the_files(
        self, workspace: Workspace, data: Datastore
    ) -> None:
        first = Dataset.File.from_files((data, "wd")).register(workspace, "d")
        second = Dataset.File.from_files((data, "one.bin")).register(workspace, "d", create_new_version=True)
        first.unregister_all_versions()
        assert (first.name, first.version, dict(Dataset.get_all(workspace))) == (None, None, {})
        with pytest.raises(UserErrorException, match="'d' version 2 was unregistered"):
            Dataset.get_by_name(workspace, "d")
        assert Dataset.get_by_id(workspace, str(second.id)).to_path() == ["/one.bin"]
        assert first.to_path() == ["/a.bin", "/sub/b.bin"]

    def test_a_job_can_refer_to_a_dataset_without_a_name(self, workspace: Workspace, data: Datastore) -> None:
        dataset = Dataset.File.from_files((data, "wd"))
        record = dataset.saved_in(workspace.folder)
        assert dataset.id == record.id == dataset.saved_in(workspace.folder).id
        assert dataset.name is None
        registered = dataset.register(workspace, "wd")
        assert registered.saved_in(workspace.folder).id == registered.id != record.id

    def test_download_gives_absolute_paths_and_overwrites_only_if_told(
        self, workspace: Workspace, data: Datastore, tmp_path: Path
    ) -> None:
        dataset = Dataset.File.from_files((data, "wd")).register(workspace, "wd")
        target = tmp_path / "target"
        assert dataset.download(target) == [f"{target}/a.bin", f"{target}/sub/b.bin"]
        (target / "a.bin").write_bytes(b"mine")
        os.utime(target / "a.bin", ns=(1, 1))
        with pytest.raises(UserErrorException, match=r"a\.bin.*overwrite=True"):
            dataset.download(target)
        assert (target / "a.bin").read_bytes() == b"mine"
        dataset.download(target, overwrite=True)
        assert (target / "a.bin").read_bytes() == content("wd/a.bin", 0, 100)

    def test_unnamed_inputs_have_names_of_their_own(self, data: Datastore) -> None:
        dataset = Dataset.File.from_files((data, "wd"))
        names = {dataset.as_mount().name, dataset.as_download().name, dataset.as_mount("/x").name}
        assert len(names) == 3
        assert all(name.startswith("input__") and len(name) == 15 for name in names)
        assert (dataset.as_named_input("digits").name, dataset.as_named_input("digits").mode) == ("digits", "direct")


class TestMount:
    def test_without_fuse_the_same_files_are_downloaded_and_gone_at_the_end(
        self, data: Datastore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.setattr(client, "why_no_fuse", lambda: "no /dev/fuse here")
        dataset = Dataset.File.from_files((data, "wd"))
        with dataset.mount() as mounted:
            place = Path(mounted.mount_point)
            assert (place / "sub/b.bin").read_bytes() == content("wd/sub/b.bin", 0, 5000)
        assert not place.exists()
        assert len([line for line in capfd.readouterr().err.splitlines() if "no /dev/fuse here" in line]) == 1
        chosen = tmp_path / "chosen"
        context = dataset.mount(chosen)
        context.start()
        with pytest.raises(UserErrorException, match="started already"):
            context.start()
        assert sorted(each.name for each in chosen.iterdir()) == ["a.bin", "sub"]
        context.stop()
        context.stop()
        assert list(chosen.iterdir()) == []
        (chosen / "mine").touch()
        with pytest.raises(UserErrorException, match="not empty"):
            dataset.mount(chosen).start()
        assert [each.name for each in chosen.iterdir()] == ["mine"]

    @pytest.mark.fuse
    def test_a_mount_shows_the_files_until_it_is_stopped(self, data: Datastore, tmp_path: Path) -> None:
        reason = client.why_no_fuse()
        if reason is not None:
            pytest.skip(reason)
        with Dataset.File.from_files((data, "wd")).mount(tmp_path / "mnt") as mounted:
            assert mounted.mount_point == str(tmp_path / "mnt")
            assert (tmp_path / "mnt/sub/b.bin").read_bytes() == content("wd/sub/b.bin", 0, 5000)
            with pytest.raises(UserErrorException, match="mnt"):
                Dataset.File.from_files((data, "wd")).mount(tmp_path / "mnt").start()
        assert list((tmp_path / "mnt").iterdir()) == []
