import os
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Spread
from benchmarks.report import cells, markdown, number, summarise
from benchmarks.rows import ROWS, Sample
from benchmarks.server import Traffic, parse_log
from benchmarks.workloads import PAGE_BYTES, offsets

STAT = "77 (a (b) c) S 12 1 1 0 -1 0 0 0 0 0 130 40 20 10 20 0 1 0 5 0 0"


def sample(tool: str, value: float, *, row: str = "sequential", cpu_s: float | None = 2.0) -> Sample:
    return Sample(row, tool, value, 1, 10**9, cpu_s, 2**20, 10, 2 * 10**9)


def test_the_log_gives_requests_and_bytes() -> None:
    assert parse_log("GET 206 100 /a/b c.bin\nHEAD 200 0 /a/b\nGET 499 23 /x\n") == Traffic(3, 123)
    assert parse_log("") == Traffic(0, 0)


def test_a_spread_is_median_and_bounds() -> None:
    assert Spread.of([3, 1, 2, 9]) == Spread(2.5, 1, 9, 4)
    assert Spread.of([7]) == Spread(7, 7, 7, 1)


def test_cpu_counts_children_that_have_ended_and_survives_odd_names() -> None:
    assert measure.cpu_of(STAT) == 200 / os.sysconf("SC_CLK_TCK")


def test_peak_memory_is_in_bytes_and_zero_for_the_dead() -> None:
    assert measure.peak_of("Name:\tx\nVmHWM:\t  12 kB\n") == 12 * 1024
    assert measure.peak_of("Name:\tx\nState:\tZ (zombie)\n") == 0


def test_this_process_is_in_its_parents_family_and_has_memory() -> None:
    assert os.getpid() in measure.family(os.getppid())
    assert measure.usage(os.getpid()).peak_bytes > 2**20


def test_runs_of_one_row_on_one_tool_become_a_line() -> None:
    fast, slow = summarise([sample("a", 10), sample("b", 1, cpu_s=None), sample("a", 30), sample("a", 20)])
    assert (fast.tool, fast.value, fast.cpu_s, fast.fetched_per_read) == ("a", Spread(20, 10, 30, 3), 2.0, 2.0)
    assert (slow.tool, slow.cpu_s) == ("b", None)
    assert cells(fast) == ["20 MB/s", "10 - 30", "3", "2.00 s/GB", "1 MiB", "10", "2.00"]
    assert markdown([fast]).count("\n") == 3


def test_numbers_have_three_digits() -> None:
    assert [number(each) for each in (0.12345, 12.345, 123.45, 12345.6)] == ["0.123", "12.3", "123", "12,346"]


def test_every_tool_reads_at_the_same_places() -> None:
    from benchmarks.content import QUICK, small_keys

    assert offsets(QUICK, 50, PAGE_BYTES) == offsets(QUICK, 50, PAGE_BYTES)
    assert all(
        place % PAGE_BYTES == 0 and place + PAGE_BYTES <= QUICK.random_bytes for place in offsets(QUICK, 50, 4096)
    )
    assert small_keys(QUICK, 1) != small_keys(QUICK, 2)
    assert sorted(small_keys(QUICK, 1)) == sorted(small_keys(QUICK, 2))


def test_the_rows_are_the_documents() -> None:
    text = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
    assert [name for row in ROWS for name in row.names() if f"| {name} |" not in text] == []
