import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import mounts, workloads
from benchmarks.content import QUICK, Sizes, make, small_keys
from benchmarks.processes import BenchmarkError, ask
from benchmarks.rows import ROWS, Sample, tools
from benchmarks.taking import Taking
from benchmarks.workloads import PAGE_BYTES, offsets
from tests.benchmarks.samples import sample
from tests.support.waiting import until

TINY = dataclasses.replace(
    QUICK, stream_bytes=3 << 20, random_bytes=8 << 20, first_bytes=1 << 20, first_files=2, small_files=20, small_read=8
)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("content")
    make(folder, TINY)
    return folder


def read(root: Path, workload: str, sizes: Sizes = TINY) -> workloads.Done:
    order = {"workload": workload, "root": str(root), "sizes": dataclasses.asdict(sizes)}
    return workloads.Done(**ask([sys.executable, "-m", "benchmarks.reading"], order, 60))


def test_every_tool_reads_at_the_same_places() -> None:
    assert offsets(QUICK, 50, PAGE_BYTES) == offsets(QUICK, 50, PAGE_BYTES)
    assert all(
        place % PAGE_BYTES == 0 and place + PAGE_BYTES <= QUICK.random_bytes for place in offsets(QUICK, 50, 4096)
    )
    assert small_keys(QUICK, 1) != small_keys(QUICK, 2)
    assert sorted(small_keys(QUICK, 1)) == sorted(small_keys(QUICK, 2))


def test_readers_count_every_byte_they_read(content: Path) -> None:
    small = sum((content / "small" / key).stat().st_size for key in small_keys(TINY, 1))
    assert read(content / "small", "small files, epoch 1").read_bytes == small
    assert read(content / "large", "sequential").read_bytes == TINY.stream_bytes
    assert read(content / "large", "random 4K by mmap").read_bytes == TINY.tiny_reads * PAGE_BYTES
    assert read(content / "small", "walk").count >= TINY.small_files


def test_a_short_file_fails_the_sample_and_makes_it_no_faster(content: Path) -> None:
    longer = dataclasses.replace(TINY, stream_bytes=4 << 20)
    with pytest.raises(BenchmarkError, match="3145728 bytes came, it has 4194304"):
        read(content / "large", "sequential", longer)


def test_a_missing_file_is_told_by_the_reader_that_missed_it(content: Path) -> None:
    with pytest.raises(BenchmarkError, match="No such file"):
        read(content / "large", "small files, epoch 1")


def test_a_plan_that_the_mount_refuses_fails_the_sample(content: Path) -> None:
    with pytest.raises(BenchmarkError, match="mountd plan: "):
        read(content / "small", "small files, epoch 1, with a plan")


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    program = tmp_path / "hangs.py"
    program.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "open(sys.argv[1], 'w').write(f'{child.pid}\\n')\n"
        "child.wait()\n"
    )
    told = tmp_path / "pid"
    with pytest.raises(BenchmarkError, match="not done within 2 s"):
        ask([sys.executable, str(program), str(told)], {}, 2)
    until(lambda: not Path(f"/proc/{int(told.read_text())}/fd/0").exists(), what="the end of the grandchild")


def test_a_failure_is_kept_and_the_run_goes_on() -> None:
    def half() -> Iterator[Sample]:
        yield sample("moorage", 1)
        raise BenchmarkError("it broke")

    taking = Taking(Console(quiet=True))
    taking.attempt("first", half())
    taking.attempt("second", [sample("moorage", 2)])
    assert [each.value for each in taking.samples] == [2]
    assert taking.failures == ["first: it broke"]


def test_a_mount_point_with_a_blank_is_found_in_the_table(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text("x /a\\040b fuse ro 0 0\ny /c fuse ro 0 0\n")
    assert mounts._in_table(table, Path("/a b"))
    assert not mounts._in_table(table, Path("/a"))
    assert not mounts._in_table(tmp_path / "ended", Path("/c"))


def test_a_mount_that_does_not_come_says_the_programs_last_word(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no device')"]
    with (
        pytest.raises(BenchmarkError, match="no device"),
        mounts._serving(command, mounts._fresh(tmp_path / "scratch"), tmp_path / "scratch", {}),
    ):
        pass
    assert not (tmp_path / "scratch").exists()


def test_columns_that_no_goal_asks_for_take_part_in_two_runs_and_the_others_in_all() -> None:
    (row,) = [each for each in ROWS if each.name == "small files"]
    assert {"moorage", "rclone streams", "local", "obstore x 8"} <= set(tools(row, [], 5))
    beside = {"moorage pyfuse3"} | ({"moorage as user"} if os.geteuid() == 0 else set())
    assert set(tools(row, [], 2)) - set(tools(row, [], 3)) == beside
    assert tools(row, ["rclone", "loc"], 1) == ["rclone streams", "local"]
