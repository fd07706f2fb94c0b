"""Rows in torch's own DataLoader: each once, whatever workers there are and however they are made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import Dataset, DataType, Workspace
from runtime.api.tabular_dataset import TabularDataset
from runtime.workspace import init

pytestmark = pytest.mark.full


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TabularDataset:
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(tmp_path / ".moorage"))
    Workspace.of(init(tmp_path / ".moorage"))
    (tmp_path / "in").mkdir()
    for file in range(4):
        lines = [f"{file},{row},t{row},{row / 2},{row % 2}" for row in range(300)]
        (tmp_path / "in" / f"{file}.csv").write_text("\n".join(["file,row,text,half,odd", *lines]))
    found: TabularDataset = Dataset.Tabular.from_delimited_files(
        str(tmp_path / "in"), set_column_types={"file": DataType.to_long()}
    )
    found.to_pandas_dataframe()  # the parent has read before the workers are made
    return found


def places(batches: Iterator[dict[str, Any]]) -> list[tuple[int, int]]:
    return [place for batch in batches for place in zip(batch["file"].tolist(), batch["row"].tolist(), strict=True)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than processors
@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("fork", 3), ("spawn", 2)])
def test_workers_share_the_rows(made: TabularDataset, method: str, workers: int) -> None:
    from torch.utils.data import DataLoader

    for dataset, count in ((made, 1_200), (made.skip(500), 700)):
        loader = DataLoader(dataset.to_torch(64), batch_size=None, num_workers=workers, multiprocessing_context=method)
        found = places(iter(loader))
        assert len(found) == len(set(found)) == count


def test_values_are_tensors_and_text_stays(made: TabularDataset) -> None:
    import torch
    from torch.utils.data import DataLoader

    batch = next(iter(made.to_torch(5)))
    assert batch["text"] == ["t0", "t1", "t2", "t3", "t4"]
    assert torch.equal(batch["half"], torch.tensor([0, 0.5, 1, 1.5, 2], dtype=torch.float64))
    assert batch["odd"].dtype == torch.bool
    rows = next(iter(DataLoader(made.to_torch(), batch_size=3)))
    assert torch.equal(rows["row"], torch.tensor([0, 1, 2]))
    assert [len(each["row"]) for each in made.take(10).to_torch(4)] == [4, 4, 2]


@pytest.mark.usefixtures("made")
def test_a_missing_number_is_nan(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,t\n7,\n,x\n")
    [batch] = Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv")).to_torch(9)
    assert batch["n"].isnan().tolist() == [False, True]
    assert batch["t"] == [None, "x"]
