"""Partition formats: values composed into a path are found again; each broken rule has its code."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.datasets.partition import parse_partition_format
from runtime.errors import DatasetValidationError

WORD = st.text(
    st.characters(codec="latin-1", categories=("L", "N"), include_characters="-_ %é*{}"), min_size=1, max_size=6
)
LITERAL = st.text("ab{}-=", max_size=3)


@st.composite
def composed(draw: st.DrawFn) -> tuple[str, str, dict[str, object]]:
    """A format, a path that it fits, and what it must find."""
    values: dict[str, object] = {name: draw(WORD) for name in draw(st.lists(st.sampled_from("pqr"), unique=True))}
    when = draw(st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31))).replace(microsecond=0)  # noqa: DTZ001 # a path has no zone
    segments = [(f"{{{name}}}", str(text)) for name, text in values.items()]
    date = draw(st.none() | st.sampled_from(["yyyy/MM/dd/HH/mm/ss", "yyyyMMdd-HHmmss", "ss.mm.HH/dd.MM.yyyy"]))
    if date or not segments:
        date = date or "yyyy/MM/dd/HH/mm/ss"
        shown = date
        for code, directive in (("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S")):
            shown = shown.replace(code, when.strftime(directive).zfill(len(code)))
        segments.insert(draw(st.integers(0, len(segments))), (f"{{when:{date}}}", shown))
        values["when"] = when
    pattern, path = "", draw(st.sampled_from(["", "/above", "/x.y/z"]))
    for part, text in segments:
        literal = draw(LITERAL)
        pattern += "/" + literal.replace("{", "{{").replace("}", "}}") + "/" + part
        path += f"/{literal}/{text}"
    tail = draw(st.sampled_from(["", ".csv", "/*.csv"]))
    return pattern + tail, path + tail.replace("*", "data"), values


@given(composed())
@settings(max_examples=150, deadline=None)
def test_what_is_written_into_a_path_is_read_from_it(case: tuple[str, str, dict[str, object]]) -> None:
    text, path, values = case
    parsed = parse_partition_format(text)
    assert parsed.values(path) == values
    assert parsed.matches(path)
    assert parsed.values(path + "/?.") == dict.fromkeys(values)
    assert parsed.names[-1] == ("when" if "when" in values else parsed.names[-1])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("/data.csv", "NO_PART"),
        ("*", "NO_PART"),
        ("/{}/data.csv", "NO_NAME"),
        ("/{:yyyy}/data.csv", "NO_NAME"),
        ("/{day:MM/dd}/data.csv", "NO_YEAR"),
        ("/{day:}/data.csv", "NO_DATE_FORMAT"),
        ("/{day/data.csv", "BAD_BRACKET"),
        ("/day}/data.csv", "BAD_BRACKET"),
        ("/{{day}/data.csv", "BAD_BRACKET"),
        ("/{a:yyyy}/{b:yyyy}", "TOO_MANY_DATE"),
        ("/{a:yyyy}/{a:MM}", "TOO_MANY_DATE"),
        ("/{_sys_x}/data.csv", "RESERVED"),
    ],
)
def test_a_broken_rule_is_named_by_v1s_code(text: str, code: str) -> None:
    with pytest.raises(DatasetValidationError) as caught:
        parse_partition_format(text)
    assert caught.value.error_code == code
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_end_of_the_path_counts_and_a_name_twice_has_one_text() -> None:
    assert parse_partition_format("{user}/{season}/{song}.wav").values("/c/dir/user1/winter/disco.wav") == {
        "user": "user1",
        "season": "winter",
        "song": "disco",
    }
    twice = parse_partition_format("/{a}/{b}/{a}.csv")
    assert (twice.values("/x/y/x.csv"), twice.matches("/x/y/z.csv")) == ({"a": "x", "b": "y"}, False)


def test_a_date_that_is_none_is_nothing_and_what_it_leaves_out_is_the_first() -> None:
    parsed = parse_partition_format("/{day:yyyyMMdd}/{name}.csv")
    assert parsed.names == ("name", "day")
    assert parsed.values("/20201399/x.csv") == {"name": None, "day": None}
    month = parse_partition_format("/{month:yyyy-MM}/*")
    assert month.values("/2020-05/x.csv") == {"month": dt.datetime(2020, 5, 1)}  # noqa: DTZ001 # as above
