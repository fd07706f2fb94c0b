"""The catalog: versions count without a gap, and rows are whole or absent."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.catalog import check_name, open_catalog
from runtime.errors import AlreadyRegisteredError, UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder, init


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return init(tmp_path / ".moorage")


def digest(number: int) -> str:
    return f"{number:064x}"


def test_a_registered_version_reads_back_by_name_and_id(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        made = catalog.register("digits", "{}", digest(1), 3, 1 << 40, "of 1797", {"split": "all"})
    with open_catalog(workspace) as catalog:
        assert catalog.get("digits") == catalog.get("digits", 1) == catalog.get("digits", "1") == made
        assert catalog.get_by_id(made.id) == made
    assert (made.version, made.size_bytes, made.description, made.tags) == (1, 1 << 40, "of 1797", {"split": "all"})
    assert made.created.utcoffset() is not None


def test_a_name_that_exists_needs_create_new_version(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("digits", "{}", digest(1), 1, 1)
        with pytest.raises(UserErrorException, match=r"create_new_version=True .*--new-version") as caught:
            catalog.register("digits", "{}", digest(2), 1, 1)
        assert not isinstance(caught.value, AlreadyRegisteredError)
        assert catalog.register("digits", "{}", digest(2), 1, 1, create_new_version=True).version == 2
        assert [record.version for record in catalog.versions("digits")] == [1, 2]
        assert [(record.name, record.version) for record in catalog.list()] == [("digits", 2)]


@pytest.mark.parametrize("create_new_version", [False, True])
def test_the_same_definition_and_digest_name_the_version_that_is_it(
    workspace: WorkspaceFolder,
    create_new_version: bool,  # noqa: FBT001 # a parameter of the test
) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("digits", "{}", digest(1), 1, 1)
        catalog.register("digits", "{}", digest(2), 1, 1, create_new_version=True)
        with pytest.raises(AlreadyRegisteredError, match="'digits' version 1") as caught:
            catalog.register("digits", "{}", digest(1), 1, 1, create_new_version=create_new_version)
        assert (caught.value.name, caught.value.version) == ("digits", 1)
        assert catalog.register("other", "{}", digest(1), 1, 1).version == 1


def test_unknown_names_versions_and_ids_say_what_there_is(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("digits", "{}", digest(1), 1, 1)
        with pytest.raises(UnknownNameError, match=r"no dataset 'digit' .*did you mean 'digits'"):
            catalog.get("digit")
        with pytest.raises(UnknownNameError, match="no version 7; its latest is 1"):
            catalog.get("digits", 7)
        with pytest.raises(UnknownNameError, match="no dataset with the id"):
            catalog.get_by_id("nothing")
        with pytest.raises(UserErrorException, match="'two' is no version"):
            catalog.get("digits", "two")


def test_an_unnamed_dataset_is_saved_once_and_listed_never(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        first, again, other = (catalog.save("{}", digest(number), 1, 1) for number in (1, 1, 2))
        assert first.id == again.id != other.id
        assert (first.name, first.version) == ("", 0)
        assert catalog.get_by_id(first.id).digest == digest(1)
        assert list(catalog.list()) == []


@pytest.mark.parametrize("name", ["", " a", "a@1", "a:b", "a/b", "a\nb", "x" * 256, "a=b"])
def test_a_name_that_the_command_line_could_not_say_is_refused(name: str) -> None:
    with pytest.raises(UserErrorException, match="no name for a dataset"):
        check_name(name)


def test_tags_that_are_no_text_are_refused_before_anything_is_written(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        with pytest.raises(UserErrorException, match="tag 'n': 3"):
            catalog.register("digits", "{}", digest(1), 1, 1, tags={"n": 3})  # type: ignore[dict-item] # the point
        assert list(catalog.list()) == []


def test_two_threads_that_register_at_once_get_different_versions(workspace: WorkspaceFolder) -> None:
    versions: list[int] = []
    barrier = threading.Barrier(8)

    def register(number: int) -> None:
        barrier.wait(timeout=20)
        with open_catalog(workspace) as catalog:
            versions.append(catalog.register("digits", "{}", digest(number), 1, 1, create_new_version=True).version)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == list(range(1, 9))


_REGISTER = """
import sys
from pathlib import Path
from runtime.catalog import open_catalog
from runtime.workspace import WorkspaceFolder
print("ready", flush=True)
sys.stdin.readline()
for number in range(10):
    with open_catalog(WorkspaceFolder(Path(sys.argv[1]))) as catalog:
        print(catalog.register("digits", "{}", f"{sys.argv[2]}{number}", 1, 1, create_new_version=True).version)
"""


def test_processes_that_register_at_once_get_different_versions(workspace: WorkspaceFolder) -> None:
    others = [
        subprocess.Popen(
            [sys.executable, "-c", _REGISTER, str(workspace.path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b", "c")
    ]
    for other in others:  # all have imported what they need; the database does not exist yet
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    for other in others:
        assert other.stdin is not None
        other.stdin.write("go\n")
        other.stdin.flush()
    versions = [int(line) for other in others for line in other.communicate(timeout=60)[0].split()]
    assert [other.returncode for other in others] == [0, 0, 0]
    assert sorted(versions) == list(range(1, 31))


def test_a_catalog_that_is_none_or_too_new_is_one_clear_error(workspace: WorkspaceFolder) -> None:
    open_catalog(workspace).close()
    with sqlite3.connect(workspace.catalog_path) as connection:
        connection.execute("UPDATE catalog_format SET version = 2")
    connection.close()
    with pytest.raises(UserErrorException, match="format 2, not 1; install a newer Moorage"):
        open_catalog(workspace)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{workspace.catalog_path}{suffix}").unlink(missing_ok=True)
    workspace.catalog_path.write_bytes(b"no database at all " * 100)
    with pytest.raises(UserErrorException, match=r"catalog\.db cannot be used .*not a database"):
        open_catalog(workspace)


def test_the_catalog_of_a_team_is_where_the_workspace_says(tmp_path: Path) -> None:
    shared = tmp_path / "shared.db"
    one, two = (init(tmp_path / name / ".moorage", f"sqlite:///{shared}") for name in ("one", "two"))
    with open_catalog(one) as catalog:
        catalog.register("digits", "{}", digest(1), 1, 1)
    with open_catalog(two) as catalog:
        assert catalog.get("digits").version == 1
    assert not one.catalog_path.exists()
    bad = init(tmp_path / "bad" / ".moorage", "nosuchdatabase://host/x")
    with pytest.raises(UserErrorException, match="cannot be used"):
        open_catalog(bad)
