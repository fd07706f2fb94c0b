"""Datastores: names for places, and secrets that stay where they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from mountd.errors import BadInputError, NotFoundError
from mountd.stores.credentials import Credential
from runtime import datastores
from runtime.datastores import BUILT_IN, DatastoreRecord
from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder, init

SECRET = "c2VjcmV0LXNlY3JldA=="  # noqa: S105 # nobody's
BLOB = "https://account1.blob.core.windows.net/container/"


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return init(tmp_path / ".moorage")


def test_the_built_in_datastore_is_a_folder_of_the_workspace_and_the_default(workspace: WorkspaceFolder) -> None:
    assert datastores.default_name(workspace) == BUILT_IN
    assert datastores.get(workspace, "WorkspaceBlobStore").url == f"file://{workspace.blobstore_path}/"
    with pytest.raises(UserErrorException, match="stays"):
        datastores.remove(workspace, BUILT_IN)


def test_a_datastore_reads_back_and_its_file_is_the_owners_only(workspace: WorkspaceFolder) -> None:
    credential = Credential("key", SECRET)
    datastores.add(workspace, DatastoreRecord("Training", BLOB + "a/b", credential))
    found = datastores.get(workspace, "TRAINING")
    assert (found.name, found.url, found.credential) == ("Training", BLOB + "a/b/", credential)
    assert workspace.datastores_path.stat().st_mode & 0o777 == 0o600
    assert SECRET not in repr(found) + str(found)
    assert set(datastores.load_all(workspace)) == {BUILT_IN, "training"}


def test_a_reference_is_kept_as_one_and_looked_up_on_use(workspace: WorkspaceFolder) -> None:
    datastores.add(workspace, DatastoreRecord("training", BLOB, reference="env:THE_KEY"))
    assert SECRET not in workspace.datastores_path.read_text()
    assert datastores.load_all(workspace)["training"].credential is None
    assert datastores.get(workspace, "training", {"THE_KEY": SECRET}).credential == Credential("key", SECRET)
    with pytest.raises(NotFoundError, match="THE_KEY"):
        datastores.get(workspace, "training", {})


def test_a_name_is_taken_whatever_its_case_unless_overwrite_is_said(workspace: WorkspaceFolder) -> None:
    datastores.add(workspace, DatastoreRecord("data", "file:///one"))
    for name in ("DATA", BUILT_IN):
        with pytest.raises(UserErrorException, match=r"exists; add it with overwrite=True \(--overwrite\)"):
            datastores.add(workspace, DatastoreRecord(name, "file:///two"))
    datastores.add(workspace, DatastoreRecord("DATA", "file:///two"), overwrite=True)
    assert datastores.get(workspace, "data") == DatastoreRecord("DATA", "file:///two/")
    assert len(datastores.load_all(workspace)) == 2


def test_overwriting_the_built_in_one_moves_it_and_removing_brings_it_back(workspace: WorkspaceFolder) -> None:
    datastores.add(workspace, DatastoreRecord(BUILT_IN, BLOB), overwrite=True)
    assert datastores.get(workspace, BUILT_IN).url == BLOB
    datastores.remove(workspace, BUILT_IN)
    assert datastores.get(workspace, BUILT_IN).url.startswith("file:")


@pytest.mark.parametrize("name", ["", "a-b", "a b", "a/b", "ä", "x" * 256])
def test_a_bad_name_is_refused(workspace: WorkspaceFolder, name: str) -> None:
    with pytest.raises(UserErrorException, match="no name for a datastore"):
        datastores.add(workspace, DatastoreRecord(name, "file:///x"))
    assert not workspace.datastores_path.exists()


def test_a_sas_in_the_url_is_refused_and_not_repeated(workspace: WorkspaceFolder) -> None:
    with pytest.raises(BadInputError, match="SAS") as caught:
        datastores.add(workspace, DatastoreRecord("data", BLOB + "?sv=2024&sig=hunter2"))
    assert "hunter2" not in str(caught.value)
    assert not workspace.datastores_path.exists()


def test_the_default_can_be_set_and_falls_back_when_its_datastore_goes(workspace: WorkspaceFolder) -> None:
    datastores.add(workspace, DatastoreRecord("data", "file:///x"))
    datastores.set_default(workspace, "DATA")
    assert datastores.default_name(workspace) == "data"
    datastores.remove(workspace, "data")
    assert datastores.default_name(workspace) == BUILT_IN
    for change in (datastores.set_default, datastores.remove, datastores.get):
        with pytest.raises(UnknownNameError, match=r"no datastore 'data' .* only: workspaceblobstore"):
            change(workspace, "data")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[datastores.x]\nurl = "file:///a"\ncredental = 1\n', "'datastores.x.credental'; did you mean 'credential'"),
        ("[datastores.x]\n", "'datastores.x.url': Field required"),
        (
            f'[datastores.x]\nurl = "file:///a"\n[datastores.x.credential]\nsecret = "{SECRET}"\n',
            "needs a reference, or",
        ),
        (
            '[datastores.x]\nurl = "file:///a"\n[datastores.x.credential]\nkind = "kee"\n',
            "datastores.x.credential.kind",
        ),
        (f'[datastores.x]\nurl = {SECRET}"\n', "not TOML"),
        ('[datastores."a b"]\nurl = "file:///a"\n', "'a b' is no name"),
    ],
)
def test_an_edited_file_is_named_with_its_key_and_never_its_values(
    workspace: WorkspaceFolder, text: str, said: str
) -> None:
    workspace.datastores_path.write_text(text)
    with pytest.raises(UserErrorException) as caught:
        datastores.load_all(workspace)
    assert said in str(caught.value)
    assert str(workspace.datastores_path) in str(caught.value)
    assert SECRET not in str(caught.value)


_ADD = """
import sys
from pathlib import Path
from runtime import datastores
from runtime.workspace import WorkspaceFolder
print("ready", flush=True)
sys.stdin.readline()
for number in range(10):
    record = datastores.DatastoreRecord(f"{sys.argv[2]}{number}", "file:///x")
    datastores.add(WorkspaceFolder(Path(sys.argv[1])), record)
"""


def test_processes_that_add_at_once_lose_nothing(workspace: WorkspaceFolder) -> None:
    others = [
        subprocess.Popen(
            [sys.executable, "-c", _ADD, str(workspace.path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b", "c")
    ]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    for other in others:
        assert other.stdin is not None
        other.stdin.write("go\n")
        other.stdin.flush()
    for other in others:
        other.communicate(timeout=60)
    assert [other.returncode for other in others] == [0, 0, 0]
    assert len(datastores.load_all(workspace)) == 31
