"""What may be logged, and the shapes in which it comes back."""

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import UserErrorException
from runtime.tracking import metrics, values
from runtime.tracking.journal import Entry


def shaped(*calls: tuple[str, Any]) -> Any:
    entries = [Entry(float(at), "m", kind, json.loads(json.dumps(value))) for at, (kind, value) in enumerate(calls)]
    return metrics.shaped(entries, "exp_1_a")["m"]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([("scalar", 1)], 1),
        ([("scalar", 1), ("scalar", "two")], [1, "two"]),
        ([("list", [5])], [5]),
        ([("list", [])], []),
        ([("list", [1, 2]), ("scalar", 3), ("list", [4])], [1, 2, 3, 4]),
        ([("row", {"x": 1, "y": 2})], {"x": 1, "y": 2}),
        ([("row", {"x": 1}), ("row", {"x": 2, "y": 3})], {"x": [1, 2], "y": [None, 3]}),
        ([("table", {"x": [1]})], {"x": [1]}),
        ([("table", {"x": 1})], {"x": 1}),
        ([("table", {"x": [1, 2], "y": [3, 4]}), ("row", {"y": 5})], {"x": [1, 2, None], "y": [3, 4, 5]}),
        ([("image", "a.png")], "aml://artifactId/ExperimentRun/dcid.exp_1_a/a.png"),
        ([("confusion_matrix", {"data": {}})], {"data": {}}),
        ([("scalar", 1), ("row", {"x": 2})], [1, {"x": 2}]),
    ],
)
def test_the_shapes_are_v1s(calls: list[tuple[str, Any]], expected: Any) -> None:
    assert shaped(*calls) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array(4), 4),
        (np.array([5.0]), 5.0),
        (np.bool_(True), True),  # the value of the test
        (np.float64(2.5), 2.5),
        (Decimal("1.5"), 1.5),
        ("text", "text"),
        (False, False),
        (10**30, 10**30),
    ],
)
def test_numbers_of_libraries_are_plain_afterwards(value: object, expected: object) -> None:
    plain = values.scalar("m", value)
    assert (plain, type(plain)) == (expected, type(expected))


@given(st.lists(st.floats()))
def test_every_float_survives(floats: list[float]) -> None:
    found = shaped(("list", values.column("m", floats)))
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(found, floats, strict=True))


@pytest.mark.parametrize(
    "value", [None, [1], {"a": 1}, b"x", object(), 1j, np.array([1, 2]), np.datetime64("2026-01-01")]
)
def test_a_wrong_type_names_the_metric_and_the_type(value: object) -> None:
    with pytest.raises(UserErrorException, match=rf"metric 'm': {type(value).__name__} is neither"):
        values.scalar("m", value)


def test_lists_rows_and_tables_are_checked() -> None:
    assert values.column("m", (each for each in (1, np.float32(2)))) == [1, 2.0]
    assert values.table("m", {"x": np.arange(2), "y": ("a", "b")}) == {"x": [0, 1], "y": ["a", "b"]}
    assert values.table("m", {"x": 1, "y": "b"}) == {"x": 1, "y": "b"}
    wrong: list[tuple[Any, Any, str]] = [
        (values.column, "text", "str is no list"),
        (values.column, 5, "int is no list"),
        (values.table, [1], "a table is a dictionary"),
        (values.table, {}, "a table is a dictionary"),
        (values.table, {"x": [1], "y": [1, 2]}, "differ in length: {'x': 1, 'y': 2}"),
        (values.row, {}, "at least one column"),
        (values.row, {"x": [1]}, "list is neither"),
    ]
    for check, value, text in wrong:
        with pytest.raises(UserErrorException) as raised:
            check("m", value)
        assert text in str(raised.value)
    for name in ("", None, 5, "x" * 256):
        with pytest.raises(UserErrorException, match="no name for a metric"):
            values.checked_name(name)


def test_documents_are_dictionaries_or_their_json() -> None:
    matrix = {"schema_type": "confusion_matrix", "data": {"matrix": np.eye(2)}}
    plain = values.document("m", "confusion matrix", matrix)
    assert plain["data"] == {"matrix": [[1.0, 0.0], [0.0, 1.0]]}
    assert values.document("m", "confusion matrix", json.dumps(plain)) == plain
    for wrong, text in (("{", "is no JSON"), ([1], "with 'schema_type'"), ({"data": {1: object()}}, "cannot be kept")):
        with pytest.raises(UserErrorException, match=text):
            values.document("m", "confusion matrix", wrong)
