"""Tabular datasets that leave: in parts, to other libraries, and as the files that a column names."""

import importlib.util
import multiprocessing
import pickle
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from runtime import Dataset, DataType, Workspace
from runtime.api.shared_rows import SharedRows
from runtime.api.tabular_dataset import TabularDataset
from runtime.datasets.tabular import partitioning
from runtime.datastores import reaching
from runtime.errors import DatasetValidationError, UserErrorException
from runtime.workspace import init
from tests.support.http_server import HttpServer

at = datetime.fromisoformat


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(tmp_path / ".moorage"))
    return Workspace.of(init(tmp_path / ".moorage"))


def table(folder: Path, files: int = 3, rows: int = 40) -> TabularDataset:
    (folder / "in").mkdir()
    for number in range(files):
        lines = [f"{number},{row},t{row % 3},2020-01-0{row % 4 + 1},{row % 2 == 0}" for row in range(rows)]
        (folder / "in" / f"{number}.csv").write_text("\n".join(["file,row,text,day,even", *lines]))
    types = {"file": DataType.to_long(), "row": DataType.to_long()}
    made: TabularDataset = Dataset.Tabular.from_delimited_files(str(folder / "in"), set_column_types=types)
    return made


def sorted_rows(frame: pd.DataFrame) -> list[Any]:
    columns = ["file", "row", "text", "day", "even"]
    return sorted(frame[columns].itertuples(index=False, name=None))


class TestPartitionBy:
    @pytest.mark.parametrize("keys", [["text"], ["day"], ["file", "day", "even"]])
    def test_the_rows_come_back_with_their_types(self, tmp_path: Path, workspace: Workspace, keys: list[str]) -> None:
        made = table(tmp_path)
        parts = made.partition_by(keys, (workspace.get_default_datastore(), "parts"), name="parts")
        assert isinstance(parts, TabularDataset)
        assert (parts.name, parts.version, sorted(parts.partition_keys)) == ("parts", 1, sorted(keys))
        frame, before = parts.to_pandas_dataframe(), made.to_pandas_dataframe()
        assert frame.dtypes.to_dict() == before.dtypes.to_dict()
        assert sorted_rows(frame) == sorted_rows(before)
        values = parts.get_partition_key_values()
        assert len(values) == len(before[keys].drop_duplicates())

    def test_folders_are_called_by_values_alone(self, tmp_path: Path, workspace: Workspace) -> None:
        store = workspace.get_default_datastore()
        parts = table(tmp_path).partition_by(["day", "text"], (store, "p"), partition_as_file_dataset=True)
        root = next((workspace.folder.blobstore_path / "p").iterdir())
        assert len(root.name) == 32
        found = {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}
        assert len(found) == 12
        assert "20200101000000/t0/part.parquet" in found
        assert {row["text"] for row in parts.get_partition_key_values()} == {"t0", "t1", "t2"}

    def test_many_folders_are_written_with_few_files_open(
        self, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(partitioning, "_OPEN", 2)
        monkeypatch.setattr(partitioning, "_WAITING_BYTES", 100)
        made = table(tmp_path)
        parts = made.partition_by(["row"], workspace.get_default_datastore())
        assert isinstance(parts, TabularDataset)
        assert sorted_rows(parts.to_pandas_dataframe()) == sorted_rows(made.to_pandas_dataframe())

    @pytest.mark.parametrize(
        ("text", "message"),
        [("a,b\nx/y,1\n", "no folder can stand for 'x/y'"), ("a,b\nx,1\n,2\n", "has rows without a value")],
    )
    def test_what_no_folder_can_be_called_is_told_and_nothing_is_stored(
        self, tmp_path: Path, workspace: Workspace, text: str, message: str
    ) -> None:
        (tmp_path / "a.csv").write_text(text)
        made = Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv"))
        with pytest.raises(UserErrorException, match=message):
            made.partition_by("a", (workspace.get_default_datastore(), "p"))
        assert not (workspace.folder.blobstore_path / "p").exists()

    @pytest.mark.parametrize(
        ("keys", "message"),
        [([], "at least one key"), (["no"], "no column 'no'; there are"), (["text", "text"], "stands twice")],
    )
    def test_keys_are_columns(self, tmp_path: Path, workspace: Workspace, keys: list[str], message: str) -> None:
        with pytest.raises(UserErrorException, match=message):
            table(tmp_path).partition_by(keys, workspace.get_default_datastore())


class TestShares:
    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    @pytest.mark.parametrize("taken", [None, 100])
    def test_each_row_is_in_one_share(self, tmp_path: Path, count: int, taken: int | None) -> None:
        made = table(tmp_path)
        made = made.take(taken) if taken else made
        found = [row["file"] * 100 + row["row"] for share in range(count) for row in _rows(made, (share, count))]
        assert sorted(found) == sorted(row["file"] * 100 + row["row"] for row in _rows(made, (0, 1)))

    def test_files_of_others_are_not_opened(self, tmp_path: Path) -> None:
        made = table(tmp_path, rows=250)  # the first one tells the types
        assert made.schema
        for other in ("1.csv", "2.csv"):
            (tmp_path / "in" / other).unlink()
        assert {row["file"] for row in _rows(made, (0, 3))} == {0}

    def test_they_travel_to_another_process(self, tmp_path: Path) -> None:
        made = table(tmp_path)
        sent = pickle.loads(pickle.dumps(made._shared()))  # noqa: S301 # our own
        assert isinstance(sent, SharedRows)
        assert sorted_rows(sent.to_pandas((0, 1))) == sorted_rows(made.to_pandas_dataframe())


def _rows(made: TabularDataset, share: tuple[int, int]) -> list[dict[str, Any]]:
    return [row for batch in made.to_batches(share=share) for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("method", "module", "message"),
    [
        ("to_torch", "torch", "torch is not installed: pip install 'torch'"),
        ("to_dask_dataframe", "dask", r"dask is not installed: pip install 'dask\[dataframe\]'"),
        ("to_spark_dataframe", "pyspark", r"pyspark is not installed: pip install 'moorage\[spark\]'"),
    ],
)
def test_a_library_that_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, module: str, message: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith(module) else real(name, *rest)
    )
    with pytest.raises(UserErrorException, match=message):
        getattr(table(tmp_path), method)()


class TestStreams:
    @pytest.fixture
    def pictures(self, tmp_path: Path, workspace: Workspace) -> TabularDataset:
        store = workspace.get_default_datastore()
        for name in ("a", "b"):
            (workspace.folder.blobstore_path / "pictures").mkdir(exist_ok=True, parents=True)
            (workspace.folder.blobstore_path / "pictures" / f"{name}.png").write_text(name)
        paths = [f"AmlDatastore://{store.name}/pictures/{name}.png" for name in ("a", "b", "gone", "a")]
        (tmp_path / "p.csv").write_text("\n".join(["picture,n", *(f"{path},{at}" for at, path in enumerate(paths))]))
        made: TabularDataset = Dataset.Tabular.from_delimited_files(
            str(tmp_path / "p.csv"), set_column_types={"picture": DataType.to_stream(workspace)}
        )
        return made

    def test_the_files_that_are_there_are_downloaded_once(self, pictures: TabularDataset, tmp_path: Path) -> None:
        found = pictures.download("picture", tmp_path / "out")
        assert {Path(path).read_text() for path in found} == {"a", "b"}
        assert len(found) == 2

    def test_one_that_is_gone_is_an_error_where_that_is_asked(self, pictures: TabularDataset, tmp_path: Path) -> None:
        from mountd.errors import NotFoundError

        with pytest.raises(NotFoundError, match=r"gone\.png"):
            pictures.download("picture", tmp_path / "out", ignore_not_found=False)

    def test_a_column_that_names_no_files_is_told(self, pictures: TabularDataset) -> None:
        with pytest.raises(UserErrorException, match="no column 'x'; there are picture, n"):
            pictures.download("x")
        with pytest.raises(UserErrorException, match="column 'n' is int64, and no paths"):
            pictures.download("n")

    @pytest.mark.fuse
    def test_they_can_be_mounted(self, pictures: TabularDataset, tmp_path: Path) -> None:
        with pictures.filter(pictures["n"] < 2).mount("picture", tmp_path / "m") as context:
            assert sorted(path.name for path in Path(context.mount_point).rglob("*.png")) == ["a.png", "b.png"]


class TestProfiles:
    def test_a_dataset_has_one_and_keeps_it(self, tmp_path: Path) -> None:
        made = table(tmp_path)
        found = made.get_profile()
        assert (found.row_count, found.columns["row"].max, found.columns["text"].unique_values) == (120, 39, 3)
        assert made.get_profile() is found

    def test_steps_come_first(self, tmp_path: Path) -> None:
        made = table(tmp_path)
        assert list(made.filter(made["row"] > 35).keep_columns("row").get_profile().columns) == ["row"]
        assert made.filter(made["row"] > 35).get_profile().row_count == 12


def test_wrong_words_and_types_are_told(tmp_path: Path) -> None:
    made = table(tmp_path, 1, 2)
    for call, error in (
        (lambda: made.take_sample(None), ValueError),  # type: ignore[arg-type] # as a script may
        (lambda: made.random_split("0.5"), ValueError),  # type: ignore[arg-type] # as a script may
        (lambda: made.take_sample(0.5, seed=-1), ValueError),
        (lambda: made.to_csv_files(separator=";;"), ValueError),
        (lambda: list(made.to_batches("never")), UserErrorException),
        (lambda: made[0], UserErrorException),  # type: ignore[index] # as a script may
        (lambda: made.with_timestamp_columns("day").time_recent(5), UserErrorException),  # type: ignore[arg-type] # as a script may
    ):
        with pytest.raises(error):
            call()


def test_a_column_of_the_files_may_be_called_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Path,b\nx,1\n")
    path = str(tmp_path / "a.csv")
    assert list(Dataset.Tabular.from_delimited_files(path).to_pandas_dataframe()["Path"]) == ["x"]
    with pytest.raises(DatasetValidationError, match="a column 'Path' of their own; leave include_path out"):
        Dataset.Tabular.from_delimited_files(path, include_path=True)


def test_files_that_could_not_be_written_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(tmp_path)
    (tmp_path / "in" / "2.csv").unlink()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    made.frozen()
    with pytest.raises(Exception, match=r"2\.csv"):
        made.to_parquet_files()
    assert not any((tmp_path / "scratch").iterdir())


class TestRemote:
    @pytest.fixture
    def made(self) -> Iterator[TabularDataset]:
        with HttpServer.start() as server:
            urls = [server.put(f"/{at}.csv", f"at,n\n{at},1\n{at},2\n".encode(), etag=f'"{at}"') for at in (5, 6)]
            types = {"at": DataType.to_long()}
            try:
                yield Dataset.Tabular.from_delimited_files(urls, include_path=True, set_column_types=types)
            finally:
                if reaching._own is not None:
                    reaching._own.close()

    def test_a_forked_process_reads_after_its_parent(self, made: TabularDataset) -> None:
        before = made.keep_columns(["at", "n"]).to_arrow().to_pylist()
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=lambda: queue.put(made.keep_columns(["at", "n"]).to_arrow().to_pylist()))
        child.start()
        try:
            assert queue.get(timeout=60) == before == [{"at": at, "n": n} for at in (5, 6) for n in (1, 2)]
        finally:
            child.join(20)
            child.kill()
        assert child.exitcode == 0

    def test_path_is_the_url(self, made: TabularDataset) -> None:
        found = made.to_pandas_dataframe()["Path"]
        assert found.str.startswith("http://127.0.0.1").all()
        assert found.str.endswith(".csv").all()


class TestOtherFrames:
    def test_a_frame_of_dask_is_stored_by_partition(self, workspace: Workspace) -> None:
        class Frame:
            npartitions = 2

            def to_parquet(self, folder: str, **_: object) -> None:
                for number in range(self.npartitions):
                    pd.DataFrame({"n": [number]}).to_parquet(Path(folder) / f"part.{number}.parquet", index=False)

        made = Dataset.Tabular.register_dask_dataframe(Frame(), (workspace.get_default_datastore(), "d"), "frame")
        assert (made.name, made.version, made.to_pandas_dataframe()["n"].tolist()) == ("frame", 1, [0, 1])

    def test_a_frame_of_spark_is_stored(self, workspace: Workspace) -> None:
        class Frame:
            def toArrow(self) -> pa.Table:  # noqa: N802 # Spark's
                return pa.table({"n": [7]})

        made = Dataset.Tabular.register_spark_dataframe(Frame(), workspace.get_default_datastore(), "frame")
        assert made.to_arrow().to_pylist() == [{"n": 7}]

    def test_another_thing_is_told(self, workspace: Workspace) -> None:
        store = workspace.get_default_datastore()
        with pytest.raises(UserErrorException, match="DataFrame is no DataFrame of dask"):
            Dataset.Tabular.register_dask_dataframe(pd.DataFrame(), store, "frame")
        with pytest.raises(UserErrorException, match="DataFrame is no DataFrame of Spark"):
            Dataset.Tabular.register_spark_dataframe(pd.DataFrame(), store, "frame")


@pytest.mark.warns
def test_a_type_for_a_column_that_is_not_there_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text("a,b\nx,1\n")
    Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv"), set_column_types={"absent": DataType.to_long()})
    assert caplog.messages == ["set_column_types names 'absent', and no column is called so: a, b"]
