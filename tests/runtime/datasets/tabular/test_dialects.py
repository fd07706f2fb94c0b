"""Generated dialects: what our reader reads is what Python's csv module reads, whatever the cuts and quotes."""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.datasets.tabular import chunks
from runtime.datasets.tabular.delimited import Delimited, Header
from tests.runtime.datasets.tabular.tables import files, rows

# Fields that are text for certain, so that types are none of this test's business; line ends and quotes are likely.
FIELDS = st.text(st.sampled_from("ab \"',;\t\n\r\\é\0"), max_size=8).map(lambda text: f"t{text}")
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(FIELDS, min_size=width, max_size=width), min_size=1, max_size=12)
)


@given(
    TABLES,
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.integers(1, 40),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_writer_wrote_is_read(
    monkeypatch: pytest.MonkeyPatch, table: list[list[str]], separator: str, end: str, quoting: int, first_bytes: int
) -> None:
    monkeypatch.setattr(chunks, "_FIRST_BYTES", first_bytes)
    monkeypatch.setattr(chunks, "_MOST_BYTES", 4 * first_bytes)
    if any("\r" in field for row in table for field in row):
        quoting = csv.QUOTE_ALL  # which this writer does not think of, and a reader may take for a line's end
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows(table)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        found = files(Path(folder), {"a.csv": text.getvalue()})
        read = rows(found, Delimited(separator=separator, header=Header.NO_HEADERS, multi_line=True))
    assert [list(row.values()) for row in read] == table


LINES = st.lists(st.text(st.sampled_from('ab",x'), min_size=1, max_size=10), min_size=1, max_size=10)


@given(LINES, st.integers(1, 20))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_has_a_record_a_line_with_the_fields_that_python_finds(
    monkeypatch: pytest.MonkeyPatch, lines: list[str], first_bytes: int
) -> None:
    monkeypatch.setattr(chunks, "_FIRST_BYTES", first_bytes)
    oracle = []
    for line in lines:
        is_open = line.count('"') % 2
        oracle += list(csv.reader([line], quoting=csv.QUOTE_NONE) if is_open else csv.reader([line]))
    width = max(map(len, oracle))
    with tempfile.TemporaryDirectory() as folder:
        found = files(Path(folder), {"a.csv": "\n".join(lines)})
        read = rows(found, Delimited(header=Header.NO_HEADERS, infer=False))
    assert [list(row.values()) for row in read] == [
        [field or None for field in row] + [None] * (width - len(row)) for row in oracle
    ]
