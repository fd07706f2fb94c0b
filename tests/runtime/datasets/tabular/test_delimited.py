"""Delimited text: v1's facts about headers, types, encodings and lines, and what is said where v1 was silent."""

from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runtime.datasets.tabular.delimited import Delimited, Header
from runtime.datasets.tabular.kinds import ColumnType, Kind
from runtime.datasets.tabular.violations import Violations
from runtime.errors import DatasetValidationError, UserErrorException
from tests.runtime.datasets.tabular.tables import Counted, columns, files, rows

at = datetime.fromisoformat


def column(folder: Path, *values: str, **told: Any) -> list[Any]:
    found = files(folder, {"a.csv": "x,y\n" + "".join(f"{value},-\n" for value in values)})
    return [row["x"] for row in rows(found, Delimited(**told))]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "30"], "int64"),
        (["1", "2.5", "-3e2"], "double"),
        (["true", "False", "TRUE"], "bool"),
        (["0", "1", "1"], "bool"),
        (["0", "1", "2"], "int64"),
        (["2020-01-03", "2020-01-03T10:11:12", "2020-01-03 10:11"], "timestamp[us]"),
        (["2020/01/03", "01/13/2020"], "timestamp[us]"),
        (["12:30"], "string"),
        (["yes", "no"], "string"),
        (["1", "NULL"], "string"),
        (["1", "N/A"], "string"),
        (["1.5", "nan"], "string"),
        (["", ""], "string"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808"], "double"),
        (["1" * 5000], "double"),
    ],
)
def test_a_column_has_the_first_type_that_all_its_values_have(tmp_path: Path, values: list[str], kind: str) -> None:
    found = files(tmp_path, {"a.csv": "x,y\n" + "".join(f"{value},-\n" for value in values)})
    assert columns(found)["x"] == kind


@pytest.mark.warns
def test_types_come_from_200_rows_and_what_breaks_them_later_is_null_and_told(tmp_path: Path) -> None:
    violations = Violations()
    found = files(tmp_path, {"a.csv": "x,y\n" + "7,-\n" * 300 + "oops,-\n8,-\n"})
    read = [row["x"] for row in rows(found, violations=violations)]
    assert read[299:] == [7, None, 8]
    (told,) = violations.found.values()
    assert str(told) == "a.csv: row 301, column 'x': 'oops' is no integer of 64 bits"
    with pytest.raises(
        DatasetValidationError, match=r"a.csv: row 301, column 'x': 'oops' is no integer of 64 bits; on_error="
    ):
        rows(found, violations=Violations(fails=True))


@pytest.mark.warns
def test_many_violations_are_counted_by_file_and_told_at_the_end(tmp_path: Path) -> None:
    violations = Violations()
    text = "x,y\n" + "1,-\n2,-\n" * 200 + "a,-\nb,-\n"
    rows(files(tmp_path, {"a.csv": text, "b.csv": text}), violations=violations)
    assert [(each.path, each.count) for each in violations.found.values()] == [("a.csv", 2), ("b.csv", 2)]
    said: list[str] = []
    violations.tell(said.append)
    assert said[0] == "a.csv: row 401, column 'x': 'a' is no integer of 64 bits, and 1 more in this file: read as null"


def test_month_comes_first_where_a_date_leaves_it_open(tmp_path: Path) -> None:
    assert column(tmp_path, "02/01/2020", "03/04/2020") == [at("2020-02-01T00:00:00"), at("2020-03-04T00:00:00")]
    assert column(tmp_path, "13/01/2020") == [at("2020-01-13T00:00:00")]


def test_a_time_with_a_zone_becomes_utc_without_one(tmp_path: Path) -> None:
    assert column(tmp_path, "2020-01-03T10:00:00+02:00", "2020-01-03T10:00:00Z") == [
        at("2020-01-03T08:00:00"),
        at("2020-01-03T10:00:00"),
    ]


def test_an_empty_field_is_null_and_with_empty_as_string_text_stays(tmp_path: Path) -> None:
    found = files(tmp_path, {"a.csv": 'n,t,q\n1,,""\n,b,c\n'})
    assert rows(found) == [{"n": 1, "t": None, "q": None}, {"n": None, "t": "b", "q": "c"}]
    assert rows(found, Delimited(empty_as_string=True)) == [{"n": 1, "t": "", "q": ""}, {"n": None, "t": "b", "q": "c"}]


class TestHeaders:
    TEXTS: ClassVar = {"a.csv": "x,y\n1,2\n", "b.csv": "y,z\n3,4\n"}

    def test_all_files_have_the_first_one_s_by_place(self, tmp_path: Path) -> None:
        found = files(tmp_path, self.TEXTS)
        assert rows(found) == [{"x": 1, "y": 2}, {"x": 3, "y": 4}]

    def test_without_headers_columns_have_numbers(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.csv": "1,a\n2,b\n"})
        assert rows(found, Delimited(header=Header.NO_HEADERS)) == [
            {"Column1": 1, "Column2": "a"},
            {"Column1": 2, "Column2": "b"},
        ]

    def test_only_the_first_file_has_one_and_the_others_lines_are_rows(self, tmp_path: Path) -> None:
        found = files(tmp_path, self.TEXTS)
        assert rows(found, Delimited(header=Header.ONLY_FIRST, infer=False)) == [
            {"x": "1", "y": "2"},
            {"x": "y", "y": "z"},
            {"x": "3", "y": "4"},
        ]

    def test_combined_the_columns_are_those_of_any_file(self, tmp_path: Path) -> None:
        found = files(tmp_path, self.TEXTS)
        assert rows(found, Delimited(header=Header.COMBINE)) == [
            {"x": 1, "y": 2, "z": None},
            {"x": None, "y": 3, "z": 4},
        ]

    def test_a_second_name_gets_a_number_and_an_empty_one_its_place(self, tmp_path: Path) -> None:
        assert list(columns(files(tmp_path, {"a.csv": "a,a,,a_1\n1,2,3,4\n"}))) == ["a", "a_1", "Column3", "a_1_1"]

    def test_longer_rows_of_the_first_make_columns(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.csv": "a,b\n1,2,3\n4,5\n"})
        assert rows(found) == [{"a": 1, "b": 2, "Column3": 3}, {"a": 4, "b": 5, "Column3": None}]

    @pytest.mark.parametrize("text", ["a,b\n", "a,b", "a,b\r\n"])
    def test_a_header_alone_is_a_table_without_rows(self, tmp_path: Path, text: str) -> None:
        found = files(tmp_path, {"a.csv": text})
        assert (rows(found), columns(found)) == ([], {"a": "string", "b": "string"})

    def test_no_files_are_a_table_without_columns(self) -> None:
        assert (rows([]), columns([])) == ([], {})


@pytest.mark.warns
def test_a_row_that_is_longer_later_is_told_and_a_shorter_one_ends_in_nulls(tmp_path: Path) -> None:
    violations = Violations()
    found = files(tmp_path, {"a.csv": "a,b\n" + "1,2\n3,4\n" * 125 + "3,4,5,6\n7\n"})
    assert rows(found, violations=violations)[250:] == [{"a": 3, "b": 4}, {"a": 7, "b": None}]
    assert [str(each) for each in violations.found.values()] == [
        "a.csv: row 251, column 'column 3': '5' is beyond the 2 columns"
    ]


class TestLines:
    TEXT = 'a,b\n1,"x,y"\n2,"p\nq"\n3,z\n'

    def test_a_quoted_separator_is_text(self, tmp_path: Path) -> None:
        for multi_line in (False, True):
            found = files(tmp_path, {"a.csv": 'a,b\n1,"x,y"\n2,"say ""hi"""\n'})
            assert [row["b"] for row in rows(found, Delimited(multi_line=multi_line))] == ["x,y", 'say "hi"']

    def test_a_quoted_line_s_end_splits_the_record_unless_it_may_not(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.csv": self.TEXT})
        assert rows(found, Delimited(multi_line=True)) == [
            {"a": 1, "b": "x,y"},
            {"a": 2, "b": "p\nq"},
            {"a": 3, "b": "z"},
        ]
        assert rows(found, Delimited(infer=False)) == [
            {"a": "1", "b": "x,y"},
            {"a": "2", "b": '"p'},
            {"a": 'q"', "b": None},
            {"a": "3", "b": "z"},
        ]

    def test_a_lone_quote_ends_at_its_line(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.csv": 'a,b\n1,"x\n2,y\n3,z\n'})
        assert [row["b"] for row in rows(found)] == ['"x', "y", "z"]

    def test_a_quote_that_is_never_closed_takes_what_follows_where_lines_may_be_quoted(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.csv": 'a,b\n1,"x\n2,y\n'})
        assert rows(found, Delimited(multi_line=True)) == [{"a": 1, "b": "x\n2,y\n"}]

    def test_lines_may_end_in_any_way_and_empty_ones_are_none(self, tmp_path: Path) -> None:
        found = files(tmp_path, {"a.csv": "a,b\r\n1,2\r\n\r\n\n3,4"})
        assert rows(found) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]

    def test_a_record_may_be_cut_anywhere_by_a_chunk(self, tmp_path: Path) -> None:
        text = "".join(f'{number},"{"x" * (number % 97)}\n{number}"\n' for number in range(6000))
        found = files(tmp_path, {"a.csv": f"a,b\n{text}"})
        read = rows(found, Delimited(multi_line=True))
        assert read == [{"a": number, "b": f"{'x' * (number % 97)}\n{number}"} for number in range(6000)]


class TestEncodings:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [
            ("utf8", "utf-8"),
            ("utf8", "utf-8-sig"),
            ("utf8bom", "utf-8-sig"),
            ("latin1", "latin-1"),
            ("iso88591", "latin-1"),
            ("windows1252", "cp1252"),
            ("utf16", "utf-16"),
            ("utf32", "utf-32"),
        ],
    )
    def test_text_is_read_in_it(self, tmp_path: Path, name: str, codec: str) -> None:
        found = files(tmp_path, {"a.csv": ("café,b\nMüller,1\n").encode(codec)})
        assert rows(found, Delimited(encoding=name, infer=False)) == [{"café": "Müller", "b": "1"}]

    def test_another_name_is_refused(self) -> None:
        with pytest.raises(UserErrorException, match="encoding 'utf-8': use one of utf8, utf8bom, iso88591"):
            Delimited(encoding="utf-8")

    @pytest.mark.parametrize(
        ("text", "encoding", "told"),
        [
            ("x\nMüller\n".encode("latin-1"), "utf8", "a.csv: byte 0xfc is no UTF-8; name the files' encoding"),
            ("x\nMüller\n".encode(), "ascii", "a.csv: no text in ascii"),
            ("x\n1\n".encode("utf-16"), "utf8", "a.csv: begins as UTF-16 does; say encoding='utf16'"),
            (b"\x1f\x8b\x08abc", "utf8", "a.csv: compressed by gzip; unpack it"),
            (b"\xff\xfex\x00\n\x00\x00", "utf16", "a.csv: no text in utf16"),
        ],
    )
    def test_text_in_another_one_is_told(self, tmp_path: Path, text: bytes, encoding: str, told: str) -> None:
        with pytest.raises(DatasetValidationError, match=told):
            rows(files(tmp_path, {"a.csv": text}), Delimited(encoding=encoding))

    def test_a_nul_is_a_character(self, tmp_path: Path) -> None:
        assert rows(files(tmp_path, {"a.csv": "x,y\na\0b,1\n"})) == [{"x": "a\0b", "y": True}]


def test_a_separator_is_one_character(tmp_path: Path) -> None:
    assert rows(files(tmp_path, {"a.csv": "a;b\n1;2,5\n"}), Delimited(separator=";")) == [{"a": True, "b": "2,5"}]
    assert rows(files(tmp_path, {"a.csv": "a§b\n1§2,5\n"}), Delimited(separator="§")) == [{"a": True, "b": "2,5"}]
    for separator in ("", "::", '"', "\n"):
        with pytest.raises(ValueError, match="one character separates columns"):
            Delimited(separator=separator)


def test_a_type_that_is_set_is_the_column_s(tmp_path: Path) -> None:
    types = {
        "a": ColumnType(Kind.STRING),
        "b": ColumnType(Kind.FLOAT, decimal_mark=","),
        "c": ColumnType(Kind.DATETIME, ("%d.%m.%Y", "%Y")),
        "d": ColumnType(Kind.BOOLEAN),
    }
    found = files(tmp_path, {"a.csv": 'a,b,c,d\n007,"2,5",31.12.2020,TRUE\n8,3,2021,0\n'})
    assert rows(found, Delimited(types=types)) == [
        {"a": "007", "b": 2.5, "c": at("2020-12-31T00:00:00"), "d": True},
        {"a": "8", "b": 3.0, "c": at("2021-01-01T00:00:00"), "d": False},
    ]


def test_ten_rows_of_much_text_cost_little(tmp_path: Path) -> None:
    found = files(tmp_path, {f"{name}.csv": "a,b\n" + "12345678,some text\n" * 200_000 for name in "abc"})
    from runtime.datasets.tabular.steps import Take

    assert len(rows(found, steps=(Take(10),))) == 10
    reader = found[0].reader
    assert isinstance(reader, Counted)
    assert reader.bytes < 2 << 20
    assert reader.keys == {"a.csv"}


@pytest.mark.timeout(60)
def test_a_quote_that_is_never_closed_costs_one_look_at_each_line(tmp_path: Path) -> None:
    """Two looks at each pair of lines would take an hour."""
    text = "1,2\n" * 500_000
    found = files(tmp_path, {"a.csv": f'x,y\n1,"{text}'})
    assert rows(found, Delimited(multi_line=True)) == [{"x": 1, "y": text}]
    found = files(tmp_path, {"a.csv": f'x,"{text}"\n1,2\n'})
    assert [list(row.values()) for row in rows(found, Delimited(multi_line=True))] == [[1, 2]]
