"""`import runtime` costs nothing, and works where POSIX does not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import runtime

_HEAVY = (
    "sqlalchemy",
    "alembic",
    "psycopg",
    "obstore",
    "azure",
    "pydantic",
    "pandas",
    "rich",
    "trio",
    "click",
    "numpy",
)
_HIDE = """
import sys
for name in ("fcntl", "pwd", "grp", "termios", "resource"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError, as where it does not exist
import os
for name in ("fork", "forkpty", "O_DIRECT", "memfd_create", "setsid", "preadv"):
    if hasattr(os, name):
        delattr(os, name)
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_runtime_loads_nothing_heavy() -> None:
    loaded = {
        module.partition(".")[0] for module in ast.literal_eval(run("import sys, runtime; print(sorted(sys.modules))"))
    }
    assert "runtime" in loaded
    assert loaded.isdisjoint(_HEAVY)


def test_the_rooms_load_what_is_heavy_when_it_is_needed() -> None:
    rooms = "runtime.datastores, runtime.catalog, runtime.datasets.file, runtime.workspace, runtime.api.dataset"
    code = f"import sys, {rooms}, runtime.api.workspace, runtime.api.datastore; print(sorted(sys.modules))"
    loaded = {module.partition(".")[0] for module in ast.literal_eval(run(code))}
    assert loaded.isdisjoint(_HEAVY)


def test_help_loads_no_database() -> None:
    for arguments in (
        ["--help"],
        ["dataset", "--help"],
        ["dataset", "register", "--help"],
        ["datastore", "add", "--help"],
    ):
        code = f"import sys\nfrom runtime.cli import call\nassert call({arguments}) == 0\nprint(sorted(sys.modules))"
        loaded = {module.partition(".")[0] for module in ast.literal_eval(run(code).splitlines()[-1])}
        assert loaded.isdisjoint({*_HEAVY, "sqlite3"} - {"click"}), arguments


@pytest.mark.parametrize("name", runtime.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(runtime)
    assert getattr(runtime, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Wrkspace'"):
        runtime.Wrkspace  # noqa: B018 # the point


def test_data_can_be_registered_and_downloaded_where_posix_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("content")
    code = f"""{_HIDE}
from pathlib import Path
import runtime, runtime.cli, runtime.cli.data, runtime.cli.dataset
from runtime import Dataset, Workspace
from runtime.workspace import init
root = Path(sys.argv[1])
workspace = Workspace.of(init(root / ".moorage"))
registered = Dataset.File.from_files(str(root / "data")).register(workspace, "d")
print(registered.version, registered.to_path(), registered.download(root / "target"))
"""
    target = tmp_path / "target" / "a.txt"
    assert run(code, str(tmp_path)).strip() == f"1 ['/a.txt'] ['{target}']"
    assert target.read_text() == "content"


@pytest.mark.parametrize("gone", ["fork", "fcntl"])
def test_the_hiding_hides(gone: str) -> None:
    code = (
        f"{_HIDE}\ntry:\n  import fcntl\nexcept ImportError: print('fcntl')\nif not hasattr(os, 'fork'): print('fork')"
    )
    assert gone in run(code).split()
