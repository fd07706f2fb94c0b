from pathlib import Path

import pytest

from runtime import (
    Dataset,
    Experiment,
    LinkFileOutputDatasetConfig,
    LinkTabularOutputDatasetConfig,
    OutputFileDatasetConfig,
    ScriptRunConfig,
    Workspace,
)
from runtime.datasets import file
from runtime.errors import ActivityFailedException, DatasetValidationError, UserErrorException
from runtime.workspace import init


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.of(init(tmp_path / ".moorage"))


def ran(workspace: Workspace, folder: Path, script: str, *arguments: object) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(script)
    run = Experiment(workspace, "exp").submit(ScriptRunConfig(folder, "train.py", list(arguments)))
    run.wait_for_completion()
    return run.id


def test_an_output_is_read_as_rows_by_the_next_job(workspace: Workspace, tmp_path: Path) -> None:
    output = OutputFileDatasetConfig("table").as_upload()
    rows = output.read_delimited_files(path_glob="*.csv").drop_columns("c")
    halves = rows.random_split(0.5, seed=1)
    assert [half.name for half in halves] == ["table_1", "table_2"]
    assert (rows.as_input("x").mode, output.as_input("x").mode) == ("direct", "mount")
    with pytest.raises(UserErrorException, match="'table' was not produced yet"):
        rows.produced()
    script = "import sys\nopen(sys.argv[1] + '/a.csv', 'w').write('a,b,c\\n1,2,3\\n4,5,6\\n')\n"
    ran(workspace, tmp_path / "src", script, output)
    record = rows.produced(workspace.folder).saved_in(workspace.folder)
    definition = rows.produced().definition
    assert [str(path).rpartition("/")[2] for path in definition.paths] == ["*.csv"]
    assert (record.files, len(definition.steps), len(halves[1].produced().definition.steps)) == (1, 1, 2)


def test_a_partition_format_of_an_output_is_that_of_its_dataset(workspace: Workspace, tmp_path: Path) -> None:
    output = OutputFileDatasetConfig("parts", partition_format="/{year:yyyy}/{name}.txt").as_upload()
    script = "import os, sys\nos.mkdir(sys.argv[1] + '/2019')\nopen(sys.argv[1] + '/2019/x.txt', 'w').write('1')\n"
    run_id = ran(workspace, tmp_path / "src", script, output.register_on_complete("parts"))
    assert run_id
    assert Dataset.get_by_name(workspace, "parts").partition_keys == ["name", "year"]
    with pytest.raises(DatasetValidationError):
        OutputFileDatasetConfig("parts", partition_format="/{year:nonsense")


LINK = """
from runtime import Dataset, Run
run = Run.get_context()
run.output_datasets["picked"].link(Dataset.get_by_name(run.experiment.workspace, "all").take(1))
if "rows" in run.output_datasets:
    run.output_datasets["rows"].link(Dataset.Tabular.from_delimited_files("{data}").take(2))
"""


def test_a_linked_dataset_is_registered_when_the_job_has_succeeded(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    Dataset.File.from_files(str(tmp_path / "data")).register(workspace, "all")
    link = LinkFileOutputDatasetConfig("picked").register_on_complete("chosen")
    (tmp_path / "rows.csv").write_text("a\n5\n6\n7\n")
    rows = LinkTabularOutputDatasetConfig("rows").register_on_complete("rows")
    ran(workspace, tmp_path / "src", LINK.format(data=tmp_path / "rows.csv"), link, rows)
    assert file.resolve(workspace.folder, "chosen").files == 1
    assert Dataset.get_by_name(workspace, "rows").to_pandas_dataframe()["a"].tolist() == [5, 6]
    with pytest.raises(ActivityFailedException, match=r"output 'picked': not whole .* log is ") as failed:
        ran(workspace, tmp_path / "src", "pass", link)
    assert "nothing was linked" in Path(str(failed.value).rpartition("log is ")[2]).read_text("utf-8")
    with pytest.raises(UserErrorException, match=r"take \(workspace, 'NAME'\)"):
        link.as_input("x").spec_in(workspace.folder)


def test_copies_of_an_output_share_which_run_made_it(workspace: Workspace, tmp_path: Path) -> None:
    output = OutputFileDatasetConfig("o")
    uploaded = output.as_upload()
    run_id = ran(workspace, tmp_path / "src", "import sys\nopen(sys.argv[1] + '/a', 'w').write('1')\n", uploaded)
    assert str(output.produced().definition.paths[0]).endswith(f"/dataset/{run_id}/o/")
