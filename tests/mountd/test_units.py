"""Sizes and durations: what is typed, what is shown, and that the two agree."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.errors import BadInputError
from mountd.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("123", 123),
        ("123B", 123),
        ("10GiB", 10 * 2**30),
        ("10 gib", 10 * 2**30),
        ("10G", 10 * 2**30),
        ("10Gi", 10 * 2**30),
        ("10GB", 10 * 10**9),
        ("1.5 MB", 1_500_000),
        ("0.5KiB", 512),
        (" 64 k ", 65536),
        ("2TiB", 2 * 2**40),
        ("1.9", 1),
    ],
)
def test_a_size_is_what_its_letters_say(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1", "1,5GB", "ten", "9 GiBs", "1e9", "0x10", "10%", "١٢", "nan", "9" * 99]
)
def test_what_is_no_size_is_said_with_the_text_and_an_example(text: str) -> None:
    with pytest.raises(BadInputError, match="is not a size; write one like") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("60", 60), ("60s", 60), ("2m", 120), ("500ms", 0.5), ("1.5h", 5400), ("1d", 86400), ("0.25s", 0.25)],
)
def test_a_duration_is_seconds(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 weeks", "1:30", "inf"])
def test_what_is_no_duration_is_said(text: str) -> None:
    with pytest.raises(BadInputError, match="is not a duration; write one like"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1 MiB"),
        (200 * 2**30, "200 GiB"),
        (2**70, "1024 EiB"),
    ],
)
def test_sizes_are_shown_short(size: int, shown: str) -> None:
    assert format_size(size) == shown


@given(st.integers(0, 2**62))
def test_a_size_shown_and_read_back_is_within_a_rounding(size: int) -> None:
    shown = format_size(size)
    assert re.fullmatch(r"\d{1,4}(\.\d)? ([KMGTPE]i)?B", shown)
    assert abs(parse_size(shown) - size) <= max(size * 0.06, 0)


@given(st.integers(0, 2**62))
def test_bytes_as_a_bare_number_are_exact(size: int) -> None:
    assert parse_size(str(size)) == size


def test_durations_are_shown_short() -> None:
    assert [format_duration(each) for each in (60, 0.5, 1.25)] == ["60s", "0.5s", "1.2s"]
