"""Row groups that a filter leaves out: the rows are those of a filter on all of them, and fewer bytes are read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.datasets import expressions
from runtime.datasets.expressions import Expression
from runtime.datasets.tabular.definition import Parquet
from runtime.datasets.tabular.kinds import ColumnType, Kind
from runtime.datasets.tabular.steps import Drop, Filter, Period, RowStep, Skip
from tests.runtime.datasets.tabular.tables import Counted, opened, rows

ROWS, GROUP = 20_000, 1_000
BEGIN = datetime.fromisoformat("2020-01-01")


def column(name: str) -> Expression:
    return expressions.column(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    numbers = range(ROWS)
    table = {
        "n": numbers,
        "t": [f"{number:06}" for number in numbers],
        "w": [(BEGIN + timedelta(minutes=number)).replace(tzinfo=UTC) for number in numbers],
        "pad": [f"{number * 7919 % 104_729}" * 9 for number in numbers],
    }
    pq.write_table(pa.table({name: pa.array(values) for name, values in table.items()}), tmp_path / "a.parquet", GROUP)
    return tmp_path


def read(folder: Path, *steps: RowStep, types: Any = None) -> tuple[list[int], float]:
    """The numbers of the rows, and which part of the file was read for them."""
    found = opened(folder)
    numbers = [row["n"] for row in rows(found, Parquet(types or {}), steps=steps)]
    assert isinstance(found[0].reader, Counted)
    return numbers, found[0].reader.bytes / found[0].size


@pytest.mark.parametrize(
    "step",
    [
        Filter((column("n") >= 5_500) & (column("n") < 5_510)),
        Filter((column("t") == "005500") | (column("t") == "005501")),
        Period("w", BEGIN + timedelta(minutes=5_500), BEGIN + timedelta(minutes=5_509)),
    ],
)
def test_groups_that_cannot_have_a_row_are_not_read(folder: Path, step: RowStep) -> None:
    numbers, share = read(folder, Drop(("x",)), step)
    assert numbers == list(range(5_500, 5_500 + len(numbers)))
    assert numbers
    assert share < 0.3


def test_a_step_that_counts_rows_counts_them_all(folder: Path) -> None:
    assert read(folder, Skip(5_000), Filter(column("n") < 5_003))[0] == [5_000, 5_001, 5_002]


def test_a_type_that_was_set_is_not_what_the_statistics_are_of(folder: Path) -> None:
    types = {"t": ColumnType(Kind.INTEGER)}
    assert read(folder, Filter(column("t") == 5_500), types=types)[0] == [5_500]


@pytest.mark.parametrize(("value", "expected"), [("5500", []), (None, []), (True, [1]), (5_500.0, [5_500])])
def test_a_constant_of_another_kind_gives_what_it_gives_without_statistics(
    folder: Path, value: object, expected: list[int]
) -> None:
    assert read(folder, Filter(column("n") == value))[0] == expected


def test_nothing_is_found_by_what_asks_for_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [None, 1, 2, None]}), tmp_path / "a.parquet", 2)
    assert [row["n"] for row in rows(opened(tmp_path), Parquet(), steps=(Filter(column("n") == None),))] == [None, None]  # noqa: E711 # builds
    assert [row["n"] for row in rows(opened(tmp_path), Parquet(), steps=(Filter(~(column("n") > 1)),))] == [1]


_VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.floats(allow_infinity=True), st.just(float("nan"))), min_size=1, max_size=12),
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3)), min_size=1, max_size=12),
    st.lists(st.one_of(st.none(), st.text("aé\U0001f600b", max_size=3)), min_size=1, max_size=12),
)
_CONSTANTS = st.one_of(st.floats(), st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), st.text("aéb", max_size=2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=_VALUES, constant=_CONSTANTS, operation=st.sampled_from([">", ">=", "<", "<=", "==", "!="]))
def test_any_rows_are_those_of_one_group(tmp_path: Path, values: list[Any], constant: Any, operation: str) -> None:
    step = Filter(Expression(operation, column("n"), constant))
    table = pa.table({"at": range(len(values)), "n": values})
    kept = []
    for size in (1, 3, len(values)):
        pq.write_table(table, tmp_path / "a.parquet", size, write_statistics=size != len(values))
        kept.append([row["at"] for row in rows(opened(tmp_path), Parquet(), steps=(step,))])
    assert kept[0] == kept[1] == kept[2]
