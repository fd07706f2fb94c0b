"""A job's command uses the workspace's stores through the helper, though it has no credential, and leaves none of it."""

import os
import signal
import sys
from pathlib import Path

import pytest

from mountd import records
from mountd.processes import ProcessId
from mountd.stores.credentials import Credential
from runtime.datasets import file
from runtime.datasets.paths import DatasetPath, parse_all
from runtime.datastores import DatastoreRecord, add, reaching
from runtime.workspace import WorkspaceFolder
from tests.runtime.job.jobs import is_gone, make_workspace, moorage, register_folder, start
from tests.support.azurite import KEY, Azurite
from tests.support.content import content, make_tree
from tests.support.waiting import until

SCRIPT = """
import os, sys
from pathlib import Path
from runtime import Dataset, Datastore, Workspace

assert "STORE_KEY" not in os.environ and sys.argv[1][::-1] not in str(os.environ)
workspace = Workspace.from_config()
store = Datastore(workspace, "store")
data = Dataset.get_by_name(workspace, "data")
assert data.to_path() == ["/a", "/b"], data.to_path()
for path in data.download("copy"):
    print(path, Path(path).stat().st_size)
Path("new").mkdir()
Path("new/c").write_bytes(b"of the job")
store.upload_files(["new/c"], target_path="up")
made = Dataset.File.from_files((store, "up")).register(workspace, "made")
assert made.to_path() == ["/c"], made.to_path()
assert store.download("back", prefix="up") == 1
assert Path("back/up/c").read_bytes() == b"of the job"
print("done")
"""


@pytest.fixture
def workspace(tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> WorkspaceFolder:
    made = make_workspace(tmp_path)
    name = f"helper-job-{os.getpid()}-{tmp_path.name}".replace("_", "-").lower()[:60].rstrip("-0")
    url = azurite.make_container(name)
    for key in ("in/a", "in/b"):
        azurite.put(name, key, content(key, 0, 100_000))
    monkeypatch.setenv("STORE_KEY", KEY)
    add(made, DatastoreRecord("store", url, Credential("key", ""), "env:STORE_KEY"))
    definition = file.FileDefinition((DatasetPath("store", "in/"),))
    file.register(made, "data", definition)
    return made


def addresses() -> set[Path]:
    """Where helpers are, those of other tests among them."""
    return set((records.runtime_folder() / "helpers").glob("*"))


@pytest.mark.alone
@pytest.mark.azurite
def test_a_job_without_a_credential_downloads_uploads_and_registers(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    before = addresses()
    done = moorage(workspace, "run", "--", sys.executable, "script.py", KEY[::-1], cwd=tmp_path)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-1] == "done"
    assert (tmp_path / "copy" / "b").read_bytes() == content("in/b", 0, 100_000)
    assert (tmp_path / "copy" / "b").stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert file.find_record(workspace, "made").files == 1
    assert KEY not in done.stdout + done.stderr
    assert addresses() <= before


@pytest.mark.azurite
def test_without_a_helper_such_a_job_is_told_what_it_lacks(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    script = "from runtime import *; Dataset.get_by_name(Workspace.from_config(), 'data').download('x')"
    line = f"import os; os.environ.pop('MOORAGE_HELPER'); {script}"
    done = moorage(workspace, "run", "--", sys.executable, "-c", line, cwd=tmp_path)
    assert done.returncode == 1
    assert "STORE_KEY" in done.stderr


KILLED = """
import os, signal, sys
from pathlib import Path
from mountd.client.helper import Helper
helper = Helper(os.environ["MOORAGE_HELPER"])
with helper.open(Path(sys.argv[1])) as files:
    for round in range(3):
        pid = helper.status()["pid"]
        assert len(files.read(files.entry("a/0.bin"), 0, 100_000)) == 100_000
        os.kill(pid, signal.SIGKILL)
        assert len(files.read(files.entry("a/0.bin"), 0, 100_000)) == 100_000
        assert helper.status()["pid"] != pid
print(helper.status()["pid"], flush=True)
if len(sys.argv) > 2:
    signal.pause()
"""


def test_the_launcher_replaces_a_killed_helper_and_ends_it_with_the_job(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    register_folder(workspace, "data", tmp_path / "tree")
    manifest = file.resolve(workspace, "data").manifest
    done = moorage(workspace, "run", "--", sys.executable, "-c", KILLED, str(manifest))
    assert done.returncode == 0, done
    assert is_gone(int(done.stdout))


@pytest.mark.alone
def test_a_killed_launcher_leaves_no_helper(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    register_folder(workspace, "data", tmp_path / "tree")
    manifest, before = file.resolve(workspace, "data").manifest, addresses()
    with start(workspace, "run", "--", sys.executable, "-c", KILLED, str(manifest), "stay") as process:
        assert process.stdout is not None
        helper = int(process.stdout.readline())
        assert ProcessId.of(helper).is_alive()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
        until(lambda: is_gone(helper), what="the end of the helper")
        until(lambda: addresses() <= before, what="the end of its address")
        process.stdout.read()  # until its child is gone, too


def test_a_program_outside_of_a_job_has_a_helper_of_its_own(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    tree = make_tree(tmp_path / "tree", {"x": 50_000})
    frozen = file.freeze_definition(workspace, file.FileDefinition(parse_all(str(tree))))
    try:
        with reaching.open_files(workspace, frozen) as files:
            assert files.read(files.entry("x"), 100, 50_000) == content("x", 100, 49_900)
            assert files.helper.status()["pid"] != os.getpid()
    finally:
        assert reaching._own is not None
        reaching._own.close()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
