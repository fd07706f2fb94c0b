"""File datasets: definitions, freezing, and the way back to a frozen manifest."""

import json
from pathlib import Path

import pytest

from mountd.dataset.manifest import Manifest
from mountd.errors import DataChangedError, NotFoundError
from mountd.stores.credentials import Credential
from mountd.stores.memory import MemoryStore
from runtime import datastores
from runtime.catalog import open_catalog
from runtime.datasets.file import FileDefinition, FrozenDataset, freeze_definition, register, resolve, save
from runtime.datasets.paths import DatasetPath, below_datastore, parse_text
from runtime.datastores import DatastoreRecord
from runtime.errors import DatasetValidationError, UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder, init
from tests.support.content import make_tree


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return init(tmp_path / ".moorage")


@pytest.fixture
def data(tmp_path: Path, workspace: WorkspaceFolder) -> Path:
    root = make_tree(
        tmp_path / "data", {"wd/2019/01/a.csv": 10, "wd/2019/02/b.csv": 20, "wd/2020/c.csv": 30, "one.bin": 5}
    )
    datastores.add(workspace, DatastoreRecord("data", str(root)))
    return root


def defined(*paths: str) -> FileDefinition:
    return FileDefinition(tuple(below_datastore("data", path) for path in paths))


def shown(frozen: FrozenDataset) -> list[str]:
    with Manifest.open(frozen.manifest) as manifest:
        manifest.verify()
        return sorted(path for path, _ in manifest.files())


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("paths", "files", "single_file"),
    [
        (["wd/2019"], ["01/a.csv", "02/b.csv"], None),
        (["wd/2019/"], ["01/a.csv", "02/b.csv"], None),
        (["wd/**"], ["2019/01/a.csv", "2019/02/b.csv", "2020/c.csv"], None),
        (["wd/2019/*/b.csv"], ["02/b.csv"], None),
        (["wd/**/*.csv"], ["2019/01/a.csv", "2019/02/b.csv", "2020/c.csv"], None),
        (["wd/2020/c.csv"], ["c.csv"], "c.csv"),
        (["wd/2020/*"], ["c.csv"], None),
        (["wd/2020"], ["c.csv"], None),
        (["one.bin", "wd/2020/c.csv"], ["one.bin", "wd/2020/c.csv"], None),
        ([""], ["one.bin", "wd/2019/01/a.csv", "wd/2019/02/b.csv", "wd/2020/c.csv"], None),
    ],
)
def test_a_definition_freezes_to_its_files(
    workspace: WorkspaceFolder, paths: list[str], files: list[str], single_file: str | None
) -> None:
    frozen = freeze_definition(workspace, defined(*paths))
    assert shown(frozen) == files
    assert (frozen.single_file, frozen.files) == (single_file, len(files))
    assert frozen.manifest == workspace.manifests_path / f"{frozen.digest}.sqlite"
    assert [each.name for each in workspace.manifests_path.iterdir()] == [frozen.manifest.name]


def test_a_folder_that_holds_one_file_of_its_own_name_is_still_a_folder(workspace: WorkspaceFolder, data: Path) -> None:
    make_tree(data, {"same/same": 3})
    assert freeze_definition(workspace, defined("same")).single_file is None
    assert freeze_definition(workspace, defined("same/same")).single_file == "same"


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("path", ["gone", "wd/gone/", "wd/*.png", "gone/**"])
def test_a_path_where_nothing_lies_is_an_error_and_leaves_nothing(workspace: WorkspaceFolder, path: str) -> None:
    with pytest.raises(NotFoundError):
        freeze_definition(workspace, defined("one.bin", path))
    assert list(workspace.manifests_path.iterdir()) == []


def test_a_folder_for_manifests_that_takes_none_is_named(workspace: WorkspaceFolder, data: Path) -> None:
    workspace.manifests_path.rmdir()
    workspace.manifests_path.symlink_to("/proc")
    with pytest.raises(FileNotFoundError) as refusal:
        freeze_definition(workspace, defined(f"file://{data}/"))
    assert refusal.value.filename == str(workspace.manifests_path)


def test_a_store_with_a_listing_is_asked_what_a_path_is(workspace: WorkspaceFolder) -> None:
    store = MemoryStore("asked")
    for key in ("a/x", "a-b", "f", "f.txt"):
        store.put(key, b"1")
    datastores.add(workspace, DatastoreRecord("data", "memory://asked/"))
    assert shown(freeze_definition(workspace, defined("a"))) == ["x"]
    assert freeze_definition(workspace, defined("f")).single_file == "f"
    store.put("f/below", b"2")
    with pytest.raises(UserErrorException, match=r"'f' holds 1 bytes, and 'f/below' lies below it"):
        freeze_definition(workspace, defined("f"))


def test_credentials_come_from_the_datastore_and_stay_out_of_the_manifest(workspace: WorkspaceFolder) -> None:
    MemoryStore("guarded").put("a/x", b"1")
    MemoryStore("open").put("y", b"1")
    secret = Credential("key", "c2VjcmV0LXNlY3JldA==")
    datastores.add(workspace, DatastoreRecord("guarded", "memory://guarded/", secret))
    datastores.add(workspace, DatastoreRecord("open", "memory://open/"))
    definition = FileDefinition((below_datastore("guarded", "a"), below_datastore("open", "")))
    frozen = freeze_definition(workspace, definition)
    assert frozen.credentials == {"memory://guarded/a/": secret}
    assert shown(frozen) == ["guarded/a/x", "open/y"]
    assert secret.secret.encode() not in frozen.manifest.read_bytes()
    assert secret.secret not in repr(frozen)
    record = register(workspace, "both", definition)
    assert secret.secret not in record.definition
    assert resolve(workspace, "both") == frozen


def test_a_version_keeps_its_own_manifest_when_the_files_change(workspace: WorkspaceFolder, data: Path) -> None:
    first = register(workspace, "wd", defined("wd"))
    make_tree(data, {"wd/2021/d.csv": 40})
    second = register(workspace, "wd", defined("wd"), create_new_version=True)
    assert (first.version, second.version) == (1, 2)
    assert len(shown(resolve(workspace, "wd@1"))) == 3
    assert len(shown(resolve(workspace, "wd"))) == len(shown(resolve(workspace, "wd@latest"))) == 4
    assert resolve(workspace, first.id) == resolve(workspace, "wd@1")


def test_a_lost_manifest_is_frozen_again_only_if_it_comes_out_the_same(workspace: WorkspaceFolder, data: Path) -> None:
    frozen = resolve(workspace, register(workspace, "wd", defined("wd")).id)
    frozen.manifest.unlink()
    assert resolve(workspace, "wd") == frozen
    frozen.manifest.unlink()
    make_tree(data, {"wd/2021/d.csv": 40})
    with pytest.raises(DataChangedError, match=r"'wd' version 1: its manifest .* is gone"):
        resolve(workspace, "wd")


@pytest.mark.usefixtures("data")
def test_a_saved_dataset_is_found_by_its_id(workspace: WorkspaceFolder) -> None:
    record = save(workspace, defined("one.bin"))
    assert save(workspace, defined("one.bin")).id == record.id
    assert resolve(workspace, record.id).single_file == "one.bin"


@pytest.mark.usefixtures("data")
def test_unknown_names_have_the_exit_code_of_not_found(workspace: WorkspaceFolder) -> None:
    register(workspace, "wd", defined("wd"))
    for reference in ("dw", "wd@7", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(UnknownNameError) as caught:
            resolve(workspace, reference)
        assert caught.value.exit_code == 4
    with pytest.raises(UnknownNameError, match="no datastore 'nowhere'"):
        freeze_definition(workspace, FileDefinition((DatasetPath("nowhere", "x"),)))


def test_a_definition_reads_back_and_equal_ones_are_equal_text(tmp_path: Path) -> None:
    (tmp_path / "ä").mkdir()
    definition = FileDefinition((below_datastore("Data", "/ä/**"), parse_text(str(tmp_path / "ä"))))
    assert FileDefinition.from_json(definition.to_json()) == definition
    same = FileDefinition((below_datastore("data", "ä/**"), parse_text(str(tmp_path / "ä") + "/")))
    assert same.to_json() == definition.to_json()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "newer Moorage"),
        ({"steps": [{"fold": 1}]}, "a step 'fold' that this Moorage does not know"),
        ({"steps": [{"filter": ["near", 1]}]}, "an operation that this Moorage does not know"),
        ({"unheard": 1}, "newer Moorage"),
        ({"paths": [{"x": 1}]}, "damaged"),
    ],
)
def test_a_definition_of_another_version_or_kind_is_one_clear_error(change: dict[str, object], said: str) -> None:
    text = json.dumps(json.loads(defined("x").to_json()) | change)
    with pytest.raises(DatasetValidationError, match=said):
        FileDefinition.from_json(text)


@pytest.mark.usefixtures("data")
def test_a_bad_name_is_refused_before_anything_is_listed(workspace: WorkspaceFolder) -> None:
    with pytest.raises(UserErrorException, match="no name for a dataset"):
        register(workspace, "a@1", defined("gone"))
    with open_catalog(workspace) as catalog:
        assert list(catalog.list()) == []
