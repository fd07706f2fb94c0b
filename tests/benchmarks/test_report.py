import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import results
from benchmarks.content import QUICK
from benchmarks.goals import Measured
from benchmarks.measure import Spread
from benchmarks.processes import BenchmarkError
from benchmarks.report import COLUMNS, cells, ladder, markdown, number, summarise
from benchmarks.rows import ROWS, TOOLS
from benchmarks.server import Shape
from benchmarks.taking import Taking
from tests.benchmarks.samples import sample


def test_runs_of_one_row_on_one_tool_become_a_line() -> None:
    taken = [sample("moorage", 10), sample("local", 1, cpu_s=None), sample("moorage", 30), sample("moorage", 20)]
    fast, slow = summarise([*taken, sample("moorage", 99, step="60 ms")])
    assert (fast.tool, fast.value, fast.cpu_s, fast.fetched_per_read) == ("moorage", Spread(20, 10, 30, 3), 2.0, 2.0)
    assert (slow.tool, slow.cpu_s) == ("local", None)
    assert cells(fast) == ["sequential", "moorage", "20 MB/s", "10 - 30", "3", "2.00 s/GB", "1 MiB", "10", "2.00"]
    assert markdown(COLUMNS, [cells(fast)]).count("\n") == 3


def test_a_ladder_has_a_column_for_each_step_and_leaves_out_what_is_missing() -> None:
    taken = [
        sample("moorage", 5, row="walk", step="1,000 files"),
        sample("moorage", 6, row="walk", step="100,000 files"),
        sample("rclone streams", 7, row="walk", step="1,000 files"),
        sample("moorage", 2, row="mount", step="100,000 files", peak_bytes=64 << 20),
        sample("moorage", 8, step="15 ms"),
    ]
    assert ladder(taken, "files") == (
        ["workload", "on", "1,000 files", "100,000 files"],
        [
            ["walk, entries/s", "moorage", "5", "6"],
            ["walk, entries/s", "rclone streams", "7", ""],
            ["mount, s", "moorage", "", "2"],
            ["mount, MiB of peak RSS", "moorage", "", "64"],
        ],
    )
    assert ladder(taken, "ms")[1] == [["sequential, MB/s", "moorage", "8"]]


def test_numbers_have_three_digits() -> None:
    assert [number(each) for each in (0.12345, 12.345, 123.45, 12345.6)] == ["0.123", "12.3", "123", "12,346"]


def test_the_rows_are_the_documents() -> None:
    text = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
    assert [name for row in ROWS for name in row.epochs if f"| {name} |" not in text] == []
    assert [tool for row in ROWS for tool in row.tools if tool not in TOOLS] == []


@pytest.mark.full
def test_results_stand_in_the_document_with_their_command_and_replace_the_old(tmp_path: Path) -> None:
    document = tmp_path / "docs" / "benchmarks.md"
    document.parent.mkdir()
    document.write_text("# Benchmarks\n\n## Results\n\nhearsay\n")
    samples = [
        sample("moorage", 700),
        sample("rclone streams", 350),
        sample("moorage", 9, row="sequential", step="1 ms"),
    ]
    taking = Taking(Console(quiet=True), samples)
    results.write(tmp_path, taking, Measured(samples, Shape()), QUICK, load=0.25)
    results.publish(tmp_path, document)
    text = document.read_text()
    assert text.startswith("# Benchmarks\n\n## Results\n\nBy `make bench")
    assert "hearsay" not in text
    assert "| sequential | moorage | 700 MB/s |" in text
    assert "| sequential, cold | x rclone | at least 3 | 2 | **no** |" in text
    assert "The load average at the start was 0.25." in text
    assert {path.name for path in document.parent.iterdir()} >= {"benchmarks.svg", "benchmarks-latencies.svg"}
    kept = json.loads((document.parent / "benchmarks.json").read_text())
    assert kept["samples"][0]["value"] == 700
    assert {"goal": "sequential, cold", "unit": "x rclone", "wanted": "at least 3", "reached": 2, "met": False} in kept[
        "goals"
    ]


@pytest.mark.full
def test_a_run_that_failed_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="run make bench first"):
        results.publish(tmp_path, tmp_path / "none.md")
    taking = Taking(Console(quiet=True), [sample("moorage", 1)], ["run 1: walk: it broke"])
    results.write(tmp_path, taking, Measured(taking.samples, Shape()), QUICK, load=0)
    assert "Failed: run 1: walk: it broke" in (tmp_path / "results.md").read_text()
    with pytest.raises(BenchmarkError, match="it broke"):
        results.publish(tmp_path, tmp_path / "none.md")


def test_the_scratch_folder_is_no_part_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "--runs", "2", "--folder", str(tmp_path), "--rows", "random 4K"])
    assert results._command() == """make bench BENCH_ARGS="--runs 2 --rows 'random 4K'\""""
