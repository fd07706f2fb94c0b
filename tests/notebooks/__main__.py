"""The runner of public notebooks: each in a copy of its folder, in a workspace of its own, by `moorage v1`.

    python -m tests.notebooks CHECKOUT [WORD...]      only those whose name holds one of the words

A notebook passes when every cell ran, and what it should have left is there. One whose libraries are not installed is told,
and fails nothing.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.datasets.file import find_record
from runtime.job import runs
from runtime.workspace import WorkspaceFolder, init
from tests.notebooks import standins

_MOORAGE = [sys.executable, "-P", "-c", "from runtime.cli import main; main()"]
_ROOT = Path(__file__).parents[2]
_DEADLINE_S = 1800.0
_USAGE = 2


@dataclass(frozen=True, slots=True)
class Notebook:
    """One notebook: where it lies, what it needs, and what is right at its end (None, or what is wrong)."""

    path: str
    prepare: standins.Prepare
    check: Callable[[WorkspaceFolder, Path], str | None]
    needs: tuple[str, ...] = ()


def _copied_iris(workspace: WorkspaceFolder, folder: Path) -> str | None:
    made = workspace.blobstore_path / "sample" / "outputdataset" / "output.csv"
    if not made.is_file():
        return f"{made} is not there"
    return None if made.read_bytes() == (folder / "iris.csv").read_bytes() else f"{made} holds something else"


def _three_steps(workspace: WorkspaceFolder, folder: Path) -> str | None:
    del folder
    found = sorted(record.status for record in runs.read_all(workspace))
    return None if found == ["Completed"] * 4 else f"the runs of the pipeline and its steps are {found}"


def _all_completed(workspace: WorkspaceFolder, folder: Path) -> str | None:
    del folder
    found = [record.status for record in runs.read_all(workspace)]
    return None if found and set(found) == {"Completed"} else f"the runs are {found}"


def _weather_is_registered(workspace: WorkspaceFolder, folder: Path) -> str | None:
    del folder
    record = find_record(workspace, "weather-data-florida")
    return (
        None
        if (record.version, record.files) == (1, 10)
        else f"it registered version {record.version}, {record.files} files"
    )


_DATA = "how-to-use-azureml/work-with-data/datasets-tutorial"
_PIPELINES = "how-to-use-azureml/machine-learning-pipelines/intro-to-pipelines"
_DISTRIBUTED = "how-to-use-azureml/ml-frameworks/pytorch/distributed-pytorch-with-distributeddataparallel"
NOTEBOOKS = (
    Notebook(f"{_DATA}/scriptrun-with-data-input-output/how-to-use-scriptrun.ipynb", standins.nothing, _copied_iris),
    Notebook(
        f"{_DATA}/train-with-datasets/train-with-datasets.ipynb",
        standins.nothing,
        _all_completed,
        ("sklearn", "pandas", "packaging"),
    ),
    Notebook(
        f"{_DATA}/timeseries-datasets/tabular-timeseries-dataset-filtering.ipynb",
        standins.nothing,
        _weather_is_registered,
        ("pandas", "pyarrow"),
    ),
    Notebook(f"{_PIPELINES}/aml-pipelines-with-data-dependency-steps.ipynb", standins.titanic, _three_steps),
    Notebook(
        f"{_DISTRIBUTED}/distributed-pytorch-with-distributeddataparallel.ipynb",
        standins.cifar,
        _all_completed,
        ("torch", "torchvision"),
    ),
)


def run(checkout: Path, notebook: Notebook) -> str | None:
    """Run one notebook; None, or what went wrong."""
    source = checkout / notebook.path
    if not source.is_file():
        return f"{source} is not there"
    with tempfile.TemporaryDirectory(prefix="notebook-") as made:
        folder = Path(made) / source.parent.name
        shutil.copytree(source.parent, folder)
        workspace = init(Path(made) / ".moorage")
        config = dict.fromkeys(("subscription_id", "resource_group"), "none") | {
            "workspace_name": workspace.identity().name
        }
        (folder / "config.json").write_text(json.dumps(config))
        notebook.prepare(folder, workspace.blobstore_path)
        (Path(made) / "first").mkdir()
        (Path(made) / "first" / "sitecustomize.py").write_text(standins.PATCH)
        path = os.pathsep.join([str(Path(made) / "first"), str(_ROOT)])
        environ = {**os.environ, "PYTHONPATH": path, "MOORAGE_WORKSPACE": str(workspace.path)}
        command = [*_MOORAGE, "v1", source.name]
        done = subprocess.run(command, cwd=folder, env=environ, timeout=_DEADLINE_S, check=False)
        if done.returncode:
            return f"exit code {done.returncode}"
        return notebook.check(workspace, folder)


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments name; 1 where a notebook failed."""
    if not arguments or not Path(arguments[0]).is_dir():
        print("tests.notebooks: name the folder of a checkout: make test-notebooks DIR=...", file=sys.stderr)  # noqa: T201 # a command
        return _USAGE
    words = arguments[1:]
    verdicts: list[str] = []
    for notebook in NOTEBOOKS:
        name = Path(notebook.path).stem
        if words and not any(word in name for word in words):
            continue
        if missing := [each for each in notebook.needs if importlib.util.find_spec(each) is None]:
            verdicts.append(f"not run  {name}: install {', '.join(missing)}")
            continue
        wrong = run(Path(arguments[0]), notebook)
        verdicts.append(f"failed   {name}: {wrong}" if wrong else f"passed   {name}")
    print("\n".join(verdicts))  # noqa: T201 # a command
    return int(any(verdict.startswith("failed") for verdict in verdicts) or not verdicts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
