"""FileDataset as v1 scripts use it: parts, filters, partitions, mounts with options, and its refusals."""

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mountd import client
from runtime import DataPath, Dataset, Datastore, FileDataset, MountOptions, UserErrorException, Workspace
from runtime.errors import DatasetValidationError
from runtime.workspace import init
from tests.support.content import content, make_tree

if TYPE_CHECKING:
    from collections.abc import Callable

TREE = {"wav/u1/winter/a.wav": 10, "wav/u1/summer/b.wav": 20, "wav/u2/winter/c.wav": 30, "one.bin": 7}
FORMAT = "wav/{user}/{season}/{title}.wav"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = Workspace.of(init(tmp_path / "project/.moorage"))
    monkeypatch.chdir(tmp_path / "project")
    return made


@pytest.fixture
def data(tmp_path: Path, workspace: Workspace) -> Datastore:
    return Datastore.register_local_folder(workspace, "data", make_tree(tmp_path / "data", TREE))


@pytest.fixture
def music(data: Datastore) -> FileDataset:
    return Dataset.File.from_files((data, "wav/**"), partition_format=FORMAT)


class TestParts:
    def test_parts_are_of_what_their_dataset_saw(self, music: FileDataset, tmp_path: Path) -> None:
        halves = music.random_split(0.5, seed=1)
        assert sorted(halves[0].to_path() + halves[1].to_path()) == music.to_path()
        (tmp_path / "data/wav/u3").mkdir()
        (tmp_path / "data/wav/u3/late.wav").write_bytes(b"late")
        assert sorted(path for half in music.random_split(0.5) for path in half.to_path()) == music.to_path()
        assert music.skip(1).take(1).to_path() == music.to_path()[1:2]
        assert music.take_sample(1.0).to_path() == music.to_path()
        assert "take 1" in repr(music.take(1))

    def test_a_part_of_a_version_is_a_part_of_its_frozen_files(
        self, workspace: Workspace, music: FileDataset, tmp_path: Path
    ) -> None:
        music.register(workspace, "music")
        for file in (tmp_path / "data/wav/u1/summer", tmp_path / "data/wav/u1"):
            os.utime(file, ns=(1, 1))
        (tmp_path / "data/wav/a.wav").write_bytes(b"before all")
        part = Dataset.get_by_name(workspace, "music").take(2)
        copy = Dataset.get_by_name(workspace, "music").register(workspace, "copy")
        assert copy.to_path() == ["/u1/summer/b.wav", "/u1/winter/a.wav", "/u2/winter/c.wav"]
        registered = part.register(workspace, "two", tags={"a": "b"})
        again = Dataset.get_by_name(workspace, "two")
        assert again.to_path() == part.to_path() == ["/u1/summer/b.wav", "/u1/winter/a.wav"]
        assert (registered.version, again.partition_keys) == (1, ["user", "season", "title"])
        with pytest.raises(UserErrorException, match="'two' version 1 is exactly this one already"):
            part.register(workspace, "two", create_new_version=True)

    @pytest.mark.parametrize("count", [-1, 1.0, "1", True, None])
    def test_a_count_that_is_none_is_a_value_error(self, music: FileDataset, count: Any) -> None:
        for call in (music.take, music.skip):
            with pytest.raises(ValueError, match="is no number of files"):
                call(count)

    @pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
    def test_a_share_outside_of_0_and_1_is_a_value_error(self, music: FileDataset, share: Any) -> None:
        for call in (music.random_split, music.take_sample):
            with pytest.raises(ValueError, match="not between 0 and 1"):
                call(share)

    def test_filters_by_property_and_partition(self, music: FileDataset) -> None:
        winter = music.filter((music["season"] == "winter") & (music.file_metadata("Size") > 10))
        assert winter.to_path() == ["/u2/winter/c.wav"]
        recent = music.file_metadata("LastModifiedTime") > dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        assert music.filter(recent).to_path() == music.to_path()

    def test_what_a_filter_cannot_use_is_said(self, music: FileDataset, data: Datastore) -> None:
        plain = Dataset.File.from_files((data, "wav"))
        refusals: list[tuple[Callable[[], object], str]] = [
            (lambda: music.filter("Size > 3"), "takes an expression"),  # type: ignore[arg-type]  # that is the point
            (lambda: music["genre"], "no column 'genre'; the partition format has user, season, title"),
            (lambda: plain["user"], "are the parts of its partition_format, and it has none"),
            (lambda: music.file_metadata("CreationTime"), "use LastModifiedTime"),
            (lambda: music.file_metadata("Owner"), "it has Size, LastModifiedTime, Extension, CanSeek"),
            (lambda: plain.filter(music["user"] == "u1"), "no column 'user'"),
        ]
        for call, said in refusals:
            with pytest.raises(UserErrorException, match=said):
                call()


class TestPartitions:
    def test_keys_and_their_values(self, music: FileDataset, tmp_path: Path) -> None:
        (tmp_path / "data/wav/u2/winter/empty.wav").write_bytes(b"")
        assert music.partition_keys == ["user", "season", "title"]
        fresh = Dataset.File.from_files(str(tmp_path / "data/wav"), partition_format=FORMAT)
        assert fresh.get_partition_key_values(["season"]) == [{"season": "summer"}, {"season": "winter"}]
        assert {tuple(row.values()) for row in fresh.get_partition_key_values()} == {
            ("u1", "summer", "b"),
            ("u1", "winter", "a"),
            ("u2", "winter", "c"),
        }
        with pytest.raises(UserErrorException, match="no column 'genre'"):
            fresh.get_partition_key_values(["genre"])

    def test_without_a_format_there_are_no_keys(self, data: Datastore) -> None:
        plain = Dataset.File.from_files((data, "wav"))
        assert plain.partition_keys == []
        with pytest.raises(UserErrorException, match="it has none"):
            plain.get_partition_key_values()

    def test_a_format_that_does_not_fit_is_told_if_it_is_to_be_validated(self, data: Datastore) -> None:
        with pytest.raises(DatasetValidationError, match=r"does not fit '.*/wav/u1/summer/b\.wav'"):
            Dataset.File.from_files((data, "wav"), partition_format="/{day:yyyy}/{x}.csv")
        loose = Dataset.File.from_files((data, "wav"), partition_format="/{day:yyyy}/{x}.csv", validate=False)
        assert loose.get_partition_key_values() == [{"x": None, "day": None}]
        with pytest.raises(DatasetValidationError, match="nothing matches 'gone'"):
            Dataset.File.from_files((data, "gone"), partition_format="/{x}.csv")
        with pytest.raises(DatasetValidationError, match="NO_PART"):
            Dataset.File.from_files((data, "gone"), partition_format="/x.csv", validate=False)


class TestDownload:
    def test_a_file_that_is_gone_may_be_left_out(self, music: FileDataset, tmp_path: Path) -> None:
        assert len(music.to_path()) == 3
        (tmp_path / "data/wav/u1/winter/a.wav").unlink()
        with pytest.raises(Exception, match=r"a\.wav"):
            music.download(tmp_path / "all")
        found = music.download(tmp_path / "left", ignore_not_found=True)
        assert found == [f"{tmp_path}/left/u1/summer/b.wav", f"{tmp_path}/left/u2/winter/c.wav"]
        assert Path(found[0]).read_bytes() == content("wav/u1/summer/b.wav", 0, 20)

    def test_the_newest_change_is_told(self, data: Datastore, tmp_path: Path) -> None:
        os.utime(tmp_path / "data/one.bin", ns=(10**18, 10**18))
        assert Dataset.File.from_files((data, "one.bin")).data_changed_time == dt.datetime(
            2001, 9, 9, 1, 46, 40, tzinfo=dt.UTC
        )


class TestUploadDirectory:
    def test_a_folder_becomes_a_dataset_at_every_form_of_target(self, workspace: Workspace, tmp_path: Path) -> None:
        make_tree(tmp_path / "new", {"a.txt": 5, "b/c.csv": 6})
        store = Datastore(workspace)
        for target in ((store, "x1"), DataPath(store, "x2"), store.path("x3/")):
            made = Dataset.File.upload_directory(tmp_path / "new", target, show_progress=False)
            assert (made.id, made.to_path()) == (None, ["/a.txt", "/b/c.csv"])
        only = Dataset.File.upload_directory(str(tmp_path / "new"), (store, "x4"), "*.csv")
        assert only.to_path() == ["/b/c.csv"]

    @pytest.mark.warns
    def test_the_same_again_is_left_as_it_is_and_told(
        self, workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        make_tree(tmp_path / "new", {"a.txt": 5, "b.txt": 6})
        target = (Datastore(workspace), "x")
        Dataset.File.upload_directory(tmp_path / "new", target)
        (tmp_path / "new/c.txt").write_bytes(b"third")
        assert len(Dataset.File.upload_directory(tmp_path / "new", target).to_path()) == 3
        assert "2 of 3 files are in workspaceblobstore/x/ already with the same bytes" in caplog.text
        (tmp_path / "new/a.txt").write_bytes(b"other")
        with pytest.raises(UserErrorException, match=r"x/a\.txt: exists.*overwrite=True"):
            Dataset.File.upload_directory(tmp_path / "new", target)
        Dataset.File.upload_directory(tmp_path / "new", target, overwrite=True)
        assert (workspace.folder.blobstore_path / "x/a.txt").read_bytes() == b"other"

    def test_what_cannot_be_uploaded_is_said(self, workspace: Workspace, tmp_path: Path) -> None:
        make_tree(tmp_path / "new", {"a.txt": 5})
        target = (Datastore(workspace), "x")
        for source, where, pattern, said in (
            (tmp_path / "gone", target, None, "no such folder"),
            (tmp_path / "gone", target, "*", "no such folder"),
            (tmp_path / "new", "x", None, "str is no target"),
            (tmp_path / "new", target, "a.txt", r"no file's absolute path matches 'a\.txt'"),
        ):
            with pytest.raises(UserErrorException, match=said):
                Dataset.File.upload_directory(source, where, pattern)


class TestRefusals:
    def test_what_is_no_workspace_or_name_is_said(self, workspace: Workspace, music: FileDataset) -> None:
        nobody: Any = None
        calls: list[tuple[Callable[[], object], str]] = [
            (lambda: Dataset.get_by_name(nobody, "x"), r"None is no workspace; get one with Workspace\.from_config"),
            (lambda: Dataset.get_by_id(nobody, "x"), "no workspace"),
            (lambda: Dataset.get_all(nobody), "no workspace"),
            (lambda: music.register(nobody, "x"), "no workspace"),
            (lambda: Dataset.get_by_name(workspace, nobody), "None is no name"),
            (lambda: music.register(workspace, "x").add_tags(nobody), "a dictionary of strings, and not None"),
            (lambda: Dataset.get_by_name(workspace, "x").remove_tags("ab"), "a list of the tags' names"),
            (music.as_hdfs, "use mount or download"),
            (lambda: music.as_cache("store"), "every mount has a cache"),
            (lambda: music.hydrate("store", 2), "every mount has a cache"),
        ]
        for call, said in calls:
            with pytest.raises(UserErrorException, match=said):
                call()

    def test_the_older_forms_of_looking_up_work(self, workspace: Workspace, music: FileDataset) -> None:
        made = music.register(workspace, "music")
        assert Dataset.get(workspace, "music").id == Dataset.get(workspace, id=made.id).id == made.id
        assert [each.name for each in Dataset.list(workspace)] == ["music"]


class TestMountOptions:
    def test_options_become_settings(self, tmp_path: Path) -> None:
        assert MountOptions().settings() == {}
        whole = MountOptions(data_dir=tmp_path, max_size=2**30, free_space_required=5, allow_other=True, read_only=True)
        assert whole.settings() == {"cache_dir": str(tmp_path), "cache_size": str(2**30), "allow_other": "true"}
        assert MountOptions(free_space_required=2**30).settings() == {"cache_size": f"-{2**30}"}

    def test_wrong_options_are_said(self) -> None:
        for wrong, said in (
            ({"read_only": True, "create_destination": True}, "contradict each other"),
            ({"read_only": False}, "use OutputFileDatasetConfig"),
            ({"max_size": -1}, "max_size -1 is no number of bytes"),
            ({"max_sise": 1}, "has no 'max_sise'"),
        ):
            options: dict[str, Any] = wrong
            with pytest.raises(UserErrorException, match=said):
                MountOptions(**options)

    @pytest.mark.fuse
    def test_a_mount_has_its_options_and_tells_a_single_file(
        self, data: Datastore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if (reason := client.why_no_fuse()) is not None:
            pytest.skip(reason)
        monkeypatch.setenv("MOORAGE_CACHE", "always")
        monkeypatch.setenv("DATASET_MOUNT_MEMORY_CACHE_SIZE", "16 MB")
        monkeypatch.setenv("DATASET_UNMOUNT_TIMEOUT_SECONDS", "5")
        options = MountOptions(data_dir=tmp_path / "cache", max_size=2**24)
        single = Dataset.File.from_files((data, "one.bin"))
        with single.mount(tmp_path / "made/mnt", mount_options=options, skip_validate=True) as mounted:
            status = client.status(tmp_path / "made/mnt")
            assert (status["cache"]["limit_bytes"], status["memory"]["limit_bytes"]) == (2**24, 16 * 10**6)
            assert (mounted.is_single_file, mounted.single_file) == (True, "one.bin")
            assert Path(mounted.data_path).read_bytes() == content("one.bin", 0, 7)
        folder = Dataset.File.from_files((data, "wav")).take(1).mount(tmp_path / "made/mnt")
        folder.start()
        assert (folder.is_single_file, folder.data_path) == (False, str(tmp_path / "made/mnt"))
        assert [path.name for path in Path(folder.mount_point).rglob("*.wav")] == ["b.wav"]
        folder.stop()

    def test_a_place_that_cannot_be_a_folder_is_said(self, music: FileDataset, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for place, said in (("file", "there is a file; name an empty folder"), ("file/x", "cannot be made")):
            with pytest.raises(UserErrorException, match=f"{tmp_path}/{place}: {said}"):
                music.mount(tmp_path / place).start()

    @pytest.mark.fuse
    def test_no_file_is_an_empty_mount(self, music: FileDataset, tmp_path: Path) -> None:
        if (reason := client.why_no_fuse()) is not None:
            pytest.skip(reason)
        nothing = music.take(0)
        assert (nothing.download(tmp_path / "got"), nothing.data_changed_time) == ([], None)
        with nothing.mount() as mounted:
            assert [*Path(mounted.mount_point).iterdir()] == []
