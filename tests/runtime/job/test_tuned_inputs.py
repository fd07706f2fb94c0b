"""v1's variables around a job: its mounts go by them, and a value that is none ends it before the command."""

import json
import sys
from pathlib import Path

import pytest

from mountd import client
from tests.runtime.job.jobs import make_workspace, moorage, only_run, register_folder

ASK = """
import json, os, pathlib
from mountd import client
print(json.dumps(client.status(pathlib.Path(os.environ["data"]))["memory"]))
"""


@pytest.mark.fuse
def test_a_jobs_mounts_go_by_v1s_variables(tmp_path: Path) -> None:
    if (reason := client.why_no_fuse()) is not None:
        pytest.skip(reason)
    workspace = make_workspace(tmp_path)
    register_folder(workspace, "data", tmp_path / "files", {"a/0.bin": 10})
    told = {"DATASET_MOUNT_MEMORY_CACHE_SIZE": "16MiB"}
    run = moorage(workspace, "run", "--input", "data=data", "--", sys.executable, "-c", ASK, variables=told)
    assert (run.returncode, json.loads(run.stdout)["limit_bytes"]) == (0, 16 << 20)


@pytest.mark.parametrize("mode", ["mount", "download"])
def test_a_value_that_is_none_is_one_line_and_the_command_never_runs(tmp_path: Path, mode: str) -> None:
    if mode == "mount" and client.why_no_fuse() is not None:
        pytest.skip("no FUSE, so nothing is mounted")
    workspace = make_workspace(tmp_path)
    register_folder(workspace, "data", tmp_path / "files", {"a/0.bin": 10})
    told = {"DATASET_MOUNT_CACHE_SIZE": "lots", "RSLEX_DOWNLOADER_THREADS": "many"}
    run = moorage(workspace, "run", "--input", f"data=data:{mode}", "--", "touch", "ran", variables=told)
    assert run.returncode == 64 + 3
    wrong = "DATASET_MOUNT_CACHE_SIZE: 'lots'" if mode == "mount" else "RSLEX_DOWNLOADER_THREADS: 'many'"
    assert [line for line in run.stderr.splitlines() if wrong in line]
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "ran").exists()
    assert only_run(workspace).exit_code == 64 + 3
