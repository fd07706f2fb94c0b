"""A job whose data lies in a Data Lake: its input is mounted from there, its output uploaded there and registered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import Dataset, Datastore, Workspace
from tests.runtime.job.jobs import make_workspace, moorage, only_run
from tests.support.content import content
from tests.support.datalake_server import KEY, DataLakeServer

CODE = (
    "import pathlib, shutil, sys; source, target = map(pathlib.Path, sys.argv[1:]);"
    "[shutil.copytree(source, target / name) for name in ('one', 'two')]"
)


@pytest.fixture
def server() -> Iterator[DataLakeServer]:
    with DataLakeServer.start() as server:
        server.make("lake")
        for path, size in {"in/a": 10, "in/sub dir/b": 300_000, "in/sub dir/zero": 0}.items():
            server.put("lake", path, content(path, 0, size))
        yield server


@pytest.mark.fuse
def test_a_job_reads_and_writes_a_data_lake(server: DataLakeServer, tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    (tmp_path / "key").write_text(KEY)
    added = moorage(workspace, "datastore", "add", "lake", server.url("lake"), "--credential", f"file:{tmp_path}/key")
    assert added.returncode == 0, added.stderr
    assert Datastore.get(Workspace.of(workspace), "lake").datastore_type == "AzureDataLakeGen2"
    assert moorage(workspace, "dataset", "register", "data", "lake/in/").returncode == 0
    job = ("--input", "data=data:mount", "--output", "out=lake/runs/{run-id}:upload:register=copied")
    done = moorage(workspace, "run", *job, "--", "python", "-c", CODE, "{inputs.data}", "{outputs.out}")
    assert done.returncode == 0, done.stderr
    start = f"runs/{only_run(workspace).run_id}/"
    nodes = server.account.filesystems["lake"].nodes
    written = {path.removeprefix(start): node.data for path, node in nodes.items() if path.startswith(start)}
    for copy in ("one", "two"):
        assert written[f"{copy}/sub dir/b"] == content("in/sub dir/b", 0, 300_000)
        assert written[f"{copy}/sub dir/zero"] == b""
    assert not any("partial" in path for path in nodes)
    assert moorage(workspace, "dataset", "download", "copied", "got").returncode == 0
    assert (tmp_path / "got/two/a").read_bytes() == content("in/a", 0, 10)


def test_paths_of_v1_name_files_folders_and_patterns(
    server: DataLakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(make_workspace(tmp_path).path))
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    url = server.url("lake")

    def paths(*below: str) -> list[str]:
        return Dataset.File.from_files([url + each for each in below]).to_path()

    assert paths("in") == paths("in/") == paths("in/**") == ["/a", "/sub dir/b", "/sub dir/zero"]
    assert paths("in/a") == ["/a"]
    assert paths("in/*/b") == paths("in/**/b") == ["/sub dir/b"]
    assert paths("in/sub%20dir/b", "in/a") == ["/a", "/sub dir/b"]
