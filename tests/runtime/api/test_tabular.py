"""TabularDataset as a script uses it: from files to frames, time filters, registration and jobs."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from runtime import Dataset, DataType, Workspace
from runtime.api.tabular_dataset import TabularDataset
from runtime.errors import DatasetTimestampMissingError, DatasetValidationError, UserErrorException
from runtime.workspace import init

pytestmark = pytest.mark.usefixtures("workspace")

at = datetime.fromisoformat


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(tmp_path / ".moorage"))
    return Workspace.of(init(tmp_path / ".moorage"))


def days(folder: Path) -> str:
    """A year of daily files, with a row at each sixth hour."""
    for number in range(60):
        day = at("2019-01-01") + timedelta(days=number)
        path = folder / "data" / f"{day:%Y/%m/%d}" / "rows.csv"
        path.parent.mkdir(parents=True)
        path.write_text(
            "when,value\n" + "".join(f"{day + timedelta(hours=hour)},{number}\n" for hour in (0, 6, 12, 18))
        )
    return str(folder / "data" / "**" / "*.csv")


@pytest.fixture
def weather(tmp_path: Path) -> TabularDataset:
    path = days(tmp_path)
    made: TabularDataset = Dataset.Tabular.from_delimited_files(path, partition_format="{day:yyyy/MM/dd}/rows.csv")
    return made.with_timestamp_columns("when", "day")


def test_a_file_that_is_not_there_fails_its_validation(tmp_path: Path) -> None:
    with pytest.raises(DatasetValidationError, match=r"gone\.csv"):
        Dataset.Tabular.from_delimited_files(str(tmp_path / "gone.csv"))
    assert Dataset.Tabular.from_delimited_files(str(tmp_path / "gone.csv"), validate=False).name is None


def test_partition_columns_come_first_and_have_types(tmp_path: Path) -> None:
    for name in ("01", "02"):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "a.csv").write_text("x\n5\n")
    made = Dataset.Tabular.from_delimited_files(
        str(tmp_path / "p"), partition_format="{month}/a.csv", include_path=True
    )
    frame = made.to_pandas_dataframe()
    assert list(frame.columns) == ["Path", "month", "x"]
    assert frame["month"].tolist() == [1, 2]
    assert frame["Path"][0] == f"file://{tmp_path}/p/01/a.csv"
    assert made.get_partition_key_values() == [{"month": 1}, {"month": 2}]
    with pytest.raises(DatasetValidationError, match="both have a column 'x'"):
        Dataset.Tabular.from_delimited_files(str(tmp_path / "p"), partition_format="{x}/a.csv")


class TestTimes:
    @pytest.mark.parametrize("with_bounds", [True, False])
    def test_bounds_are_of_rows_whatever_file_they_lie_in(self, weather: TabularDataset, *, with_bounds: bool) -> None:
        def count(made: TabularDataset) -> int:
            return len(made.to_pandas_dataframe())

        one, other = at("2019-01-03T06:00"), at("2019-01-04T12:00")
        assert count(weather.time_between(one, other, with_bounds)) == (6 if with_bounds else 4)
        assert count(weather.time_after(at("2019-02-20"), with_bounds)) == (40 if with_bounds else 39)
        assert count(weather.time_before(at("2019-01-02"), with_bounds)) == (5 if with_bounds else 4)

    def test_files_of_other_days_are_not_opened(self, tmp_path: Path) -> None:
        for day in ("2019/01/01", "2019/01/02", "2019/01/03"):
            (tmp_path / "d" / day).mkdir(parents=True)
            time = at(day.replace("/", "-"))
            lines = [f"{time + timedelta(minutes=minute)},{minute}" for minute in range(300)]
            (tmp_path / "d" / day / "rows.csv").write_text("\n".join(["when,value", *lines]))
        whole = Dataset.Tabular.from_delimited_files(str(tmp_path / "d"), partition_format="{day:yyyy/MM/dd}/rows.csv")
        made = whole.with_timestamp_columns("when", "day").time_after(at("2019-01-03T04:58"))
        (tmp_path / "d" / "2019/01/02" / "rows.csv").unlink()  # types come from the first
        assert made.to_pandas_dataframe()["value"].tolist() == [298, 299]

    def test_the_time_is_the_index_and_stays_a_column(self, weather: TabularDataset) -> None:
        frame = weather.take(2).to_pandas_dataframe()
        assert frame.index.tolist() == frame["when"].tolist()
        assert frame.index.name is None
        assert str(frame["when"].dtype) == "datetime64[ns]"

    def test_recent_rows_are_those_before_now(self, tmp_path: Path) -> None:
        now = datetime.now()  # noqa: DTZ005 # as the rows tell it
        times = [(now - timedelta(hours=ago)).isoformat(timespec="seconds") for ago in (1, 72)]
        (tmp_path / "a.csv").write_text("\n".join(["when", *times]))
        made = Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv")).with_timestamp_columns("when")
        assert len(made.time_recent(timedelta(days=1)).to_pandas_dataframe()) == 1

    def test_without_a_column_of_times_it_is_said_which_is_missing(self, weather: TabularDataset) -> None:
        for other in (
            weather.with_timestamp_columns(),
            weather.drop_columns(["when", "day"]),
            weather.keep_columns("value"),
        ):
            with pytest.raises(DatasetTimestampMissingError, match="with_timestamp_columns"):
                other.time_after(at("2019-01-01"))

    def test_columns_that_are_none_of_times_are_told(self, weather: TabularDataset) -> None:
        with pytest.raises(DatasetValidationError, match="column 'value' holds no times but int64"):
            weather.with_timestamp_columns("value", validate=True)
        with pytest.raises(DatasetValidationError, match="no column 'no'; there are day, when, value"):
            weather.with_timestamp_columns("no", validate=True)
        with pytest.raises(UserErrorException, match="are both 'when'"):
            weather.with_timestamp_columns("when", "when")


class TestRows:
    def test_halves_of_a_split_are_disjoint_and_complete_and_the_same_again(self, weather: TabularDataset) -> None:
        one, other = weather.random_split(0.7, seed=3)
        first, second = (each.to_pandas_dataframe() for each in (one, other))
        assert len(first) + len(second) == 240
        assert 140 < len(first) < 195
        assert not set(first["when"]) & set(second["when"])
        assert weather.random_split(0.7, seed=3)[0].to_pandas_dataframe().equals(first)

    def test_take_and_skip_count_rows_in_order(self, weather: TabularDataset) -> None:
        assert weather.skip(3).take(3).to_pandas_dataframe()["value"].tolist() == [0, 1, 1]
        assert weather.take(0).to_pandas_dataframe().empty
        for wrong in (-1, 1.5, True):
            with pytest.raises(ValueError, match="a number of rows is 0 or more"):
                weather.take(wrong)  # type: ignore[arg-type]

    def test_filters_keep_the_rows_that_an_expression_is_true_for(self, weather: TabularDataset) -> None:
        kept = weather.filter((weather["value"] >= 10) & ~(weather["value"] == 12)).filter(weather["value"] < 14)
        assert kept.to_pandas_dataframe()["value"].unique().tolist() == [10, 11, 13]
        with pytest.raises(DatasetValidationError, match="no column 'nothing'; there are day, when, value"):
            weather.filter(weather["nothing"] == 1).to_pandas_dataframe()
        with pytest.raises(UserErrorException, match="filter takes an expression"):
            weather.filter("value == 1")  # type: ignore[arg-type]

    def test_columns_keep_their_order_and_unknown_ones_are_no_error(self, weather: TabularDataset) -> None:
        assert list(weather.keep_columns(["value", "day", "no"]).to_pandas_dataframe().columns) == ["day", "value"]
        assert list(weather.drop_columns(["day", "no"]).to_pandas_dataframe().columns) == ["when", "value"]
        with pytest.raises(DatasetValidationError, match="no column 'no'"):
            weather.keep_columns(["no"], validate=True)

    def test_rows_are_a_table_and_batches_too(self, weather: TabularDataset) -> None:
        assert weather.to_arrow().num_rows == sum(batch.num_rows for batch in weather.to_batches()) == 240

    def test_files_that_are_written_are_read_again(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text('t,n,d\n"a,""b""",1.5,2020-01-01\n,,\n')
        made = Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv"))
        frame = made.to_pandas_dataframe()
        written = [made.to_csv_files(), made.to_parquet_files()]
        assert [each.to_path() for each in written] == [["/part-00000.csv"], ["/part-00000.parquet"]]
        csv, parquet = (each.definition.paths[0].url for each in written)
        assert Dataset.Tabular.from_delimited_files(csv).to_pandas_dataframe().equals(frame)
        assert Dataset.Tabular.from_parquet_files(parquet).to_pandas_dataframe().equals(frame)


def test_dates_that_64_bits_do_not_hold_are_null_or_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("d,x\n9999-12-31,1\n2020-01-01,2\n")
    made = Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv"))
    assert made.to_pandas_dataframe()["d"].tolist() == [pd.NaT, pd.Timestamp("2020-01-01")]
    with pytest.raises(DatasetValidationError, match="column 'd': 9999-12-31 00:00:00 is before 1677 or after 2262"):
        made.to_pandas_dataframe(out_of_range_datetime="fail")
    with pytest.raises(UserErrorException, match="on_error='drop': use 'null' or 'fail'"):
        made.to_pandas_dataframe(on_error="drop")


@pytest.mark.warns
def test_a_date_that_may_be_either_way_round_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text("d,x\n02/01/2020,1\n")
    made = Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv"))
    made.to_pandas_dataframe()
    (said,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said.startswith(
        "column 'd': '02/01/2020' is read as month/day; set_column_types={'d': DataType.to_datetime('%d/%m/%Y')}"
    )
    types = {"d": DataType.to_datetime("%d/%m/%Y")}
    other = Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv"), set_column_types=types)
    assert other.to_pandas_dataframe()["d"].tolist() == [pd.Timestamp("2020-01-02")]


class TestRegistered:
    def test_a_version_is_what_it_was_registered_as(
        self, weather: TabularDataset, workspace: Workspace, tmp_path: Path
    ) -> None:
        made = weather.take(6).register(workspace, "weather", description="of days", tags={"a": "b"})
        (tmp_path / "data" / "2019/01/01" / "more.csv").write_text("when,value\n2018-01-01,-1\n")
        again = Dataset.get_by_name(workspace, "weather")
        assert (again.id, again.version, again.tags, again.timestamp_columns) == (
            made.id,
            1,
            {"a": "b"},
            ("when", "day"),
        )
        assert again.to_pandas_dataframe()["value"].tolist() == [0, 0, 0, 0, 1, 1]
        with pytest.raises(UserErrorException):
            weather.take(6).register(workspace, "weather", create_new_version=True)
        assert weather.take(7).register(workspace, "weather", create_new_version=True).version == 2

    def test_a_blob_that_changed_since_is_an_error(
        self, weather: TabularDataset, workspace: Workspace, tmp_path: Path
    ) -> None:
        from mountd.errors import DataChangedError

        made = weather.register(workspace, "weather")
        (tmp_path / "data" / "2019/01/01" / "rows.csv").write_text("when,value\n2019-01-01,7\n")
        with pytest.raises(DataChangedError, match=r"rows\.csv"):
            made.to_pandas_dataframe()


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"header": "SOME"}, "header='SOME': use True, False, or one of NO_HEADERS"),
        ({"encoding": "utf-8"}, "encoding 'utf-8': use one of"),
        ({"set_column_types": {"a": "int"}}, "give {'column': DataType.to_long"),
        ({"set_column_types": ["a"]}, "give {'column': DataType.to_long"),
        ({"partition_format": "nothing"}, "NO_PART"),
    ],
)
def test_arguments_that_are_none_are_told(tmp_path: Path, told: dict[str, object], what: str) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(UserErrorException, match=what):
        Dataset.Tabular.from_delimited_files(str(tmp_path / "a.csv"), **told)  # type: ignore[arg-type]


class TestFrames:
    def test_a_frame_is_registered_as_a_version_each_time(self, workspace: Workspace) -> None:
        frame = pd.DataFrame(
            {"n": [1, 2], "t": ["a", "b"], "d": pd.to_datetime(["2020-01-01", None]).as_unit("ns")}, index=[5, 6]
        )
        store = workspace.get_default_datastore()
        for version in (1, 2):
            made = Dataset.Tabular.register_pandas_dataframe(frame, (store, "frames"), "frame", description="mine")
            assert (made.name, made.version, made.description) == ("frame", version, "mine")
            pd.testing.assert_frame_equal(made.to_pandas_dataframe(), frame.reset_index(drop=True), check_dtype=False)
        found = Dataset.File.from_files((store, "frames/**")).to_path()
        assert len(found) == 2
        assert all(path.endswith("/dataframe.parquet") for path in found)

    @pytest.mark.warns
    def test_a_point_in_a_name_becomes_a_line(self, workspace: Workspace) -> None:
        store = workspace.get_default_datastore()
        made = Dataset.Tabular.register_pandas_dataframe(pd.DataFrame({"a.b": [1]}), store, "frame")
        assert made.to_pandas_dataframe().columns.tolist() == ["a_b"]

    @pytest.mark.parametrize(
        ("frame", "told"),
        [
            (pd.DataFrame({"l": [[1], [2]]}), "column 'l' holds list"),
            (pd.DataFrame({"x": [1, "a"]}), "the frame is no table"),
            ([1], "list is no DataFrame"),
            (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column is called 'a'"),
        ],
    )
    def test_what_is_no_table_is_told_and_nothing_is_stored(
        self, workspace: Workspace, frame: object, told: str
    ) -> None:
        store = workspace.get_default_datastore()
        with pytest.raises(UserErrorException, match=told):
            Dataset.Tabular.register_pandas_dataframe(frame, (store, "frames"), "frame")
        assert dict(workspace.datasets) == {}


def test_a_job_gets_the_dataset_itself(weather: TabularDataset, workspace: Workspace, tmp_path: Path) -> None:
    from runtime import Experiment, ScriptRunConfig

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "import sys\nfrom runtime import Dataset, Run\nrun = Run.get_context()\n"
        "frame = run.input_datasets['days'].to_pandas_dataframe()\n"
        "again = Dataset.get_by_id(run.experiment.workspace, sys.argv[1]).to_pandas_dataframe()\n"
        "print('rows', len(frame), frame.equals(again))\n"
    )
    config = ScriptRunConfig(str(tmp_path / "src"), "train.py", arguments=[weather.take(5).as_named_input("days")])
    run = Experiment(workspace, "tables").submit(config)
    run.wait_for_completion()
    assert "rows 5 True" in Path(run.get_details()["logFiles"]["user_logs/std_log.txt"]).read_text()
    with pytest.raises(UserErrorException, match="input 'days': a tabular dataset has rows and no files to mount"):
        weather.as_named_input("days").as_mount()
