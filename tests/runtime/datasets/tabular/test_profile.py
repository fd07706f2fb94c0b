"""Profiles against pandas and numpy, of the whole and of parts that are merged."""

import json
import math
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.datasets.tabular.profile import QUANTILES, ColumnProfile, DataProfile, Summary

at = datetime.fromisoformat


def profile(table: pa.Table, *parts: int) -> DataProfile:
    """Of batches of a summary each, of so many rows, merged."""
    ends = [0, *np.cumsum(parts).tolist(), table.num_rows]
    whole = Summary(table.schema)
    for begin, end in pairwise(ends):
        part = Summary(table.schema)
        for batch in table.slice(begin, end - begin).to_batches(7_000):
            part.add(batch)
        whole.merge(part)
    return whole.profile()


def column(values: Any, *parts: int) -> ColumnProfile:
    return profile(pa.table({"x": values}), *parts).columns["x"]


def test_each_type_tells_what_it_has() -> None:
    found = profile(
        pa.table(
            {
                "n": [3, 1, None, 1],
                "t": ["b", "", None, "b"],
                "w": [at("2020-01-02"), None, at("2019-01-01"), at("2021-01-01")],
                "f": [1.5, math.nan, math.inf, None],
                "b": [True, True, False, None],
                "l": [[1], [2], None, [3]],
            }
        )
    )
    assert found.shape == (4, 6)
    columns = found.columns
    assert [each.type for each in columns.values()] == ["integer", "text", "datetime", "float", "boolean", "nested"]
    assert [each.missing_count for each in columns.values()] == [1, 1, 1, 2, 1, 1]
    assert (columns["n"].min, columns["n"].max, columns["n"].median, columns["n"].unique_values) == (1, 3, 1, 2)
    assert (columns["t"].empty_count, columns["t"].min, columns["t"].max, columns["t"].mean) == (1, "", "b", None)
    assert (columns["w"].min, columns["w"].max) == (at("2019-01-01"), at("2021-01-01"))
    assert (columns["f"].max, columns["f"].mean, columns["f"].variance) == (math.inf, 1.5, None)
    assert [(each.value, each.count) for each in columns["b"].value_counts or ()] == [(True, 2), (False, 1)]
    assert columns["l"].value_counts is None
    assert json.loads(json.dumps(found.to_dict()))["columns"]["w"]["min"] == "2019-01-01 00:00:00"
    assert found.to_pandas_dataframe().loc["n", "quantile_0.5"] == 1


def test_a_table_without_rows_has_a_profile() -> None:
    found = column(pa.array([], pa.float64()))
    assert (found.count, found.min, found.mean, found.quantiles, found.histogram) == (0, None, None, None, None)
    assert (found.percent_missing, found.value_counts) == (0, ())


def test_a_column_of_one_value_has_one_bin_and_no_shape() -> None:
    found = column([5.0] * 30)
    assert (found.variance, found.skewness, found.kurtosis) == (0, None, None)
    assert [(each.lower_bound, each.upper_bound, each.count) for each in found.histogram or ()] == [(5, 5, 30)]


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, -0.0, 1.0, 2.5])), min_size=1, max_size=80
    ),
    cut=st.integers(0, 80),
)
def test_few_numbers_have_what_pandas_says_however_they_are_cut(values: list[float | None], cut: int) -> None:
    numbers = pd.Series(values, dtype=float).dropna()
    found = column(pa.array(values, pa.float64()), min(cut, len(values)))
    assert (found.count, found.missing_count) == (len(values), len(values) - len(numbers))
    if not len(numbers):
        assert found.mean is None
        return
    assert found.mean == pytest.approx(numbers.mean(), rel=1e-9, abs=1e-6)
    if len(numbers) > 1:
        assert found.variance == pytest.approx(numbers.var(), rel=1e-6, abs=1e-6)
    expected = np.quantile(numbers, QUANTILES)
    assert list((found.quantiles or {}).values()) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert found.unique_values == numbers.nunique()
    assert found.histogram is not None
    assert sum(each.count for each in found.histogram) == len(numbers)
    assert {each.value: each.count for each in found.value_counts or ()} == numbers.value_counts().to_dict()


@pytest.mark.parametrize("parts", [(), (30_000,), (1, 99_000, 50_000)])
@pytest.mark.parametrize("shape", ["normal", "exponential", "sorted"])
def test_many_numbers_are_sketched(shape: str, parts: tuple[int, ...]) -> None:
    random = np.random.default_rng(7)
    values = random.exponential(3, 200_000) if shape == "exponential" else random.normal(10, 3, 200_000)
    values = np.sort(values) if shape == "sorted" else values
    found = column(values, *parts)
    series = pd.Series(values)
    assert found.mean == pytest.approx(series.mean(), rel=1e-9)
    assert found.variance == pytest.approx(series.var(), rel=1e-9)
    assert found.skewness == pytest.approx(series.skew(), rel=1e-3, abs=1e-3)
    assert found.kurtosis == pytest.approx(series.kurt(), rel=1e-3, abs=1e-3)
    assert found.quantiles is not None
    for share, value in found.quantiles.items():
        assert (values < value).mean() == pytest.approx(share, abs=0.001)
    assert found.histogram is not None
    counts, edges = np.histogram(values, 100)
    assert [each.lower_bound for each in found.histogram] == pytest.approx(edges[:-1])
    off = np.abs(np.array([each.count for each in found.histogram]) - counts).sum()
    assert off < 0.02 * len(values)
    assert found.unique_values == pytest.approx(200_000, rel=0.06)
    assert found.value_counts is None


def test_many_rows_of_few_values_stay_exact() -> None:
    values = np.random.default_rng(3).integers(0, 9, 100_000)
    found = column(values, 10_000)
    assert {each.value: each.count for each in found.value_counts or ()} == pd.Series(values).value_counts().to_dict()
    assert list((found.quantiles or {}).values()) == np.quantile(values, QUANTILES).tolist()
    assert [each.count for each in found.histogram or ()] == np.histogram(values, 100)[0].tolist()
    assert found.unique_values == 9


def test_many_texts_are_counted_about() -> None:
    found = column([f"text {number % 50_000}" for number in range(60_000)])
    assert found.unique_values == pytest.approx(50_000, rel=0.06)
    assert (found.value_counts, found.min, found.empty_count) == (None, "text 0", 0)
