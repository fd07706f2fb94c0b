"""Parquet and JSON Lines: types, files that differ, lines that are none, and how little is read."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtime.datasets.tabular.definition import JsonLines, Parquet
from runtime.datasets.tabular.kinds import ColumnType, Kind
from runtime.datasets.tabular.steps import Keep
from runtime.datasets.tabular.violations import Violations
from runtime.errors import DatasetValidationError
from tests.runtime.datasets.tabular.tables import Counted, columns, files, opened, rows

at = datetime.fromisoformat


def write(folder: Path, **tables: dict[str, Any]) -> None:
    for name, table in tables.items():
        pq.write_table(pa.table(table), folder / f"{name}.parquet")


class TestParquet:
    def test_values_come_as_they_were_written_and_times_with_a_zone_in_utc(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            a={"n": [1, None], "t": ["x", ""], "w": [datetime(2020, 1, 2, 3, tzinfo=UTC), None], "l": [[1], []]},
        )
        assert rows(opened(tmp_path), Parquet()) == [
            {"n": 1, "t": "x", "w": at("2020-01-02T03:00"), "l": [1]},
            {"n": None, "t": "", "w": None, "l": []},
        ]

    def test_files_have_the_first_one_s_columns(self, tmp_path: Path) -> None:
        write(tmp_path, a={"x": [1], "y": ["a"]}, b={"y": ["b"], "z": [9]})
        assert rows(opened(tmp_path), Parquet()) == [{"x": 1, "y": "a"}, {"x": None, "y": "b"}]

    def test_another_type_in_another_file_is_told_and_can_be_set(self, tmp_path: Path) -> None:
        write(tmp_path, a={"x": [1]}, b={"x": ["b"]})
        with pytest.raises(
            DatasetValidationError, match=r"b.parquet: column 'x' is string, which is no int64 as in the first"
        ):
            rows(opened(tmp_path), Parquet())
        assert rows(opened(tmp_path), Parquet({"x": ColumnType(Kind.STRING)})) == [{"x": "1"}, {"x": "b"}]

    def test_columns_that_nobody_wants_are_not_read(self, tmp_path: Path) -> None:
        write(tmp_path, a={f"c{number}": [f"{number} {row}" for row in range(20_000)] for number in range(40)})
        found = opened(tmp_path)
        assert len(rows(found, Parquet(), steps=(Keep(("c3", "c7")),))) == 20_000
        reader = found[0].reader
        assert isinstance(reader, Counted)
        assert reader.bytes < found[0].size / 10

    def test_a_file_that_is_none_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetValidationError, match=r"a.parquet: no parquet file"):
            rows(files(tmp_path, {"a.parquet": "x,y\n1,2\n"}), Parquet())


class TestJsonLines:
    def test_members_are_columns_and_objects_stay(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.jsonl": '{"a": 1, "o": {"p": 2}}\n\n{"b": "x", "a": 3}\n'})
        assert rows(found, JsonLines()) == [{"a": 1, "o": {"p": 2}, "b": None}, {"a": 3, "o": None, "b": "x"}]

    def test_an_integer_first_and_a_fraction_then_are_numbers(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.jsonl": '{"a": 1}\n{"a": 2.5}\n'})
        assert (columns(found, JsonLines()), rows(found, JsonLines())) == ({"a": "double"}, [{"a": 1.0}, {"a": 2.5}])

    def test_a_line_that_is_no_object_is_an_error_with_its_number(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.jsonl": '{"a": 1}\n{"a": \n'})
        with pytest.raises(DatasetValidationError, match=r"a.jsonl: line 2: no JSON object .*'\{\"a\": '"):
            rows(found, JsonLines())

    @pytest.mark.warns
    def test_such_lines_can_be_left_out_and_are_counted(self, tmp_path: Path) -> None:
        violations = Violations()
        found = files(tmp_path, {"a.jsonl": '{"a": 1}\n[2]\nnull\n{"a": 3}\n'})
        assert rows(found, JsonLines(drops_invalid=True), violations) == [{"a": 1}, {"a": 3}]
        assert [each.count for each in violations.found.values()] == [2]

    @pytest.mark.warns
    def test_what_does_not_fit_later_is_null_and_told(self, tmp_path: Path) -> None:
        violations = Violations()
        found = files(tmp_path, {"a.jsonl": '{"a": 1}\n' * 250 + '{"a": "x"}\n{"a": true}\n{"a": 2}\n'})
        assert [row["a"] for row in rows(found, JsonLines(), violations)][250:] == [None, None, 2]
        assert [str(each) for each in violations.found.values()] == [
            "a.jsonl: row 251, column 'a': 'x' is no int64, and 1 more in this file"
        ]

    def test_a_type_that_is_set_reads_text(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.jsonl": '{"d": "31.12.2020", "n": "7"}\n'})
        types = {"d": ColumnType(Kind.DATETIME, ("%d.%m.%Y",)), "n": ColumnType(Kind.INTEGER)}
        assert rows(found, JsonLines(types=types)) == [{"d": at("2020-12-31"), "n": 7}]
