"""Scripts and notebooks in the style of v1, by `moorage v1` and `moorage run --v1`."""

import json
import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest

from runtime import Dataset, Workspace
from runtime.job import runs
from runtime.workspace import WorkspaceFolder
from tests.runtime.job import jobs
from tests.support.content import make_tree
from tests.support.waiting import until


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return jobs.make_workspace(tmp_path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def write_notebook(path: Path, *cells: str) -> Path:
    code: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": textwrap.dedent(cell)}
        for cell in cells
    ]
    heading: dict[str, Any] = {"cell_type": "markdown", "metadata": {}, "source": "# Title"}
    spec = {"kernelspec": {"name": "nobody-has-this", "display_name": "?", "language": "python"}}
    document = {"cells": [heading, *code], "metadata": spec, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(document))
    return path


SUBMITS = """
    import sys
    import azureml.core
    from azureml.core import Dataset, Experiment, ScriptRunConfig, Workspace
    from azureml.data import OutputFileDatasetConfig
    from azureml.widgets import RunDetails
    ws = Workspace.from_config()
    store = ws.get_default_datastore()
    store.upload_files(["data/a.txt"], target_path="in/", overwrite=True)
    data = Dataset.File.from_files((store, "in/a.txt")).as_named_input("given").as_mount()
    out = OutputFileDatasetConfig("made", (store, "out/{run-id}")).as_upload().register_on_complete("made")
    config = ScriptRunConfig("src", "train.py", [data, out])
    run = Experiment(ws, "exp").submit(config)
    RunDetails(run).show()
    run.wait_for_completion(show_output=True)
    print(sys.argv[1:], Dataset.get_by_name(ws, "made").version)
    sys.exit(7)
"""
TRAINS = """
    import os, sys
    from azureml.core import Run
    from azureml.core.run import _OfflineRun
    run = Run.get_context()
    assert not isinstance(run, _OfflineRun)
    assert run.input_datasets["given"] == sys.argv[1] and os.path.isfile(sys.argv[1])
    open(os.path.join(sys.argv[2], "copy"), "wb").write(open(sys.argv[1], "rb").read())
    print("trained in", run.experiment.name)
"""


@pytest.mark.fuse
def test_a_script_runs_unchanged_and_so_do_the_jobs_that_it_submits(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    make_tree(tmp_path / "data", {"a.txt": 500})
    write(tmp_path / "src" / "train.py", TRAINS)
    write(tmp_path / "submit.py", SUBMITS)
    done = jobs.moorage(workspace, "v1", "submit.py", "--epochs", "3")
    assert done.returncode == 7, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["trained in exp", "['--epochs', '3'] 1"]
    (path,) = Dataset.get_by_name(Workspace.of(workspace), "made").download(tmp_path / "fetched")
    assert Path(path).read_bytes() == (tmp_path / "data" / "a.txt").read_bytes()


def test_a_command_under_run_has_the_names_only_when_asked(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    write(
        tmp_path / "in_job.py", "import azureml.core, azureml.core.run as r; print(r.Run.get_context().experiment.name)"
    )
    command = ("--experiment", "exp", "--", "python", "in_job.py")
    done = jobs.moorage(workspace, "run", "--v1", *command)
    assert (done.returncode, done.stdout) == (0, "exp\n"), done.stderr
    without = jobs.moorage(workspace, "run", *command)
    assert without.returncode == 1
    assert "No module named 'azureml'" in without.stderr


def test_a_script_that_cannot_be_run_is_one_line(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "map.toml", '"https://a/" = 3\n')
    write(tmp_path / "fine.py", "print('not reached')")
    write(tmp_path / "not.ipynb", "{")
    for arguments, code, said in (
        (("no.py",), 4, "no.py: no such script or notebook"),
        (("folder",), 4, "folder: a folder; name the script in it"),
        (("--url-map", "map.toml", "fine.py"), 3, "'https://a/' is no beginning of a URL"),
        (("--url-map", "none.toml", "fine.py"), 3, "none.toml: No such file or directory"),
        (("not.ipynb",), 3, "not.ipynb: not a notebook"),
        (("-o", "x.ipynb", "fine.py"), 2, "-o is for notebooks"),
    ):
        done = jobs.moorage(workspace, "v1", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_signal_reaches_the_script_itself(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    write(
        tmp_path / "waits.py",
        """
        import pathlib, signal
        pathlib.Path("begun").touch()
        signal.pause()
        """,
    )
    with jobs.start(workspace, "v1", "waits.py") as process:
        until((tmp_path / "begun").exists, deadline_s=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM


def test_a_script_that_names_a_public_url_reads_its_copy(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    make_tree(tmp_path / "copy", {"2019/a.csv": 10, "2019/b.csv": 20, "2020/c.csv": 30})
    write(
        tmp_path / "map.toml",
        f"""
        "https://public.example.org/weather/" = "{tmp_path}/copy/"
        "https://public.example.org/" = "/nowhere/"
        """,
    )
    write(
        tmp_path / "reads.py",
        """
        from azureml.core import Dataset, Workspace
        ws = Workspace.from_config()
        several = Dataset.File.from_files("https://public.example.org/weather/*/*.csv")
        print(several.register(ws, "weather").to_path())
        print(Dataset.File.from_files(["https://public.example.org/weather/2020/c.csv"]).download("here"))
        """,
    )
    done = jobs.moorage(workspace, "v1", "--url-map", "map.toml", "reads.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "['/2019/a.csv', '/2019/b.csv', '/2020/c.csv']",
        f"['{tmp_path}/here/c.csv']",
    ]
    # Without the map, the registered version is still what it was, and says where it was read from.
    again = Dataset.get_by_name(Workspace.of(workspace), "weather")
    assert f"https://public.example.org/weather/*/*.csv (read from file://{tmp_path}/copy/*/*.csv)" in repr(again)
    shown = jobs.moorage(workspace, "dataset", "show", "weather")
    assert f'"mapped": "file://{tmp_path}/copy/*/*.csv"' in shown.stdout


def test_a_notebook_is_executed_in_its_folder_with_magics_and_its_output_printed(
    workspace: WorkspaceFolder, tmp_path: Path
) -> None:
    (tmp_path / "books").mkdir()
    path = write_notebook(
        tmp_path / "books" / "one.ipynb",
        "import azureml.core\nfolder = 'made'\n!mkdir -p $folder\nprint('first cell')",
        "%%writefile $folder/train.py\nprint('from the job')",
        """
        from azureml.core import Experiment, ScriptRunConfig, Workspace
        ws = Workspace.from_config()
        run = Experiment(ws, "exp").submit(ScriptRunConfig(folder, "train.py"))
        run.wait_for_completion(show_output=True)
        1 + 41
        """,
    )
    before = path.read_bytes()
    done = jobs.moorage(workspace, "v1", str(path), "-o", "out.ipynb")
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[0] == "first cell"
    assert told[-2:] == ["from the job", "42"]
    assert path.read_bytes() == before
    outputs = [cell.get("outputs") for cell in json.loads((tmp_path / "out.ipynb").read_text())["cells"]]
    assert outputs[1][0]["text"] == ["first cell\n"]
    assert outputs[3][-1]["data"]["text/plain"] == ["42"]
    assert jobs.only_run(workspace).status in runs.FINAL


def test_a_notebook_ends_at_the_cell_that_fails_and_says_which(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    write_notebook(tmp_path / "bad.ipynb", "print('before')", "raise ValueError('two\\nlines')", "print('never')")
    done = jobs.moorage(workspace, "v1", "-o", "out.ipynb", "bad.ipynb")
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr.splitlines()[-1] == "moorage: bad.ipynb: cell 3: ValueError: two lines"
    assert "before" in (tmp_path / "out.ipynb").read_text()
    write_notebook(tmp_path / "dies.ipynb", "print('before')", "import os; os._exit(1)")
    done = jobs.moorage(workspace, "v1", "dies.ipynb")
    assert done.returncode == 3
    assert "dies.ipynb: cell 3: its kernel died" in done.stderr.splitlines()[-1]


def test_without_nbclient_a_notebook_says_what_to_install(workspace: WorkspaceFolder, tmp_path: Path) -> None:
    write_notebook(tmp_path / "one.ipynb", "print(1)")
    write(tmp_path / "without" / "nbclient.py", "raise ImportError('No module named nbclient', name='nbclient')")
    path = os.pathsep.join([str(tmp_path / "without"), str(Path(__file__).parents[3])])
    done = jobs.moorage(workspace, "v1", "one.ipynb", variables={"PYTHONPATH": path})
    assert done.returncode == 3
    assert done.stderr == "moorage: a notebook needs nbclient; pip install 'moorage[notebooks]'\n"
