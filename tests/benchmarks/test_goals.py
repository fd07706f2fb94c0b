import pytest

from benchmarks.goals import GOALS, MILLIONS, Goal, Measured, judge
from benchmarks.rows import ROWS, Sample
from benchmarks.server import Shape
from tests.benchmarks.samples import sample

SHAPE = Shape(latency_s=0.015, rate_bytes=60_000_000)
PLANNED = "small files, epoch 1, with a plan"


def judged(what: str, unit: str, *samples: Sample) -> tuple[float | None, bool | None]:
    found = [
        (reached, met)
        for goal, reached, met in judge(Measured(samples, SHAPE))
        if (goal.what, goal.unit) == (what, unit)
    ]
    assert len(found) == 1, [(goal.what, goal.unit) for goal in GOALS]
    return found[0]


def test_a_bound_holds_at_its_edge_and_breaks_beyond_it() -> None:
    def goal(**bounds: float) -> Goal:
        return Goal("x", "s", lambda _: None, **bounds)

    assert [goal(least=3).met(each) for each in (2.99, 3, 4)] == [False, True, True]
    assert [goal(most=3).met(each) for each in (2, 3, 3.01)] == [True, True, False]
    assert [goal(below=3).met(each) for each in (2, 3)] == [True, False]
    assert (goal().met(3), goal(least=3).met(None)) == (None, None)
    assert goal(most=0).wanted == "at most 0"


def test_a_ratio_is_of_one_run_and_the_median_of_them_counts() -> None:
    ours = [sample("moorage", value, run=run) for run, value in ((1, 100), (2, 10), (3, 100), (4, 1))]
    theirs = [sample("rclone streams", value, run=run) for run, value in ((1, 25), (2, 5), (3, 50))]
    assert judged("sequential, cold", "x rclone", *ours, *theirs) == (2, False)
    assert judged("sequential, cold", "x rclone", *ours[:1], *theirs[:1]) == (4, True)


def test_ladders_are_no_part_of_the_goals_of_the_table() -> None:
    rung = sample("moorage", 1, step="60 ms", peak_bytes=2**40)
    assert [met for _, _, met in judge(Measured([rung], SHAPE))] == [None] * len(GOALS)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {(reached, met) for _, reached, met in judge(Measured([], SHAPE))} == {(None, None)}


def test_the_bound_of_random_reads_counts_the_bytes_that_were_fetched() -> None:
    # 600,000 bytes a read: 15 ms and 10 ms, so 8 readers could have 320 a second.
    reads = sample("moorage", 256, row="random 64K x 8", count=100, sent_bytes=60_000_000)
    what = "of the bound 8 / (latency + time of the bytes fetched)"
    reached, met = judged("random 64 KiB x 8", what, reads)
    assert reached == pytest.approx(0.8)
    assert met is True


def test_the_first_byte_is_held_against_the_latency_and_both_rclones() -> None:
    row = "first byte"
    taken = [sample(tool, ms, row=row) for tool, ms in (("moorage", 30), ("rclone streams", 40), ("rclone ranges", 15))]
    assert judged("first byte of a cold file", "x the server's latency", *taken) == (2, True)
    assert judged("first byte of a cold file", "x rclone's time", *taken) == (0.75, True)
    assert judged("first byte of a cold file", "x the time of rclone ranges", *taken) == (2, None)


@pytest.mark.parametrize(
    ("what", "unit", "taken", "judgement"),
    [
        ("sequential, CPU", "s/GB", sample("moorage", 1, cpu_s=3.0, read_bytes=2 * 10**9), (1.5, True)),
        (
            "sequential, bytes fetched",
            "for a byte read",
            sample("moorage", 1, read_bytes=10, sent_bytes=11),
            (1.1, False),
        ),
        (
            "random 64 KiB x 8, bytes fetched",
            "for a byte read",
            sample("moorage", 1, row="random 64K x 8", read_bytes=1, sent_bytes=4),
            (4, True),
        ),
        (
            "random 4 KiB by pread, bytes fetched",
            "for a byte read",
            sample("moorage", 1, row="random 4K", read_bytes=1, sent_bytes=17),
            (17, False),
        ),
        (
            "random 4 KiB by mmap, bytes fetched a fault",
            "x the kernel's read-ahead of 128 KiB",
            sample("moorage", 1, row="random 4K by mmap", count=10, sent_bytes=10 * 163_840),
            (1.25, True),
        ),
        ("walk and stat", "requests", sample("moorage", 1, row="walk", requests=1), (1, False)),
        (
            "small files, epoch 1, with a plan, CPU",
            "ms a file",
            sample("moorage", 1, row=PLANNED, count=1000, cpu_s=0.7),
            (0.7, True),
        ),
        (
            "small files, epoch 1, both ways",
            "requests a file",
            sample("moorage", 1, row=PLANNED, count=100, requests=103),
            (1.03, False),
        ),
        ("peak RSS, the most of all rows", "MiB", sample("moorage", 1, peak_bytes=513 * 2**20), (513, False)),
        ("mount of 10 million files", "s", sample("moorage", 0.4, row="mount", step=MILLIONS), (0.4, True)),
    ],
)
def test_a_goal_is_computed_from_its_own_samples(
    what: str, unit: str, taken: Sample, judgement: tuple[float, bool]
) -> None:
    reached, met = judged(what, unit, taken)
    assert reached == pytest.approx(judgement[0])
    assert met is judgement[1]


def test_a_plan_is_held_against_the_epoch_of_a_rival_who_has_none() -> None:
    taken = [sample("moorage", 600, row=PLANNED), sample("rclone streams", 100, row="small files, epoch 1")]
    assert judged("small files, epoch 1, with a plan", "x rclone", *taken) == (6, True)


def test_every_goal_is_judged_when_every_row_was_taken() -> None:
    taken = [sample(tool, 1, row=name) for row in ROWS for name in row.epochs for tool in row.tools] + [
        sample("moorage", 1, row="mount", step=MILLIONS)
    ]
    assert [goal for goal, reached, _ in judge(Measured(taken, SHAPE)) if reached is None] == []
