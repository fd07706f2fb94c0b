import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mountd.errors import BadInputError, DataChangedError, DestinationExistsError, StoreUnreachableError
from mountd.stores.local import LocalStore
from runtime import datastores, outputs
from runtime.datasets import file
from runtime.errors import UserErrorException
from runtime.outputs import OutputSpec
from runtime.workspace import WorkspaceFolder, init
from tests.support.content import content, make_tree
from tests.support.fileshare_server import FileShares

SIZES = {"a.txt": 10, "deep/er/b.bin": 5000, "deep/c.txt": 0}


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return init(tmp_path / ".moorage")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "out", SIZES)


def names(folder: Path, *globs: str) -> list[str]:
    return [name for _, name in outputs.staged_files(folder, globs)]


def test_every_file_is_staged_in_order(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert names(folder) == ["a.txt", "deep/c.txt", "deep/er/b.bin"]


@pytest.mark.parametrize(
    ("globs", "wanted"),
    [
        (("*.txt",), ["a.txt"]),
        (("**/*.txt",), ["a.txt", "deep/c.txt"]),
        (("deep/**",), ["deep/c.txt", "deep/er/b.bin"]),
        (("*.bin", "a.*"), ["a.txt"]),
        (("a?txt", "[a].txt"), []),
    ],
)
def test_globs_choose_files(folder: Path, globs: tuple[str, ...], wanted: list[str]) -> None:
    assert names(folder, *globs) == wanted


def test_links_inside_the_output_are_followed(folder: Path) -> None:
    (folder / "last").symlink_to("deep/er")
    (folder / "one").symlink_to("a.txt")
    assert names(folder) == ["a.txt", "deep/c.txt", "deep/er/b.bin", "last/b.bin", "one"]


@pytest.mark.parametrize("target", ["../elsewhere", "/etc/passwd", "nowhere", ".", ".."])
def test_links_that_lead_out_or_round_are_errors(folder: Path, target: str) -> None:
    (folder.parent / "elsewhere").touch()
    (folder / "deep" / "link").symlink_to(target)
    with pytest.raises(BadInputError, match=str(folder / "deep" / "link") if target != ".." else "deep"):
        names(folder)


def test_what_is_no_file_and_what_is_named_as_ours_are_errors(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadInputError, match="pipe: neither a file nor a folder"):
        names(folder)
    (folder / "pipe").unlink()
    make_tree(folder, {".moorage/x": 1})
    with pytest.raises(BadInputError, match=r"\.moorage is Moorage's own"):
        names(folder)


def test_an_output_is_stored_with_the_environment_s_credential_where_its_datastore_has_none(
    workspace: WorkspaceFolder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileShares.start() as server:
        server.make_share("share")
        datastores.add(workspace, datastores.DatastoreRecord("share", server.url("share")))
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", server.connection_string)
        spec = OutputSpec("o", "share", "x")
        for _ in range(2):
            assert outputs.upload_output(workspace, spec, "run", folder).files == 3
        assert sorted(name for name in server.files("share") if name.startswith("x/")) == sorted(
            f"x/{name}" for name in SIZES
        )


def test_the_marker_is_written_last_and_lies_beside_the_output(workspace: WorkspaceFolder, folder: Path) -> None:
    spec = OutputSpec("o", path="x/{run-id}")
    stored_now = outputs.upload_output(workspace, spec, "run_1", folder)
    assert (stored_now.files, stored_now.size_bytes) == (3, 5010)
    stored = workspace.blobstore_path
    assert (stored / "x/run_1/deep/er/b.bin").read_bytes() == content("deep/er/b.bin", 0, 5000)
    (marker,) = (stored / ".moorage/outputs").rglob("*.json")
    assert marker.parent.name == hashlib.sha256(b"x/run_1/").hexdigest()[:32]
    assert marker.name == "commit.json"
    told = json.loads(marker.read_text())
    listed = told.pop("list")
    assert told == {"version": 2, "run_id": "run_1", "prefix": "x/run_1/", "files": 3, "bytes": 5010}
    assert {each["path"]: (each["size"], each["etag"]) for each in listed} == {
        name: (size, stored_now.etags[name]) for name, size in SIZES.items()
    }
    assert {each["path"]: each["md5"] for each in listed} == {
        name: hashlib.md5(content(name, 0, size), usedforsecurity=False).hexdigest() for name, size in SIZES.items()
    }


def test_what_is_there_is_not_overwritten_unless_asked(workspace: WorkspaceFolder, folder: Path) -> None:
    there = make_tree(workspace.blobstore_path, {"x/a.txt": 3})
    with pytest.raises(DestinationExistsError):
        outputs.upload_output(workspace, OutputSpec("o", path="x"), "r", folder)
    assert sorted(path.name for path in there.rglob("*")) == ["a.txt", "x"]
    outputs.upload_output(workspace, OutputSpec("o", path="x", overwrite=True), "r", folder)
    assert (there / "x/a.txt").read_bytes() == content("a.txt", 0, 10)


@pytest.mark.parametrize("instead", ["nothing", "a file", "a link"])
def test_a_staged_folder_that_the_command_replaced_is_not_stored(
    workspace: WorkspaceFolder, tmp_path: Path, instead: str
) -> None:
    staged, elsewhere = tmp_path / "staged", make_tree(tmp_path / "elsewhere", SIZES)
    if instead == "a file":
        staged.touch()
    elif instead == "a link":
        staged.symlink_to(elsewhere)
    spec = OutputSpec("model", path="models")
    with pytest.raises(BadInputError, match="the command removed its folder"):
        outputs.upload_output(workspace, spec, "r", staged)
    if instead == "a link":  # a folder that the user named may be a link to where there is room
        named = OutputSpec("model", path="models", source=str(staged))
        assert outputs.upload_output(workspace, named, "r", staged).files == len(SIZES)


def test_no_commit_stands_while_a_place_is_written_again(
    workspace: WorkspaceFolder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = OutputSpec("o", path="x", overwrite=True)
    outputs.upload_output(workspace, spec, "r", folder)
    (commit,) = (workspace.blobstore_path / ".moorage/outputs").rglob("commit.json")

    def fails(*_: object, **__: object) -> None:
        assert not commit.exists()
        raise StoreUnreachableError("cut short")

    with monkeypatch.context() as patch:
        patch.setattr("mountd.stores.local.LocalStore.write", _but_for_controls(fails))
        with pytest.raises(StoreUnreachableError, match="cut short"):
            outputs.upload_output(workspace, spec, "s", folder)
    assert not commit.exists()
    outputs.upload_output(workspace, spec, "s", folder)
    assert commit.exists()


def _but_for_controls(instead: Callable[..., object]) -> Callable[..., object]:
    write = LocalStore.write

    def chosen(store: LocalStore, key: str, source: Path | bytes, *, overwrite: bool = False) -> object:
        return (write if key.startswith(".moorage/") else instead)(store, key, source, overwrite=overwrite)

    return chosen


def test_what_others_left_under_our_names_is_refused_even_with_our_bytes(
    workspace: WorkspaceFolder, folder: Path
) -> None:
    make_tree(workspace.blobstore_path / "x", {"a.txt": 10})
    with pytest.raises(DestinationExistsError, match="exists"):
        outputs.upload_output(workspace, OutputSpec("o", path="x"), "r", folder)
    assert [path.name for path in (workspace.blobstore_path / "x").rglob("*")] == ["a.txt"]


def test_what_is_committed_is_not_looked_at_again(workspace: WorkspaceFolder, folder: Path) -> None:
    spec = OutputSpec("o", path="x")
    first = outputs.upload_output(workspace, spec, "r", folder)
    shutil.rmtree(folder)
    assert outputs.upload_output(workspace, spec, "r", folder) == first


def test_a_second_run_registers_only_what_it_stored_itself(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    spec = OutputSpec("o", path="x", register_as="made")
    for run, sizes in (("r1", {"a": 1, "b": 2}), ("r2", {"c": 3})):
        stored = outputs.upload_output(workspace, spec, run, make_tree(tmp_path / run, sizes))
        assert outputs.register_output(workspace, spec, run, stored) == f"made@{run[1]}"
        assert outputs.register_output(workspace, spec, run, stored) == f"made@{run[1]}"
    assert [file.resolve(workspace, f"made@{version}").files for version in (1, 2)] == [2, 1]


def test_what_changed_after_the_commit_is_not_registered(workspace: WorkspaceFolder, folder: Path) -> None:
    spec = OutputSpec("o", path="x", register_as="made")
    stored = outputs.upload_output(workspace, spec, "r", folder)
    (workspace.blobstore_path / "x/a.txt").write_bytes(b"other")
    with pytest.raises(DataChangedError, match=r"a\.txt: was .*, is "):
        outputs.register_output(workspace, spec, "r", stored)
    (workspace.blobstore_path / "x/a.txt").unlink()
    with pytest.raises(DataChangedError, match="3 files were committed, and 2 of them are there"):
        outputs.register_output(workspace, spec, "r", stored)


@pytest.mark.parametrize(
    ("path", "register_as", "match"),
    [("models/{runid}", None, r"\{runid\} is none of \{run-id\}"), ("models", "a@1", "'a@1' is no name for a dataset")],
)
def test_a_mistake_in_an_output_is_found_before_anything_runs(path: str, register_as: str | None, match: str) -> None:
    with pytest.raises(UserErrorException, match=match):
        OutputSpec("model", path=path, register_as=register_as)


def test_what_the_catalog_could_not_keep_is_refused_before_the_job() -> None:
    with pytest.raises(UserErrorException, match="no name for a dataset"):
        OutputSpec("out", register_as="a:b")
    with pytest.raises(UserErrorException, match="the description holds bytes that are no text"):
        OutputSpec("out", register_as="model", description="\udcff")
    with pytest.raises(UserErrorException, match="the tag 'n': 3 is not text"):
        OutputSpec("out", register_as="model", tags={"n": 3})  # type: ignore[dict-item] # the point
