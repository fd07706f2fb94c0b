"""Text that was made to hurt: quotes that never close, old line ends, text in other encodings, numbers beyond 53 bits."""

from pathlib import Path
from time import perf_counter

import pytest

from runtime.datasets.tabular import delimited
from runtime.datasets.tabular.definition import JsonLines
from runtime.datasets.tabular.delimited import Delimited
from runtime.datasets.tabular.violations import Violations
from runtime.errors import DatasetValidationError
from tests.runtime.datasets.tabular.tables import files, rows


class TestDelimited:
    def test_a_quote_that_never_closes_takes_no_more_time_than_one_that_does(self, tmp_path: Path) -> None:
        lines = "1,2\n" * 400_000
        taken = {}
        for name, text in (("closed", f'a,b\n"1",2\n{lines}'), ("open", f'a,b\n"1,2\n{lines}')):
            found = files(tmp_path / name, {"a.csv": text})
            begun = perf_counter()
            read = rows(found, Delimited(multi_line=True))
            taken[name] = perf_counter() - begun
            assert len(read) == (400_001 if name == "closed" else 1)
        assert taken["open"] < 20 * taken["closed"]

    def test_a_record_without_end_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(delimited, "_RECORD_MOST_BYTES", 1 << 20)
        found = files(tmp_path, {"a.csv": "a,b\n1,2\n" * 50_000 + '"' + "3,4\n" * 1_500_000})
        with pytest.raises(
            DatasetValidationError, match=r"a\.csv: a record of more than 1 MiB; a quote may not be closed"
        ):
            rows(found, Delimited(multi_line=True))

    @pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
    @pytest.mark.parametrize("multi_line", [False, True])
    def test_lines_may_end_as_they_like(self, tmp_path: Path, end: str, *, multi_line: bool) -> None:
        lines = ["a,b", *(f"{number},t{number}" for number in range(40_000))]
        found = files(tmp_path, {"a.csv": end.join(lines)})
        read = rows(found, Delimited(multi_line=multi_line))
        assert read == [{"a": number, "b": f"t{number}"} for number in range(40_000)]

    @pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
    def test_quoted_ends_of_lines_stay_wherever_a_range_ends(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        from runtime.datasets.tabular import chunks

        monkeypatch.setattr(chunks, "_FIRST_BYTES", 7)
        monkeypatch.setattr(chunks, "_MOST_BYTES", 13)
        lines = ["a,b", *(f'{number},"x{end}""{number}"""' for number in range(300))]
        found = files(tmp_path, {"a.csv": end.join(lines), "b.csv": end.join(lines)})
        expected = [{"a": number, "b": f'x{end}"{number}"'} for number in range(300)]
        assert rows(found, Delimited(multi_line=True)) == [*expected, *expected]

    def test_utf16_is_told_with_a_mark_or_without(self, tmp_path: Path) -> None:
        for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
            found = files(tmp_path / encoding, {"a.csv": "a,b\n1,2\n".encode(encoding)})
            with pytest.raises(DatasetValidationError, match=r"a\.csv: begins as UTF-16 does; say encoding='utf16'"):
                rows(found)
        found = files(tmp_path / "none", {"a.csv": "a,b\n1,2\n".encode("utf-16-le")})
        with pytest.raises(DatasetValidationError, match=r"a\.csv: no text in utf16 .*; name the encoding"):
            rows(found, Delimited(encoding="utf16"))

    @pytest.mark.parametrize("separator", ["", ",,", '"', "\n", None, [","]])
    def test_a_separator_is_one_character(self, separator: object) -> None:
        with pytest.raises(ValueError, match="one character separates columns"):
            Delimited(separator=separator)  # type: ignore[arg-type] # as a script may


class TestJsonLines:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_marks_and_ends_of_lines_are_no_part_of_objects(self, tmp_path: Path, encoding: str, end: str) -> None:
        found = files(tmp_path, {"a.jsonl": end.join(['{"a": 1, "b": "ö"}', "", '{"a": 2}']).encode(encoding)})
        source = JsonLines("utf16" if encoding == "utf-16" else "utf8")
        assert rows(found, source) == [{"a": 1, "b": "ö"}, {"a": 2, "b": None}]

    @pytest.mark.parametrize("line", ['{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"a": "\\ud800"}', '{"a": 1'])
    @pytest.mark.warns
    def test_what_no_table_can_hold_is_a_line_like_any_other_bad_one(self, tmp_path: Path, line: str) -> None:
        found = files(tmp_path, {"a.jsonl": f'{{"a": "x"}}\n{line}\n{{"a": "\\ud83d\\ude00"}}\n'})
        with pytest.raises(DatasetValidationError, match=r"a\.jsonl: line 2: no JSON object"):
            rows(found, JsonLines())
        assert rows(found, JsonLines(drops_invalid=True)) == [{"a": "x"}, {"a": "\U0001f600"}]

    def test_an_integer_of_many_digits_is_a_number_where_there_are_fractions(self, tmp_path: Path) -> None:
        violations = Violations()
        found = files(tmp_path, {"a.jsonl": f'{{"a": 0.5}}\n{{"a": {10**20}}}\n{{"a": {2**53 + 1}}}\n'})
        assert [row["a"] for row in rows(found, JsonLines(), violations)] == [0.5, 1e20, 2.0**53]
        assert not violations.found
