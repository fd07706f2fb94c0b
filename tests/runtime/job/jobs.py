"""Jobs for tests: a workspace with a dataset, the command line as a process, and what may be left of a job."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.datasets import file
from runtime.datasets.paths import parse_all
from runtime.job import runs
from runtime.job.runs import RunRecord
from runtime.workspace import WorkspaceFolder, init
from tests.support.content import make_tree

MOORAGE = [sys.executable, "-P", "-c", "from runtime.cli import main; main()"]
FILES = {"a/0.bin": 100_000, "a/1.bin": 1, "b.bin": 4096}


def make_workspace(folder: Path) -> WorkspaceFolder:
    return init(folder / ".moorage")


def register_folder(workspace: WorkspaceFolder, name: str, folder: Path, sizes: Mapping[str, int] = FILES) -> None:
    make_tree(folder, dict(sizes))
    file.register(workspace, name, file.FileDefinition(parse_all(str(folder))))


def environment(workspace: WorkspaceFolder, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "AZURE"))}
    ours = {"MOORAGE_WORKSPACE": str(workspace.path), "PYTHONPATH": str(Path(__file__).parents[3])}
    return {**kept, **ours, **(variables or {})}


def start(
    workspace: WorkspaceFolder, *arguments: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*MOORAGE, *arguments],
        cwd=cwd or workspace.path.parent,
        env=environment(workspace, variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def moorage(
    workspace: WorkspaceFolder, *arguments: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    with start(workspace, *arguments, cwd=cwd, variables=variables) as process:
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def only_run(workspace: WorkspaceFolder) -> RunRecord:
    (record,) = runs.read_all(workspace)
    return record


def shown(workspace: WorkspaceFolder, run_id: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(moorage(workspace, "runs", "show", run_id, "--json").stdout)
    return document


def marked(run_id: str) -> list[str]:
    """The processes that carry the mark of this run, as `pid: command`, zombies excluded."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"MOORAGE_RUN_ID={run_id}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(f"{folder.name}: {(folder / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    return found


def mounts_below(folder: Path) -> list[str]:
    """Mount points in `folder`, dead ones included."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    plain = [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point) for point in points]
    return [point for point in plain if point.startswith(f"{folder}/")]


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"
