"""Expressions against the same thing written down as plain functions of a row."""

import datetime as dt
import functools
import json
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.datasets.expressions import Expression, Failed, column, evaluate, file_property, from_json, names, to_json
from runtime.errors import DatasetValidationError, UserErrorException

Values = dict[str, Any]
Pair = tuple[Expression, Callable[[Values], Any]]
NUMBERS = st.none() | st.integers(-3, 3)
TEXTS = st.none() | st.text("abA", max_size=4)


def strict(function: Callable[..., Any], *operands: Callable[[Values], Any]) -> Callable[[Values], Any]:
    """`function` of what there is, None of nothing."""

    def value(row: Values) -> Any:
        found = [operand(row) for operand in operands]
        return None if None in found else function(*found)

    return value


def either(by: object, one: Callable[[Values], Any], other: Callable[[Values], Any]) -> Callable[[Values], Any]:
    def value(row: Values) -> Any:
        found = [one(row), other(row)]
        return by if by in found else None if None in found else not by

    return value


@st.composite
def comparisons(draw: st.DrawFn) -> Pair:
    name = draw(st.sampled_from("xy"))
    number = draw(st.integers(-3, 3))
    node = column(name)
    cases: list[Pair] = [
        (node > number, strict(lambda one: one > number, lambda row: row[name])),
        (node <= number, strict(lambda one: one <= number, lambda row: row[name])),
        (number < node, strict(lambda one: one > number, lambda row: row[name])),
        (node == number, lambda row: row[name] == number),
        (node != number, lambda row: row[name] != number),
        (node.is_null(), lambda row: row[name] is None),
        (
            node >= column("y"),
            strict(lambda one, other: one >= other, lambda row: row[name], lambda row: row["y"]),
        ),
    ]
    return draw(st.sampled_from(cases))


@st.composite
def texts(draw: st.DrawFn) -> Pair:
    part = draw(st.text("abA", max_size=2))
    node, at = column("s"), draw(st.integers(0, 3))
    cases: list[Pair] = [
        (node.contains(part), strict(lambda text: part in text, lambda row: row["s"])),
        (node.starts_with(part), strict(lambda text: text[: len(part)] == part, lambda row: row["s"])),
        (
            node.to_lower().ends_with(part),
            strict(lambda text: text.lower().endswith(part), lambda row: row["s"]),
        ),
        (node.to_upper() == part, lambda row: row["s"] is not None and row["s"].upper() == part),
        (node.substring(at, 2) == part, lambda row: row["s"] is not None and row["s"][at : at + 2] == part),
        (node.index_of(part) > 0, strict(lambda text: text.find(part) > 0, lambda row: row["s"])),
        (node.length() < at, strict(lambda text: len(text) < at, lambda row: row["s"])),
    ]
    return draw(st.sampled_from(cases))


def combined(children: "st.SearchStrategy[Pair]") -> "st.SearchStrategy[Pair]":
    return st.one_of(
        st.tuples(children, children).map(
            lambda both: (both[0][0] & both[1][0], either(False, both[0][1], both[1][1]))
        ),
        st.tuples(children, children).map(lambda both: (both[0][0] | both[1][0], either(True, both[0][1], both[1][1]))),
        children.map(lambda one: (~one[0], strict(lambda value: not value, one[1]))),
    )


@given(
    st.recursive(comparisons() | texts(), combined, max_leaves=6),
    st.fixed_dictionaries({"x": NUMBERS, "y": NUMBERS, "s": TEXTS}),
)
@settings(max_examples=150, deadline=None)
def test_an_expression_means_what_it_says_and_survives_json(pair: Pair, row: Values) -> None:
    expression, oracle = pair
    again = from_json(json.loads(json.dumps(to_json(expression))))
    assert evaluate(expression, lambda _, name: row[name]) == oracle(row)
    assert evaluate(again, lambda _, name: row[name]) == oracle(row)
    assert to_json(again) == to_json(expression)


def value(expression: Expression, **row: object) -> object:
    return evaluate(expression, lambda _, name: row[name])


def test_what_an_operation_cannot_do_is_an_error_of_that_row_alone() -> None:
    node = column("x")
    assert value(node > 3, x="text") == Failed("> of str, int")
    assert value((node > 3).is_error(), x="text") is True
    assert value((node > 3).is_error(), x=4) is False
    assert value((node > 3) | (node == "text"), x="text") is True
    assert isinstance(value(~(node > 3), x="text"), Failed)
    assert value(node["name"] == "a", x={"name": "a"}) is True
    assert value(node["other"].is_null(), x={"name": "a"}) is True
    assert isinstance(value(node["name"], x="text"), Failed)


def test_times_without_a_zone_are_utc_and_nan_is_nothing() -> None:
    node = column("t")
    aware = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    assert value(node == dt.date(2020, 1, 2), t=aware) is True
    assert value(node > dt.datetime(2020, 1, 1, 23), t=aware) is True  # noqa: DTZ001 # that is the point
    assert value(node.is_null(), t=float("nan")) is True
    assert from_json(to_json(node < aware)).operands[1] == aware


def test_an_expression_refuses_to_be_true_a_list_or_to_hold_what_json_cannot() -> None:
    node = column("x")
    with pytest.raises(UserErrorException, match="combine by '&'"):
        bool(node > 1 and node < 3)
    with pytest.raises(UserErrorException, match="no rows"):
        list(node)
    for wrong in (float("inf"), object(), b"x"):
        with pytest.raises(UserErrorException, match="cannot stand in a filter"):
            node == wrong  # noqa: B015 # it raises
    with pytest.raises(DatasetValidationError, match="install a newer one"):
        from_json(["near", 1])
    assert names((node > 1) & (file_property("Size") < column("y"))) == {"x", "y"}
    assert names((node > 1) & (file_property("Size") < 5), "file") == {"Size"}


def test_thousands_of_alternatives_are_no_deep_tree() -> None:
    node = column("x")
    either_of = functools.reduce(operator.or_, (node == number for number in range(3000)))
    none_of = functools.reduce(operator.and_, (node != number for number in range(3000)))
    assert either_of.depth < 20
    for number in (0, 1, 1500, 2998, 2999, 3000):
        assert value(from_json(json.loads(json.dumps(to_json(either_of)))), x=number) is (number < 3000)
        assert value(none_of, x=number) is (number == 3000)
