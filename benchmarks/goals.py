"""The goals of the data plane, judged on the samples of one run: pure.

A goal is a number that the samples give, and a bound. Numbers against a rival are ratios within each run (tools take turns
in it, so a slow minute hits both), of which the median counts; others are medians, and where a promise is about the worst
case, the worst. Moorage has one setting for all rows, so its rival in a goal is the one setting of rclone that is best at
whole files; against rclone tuned for random places alone the number is shown and no goal.

Invariant: what was not measured is neither met nor missed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.rows import LOCAL, MOORAGE, RANGES, STREAMS, WIRE, Sample
from benchmarks.server import Shape
from benchmarks.workloads import THREADS

MILLIONS = "10,000,000 files"
_READ_AHEAD_BYTES = 128 * 1024  # the kernel's, by default
_EPOCHS = [f"small files, epoch {number}" for number in (1, 2, 3)]
_PLANNED = f"{_EPOCHS[0]}, with a plan"


@dataclass(frozen=True, slots=True)
class Measured:
    """The samples of one run, and the server they were taken on. Each question is answered None when samples are missing."""

    samples: Sequence[Sample]
    shape: Shape

    def each(self, row: str, tool: str = MOORAGE, step: str = "") -> dict[int, Sample]:
        """The samples of a row on a tool, by the number of the run."""
        return {each.run: each for each in self.samples if (each.row, each.tool, each.step) == (row, tool, step)}

    def median(self, row: str, of: Callable[[Sample], float], step: str = "") -> float | None:
        """The median over Moorage's samples of a row."""
        values = [of(each) for each in self.each(row, step=step).values()]
        return median(values) if values else None

    def worst(self, of: Callable[[Sample], float], *rows: str) -> float | None:
        """The most over Moorage's samples of some rows, or of all in the table."""
        ours = [each for each in self.samples if (each.tool, each.step) == (MOORAGE, "")]
        return max((of(each) for each in ours if not rows or each.row in rows), default=None)

    def against(self, tool: str, row: str, theirs: str = "") -> float | None:
        """The median over the runs of Moorage's value by the other's, which may be of another row."""
        ours, others = self.each(row), self.each(theirs or row, tool)
        ratios = [ours[run].value / others[run].value for run in ours.keys() & others.keys()]
        return median(ratios) if ratios else None


@dataclass(frozen=True, slots=True)
class Goal:
    """One number: what it is of, its unit, how it comes from the samples, and its bounds; without any it is only shown."""

    what: str
    unit: str
    number: Callable[[Measured], float | None]
    least: float | None = None
    most: float | None = None
    below: float | None = None

    @property
    def wanted(self) -> str:
        """The bound, in words."""
        bounds = (("at least", self.least), ("at most", self.most), ("below", self.below))
        return next((f"{word} {bound:g}" for word, bound in bounds if bound is not None), "")

    def met(self, reached: float | None) -> bool | None:
        """Whether that number keeps the bound; None where nothing is asked, or nothing was measured."""
        if reached is None or not self.wanted:
            return None
        kept = self.least is None or reached >= self.least
        return kept and (self.most is None or reached <= self.most) and (self.below is None or reached < self.below)


def _cpu_s(sample: Sample) -> float:
    return sample.cpu_s or 0.0


def _by_bound(measured: Measured) -> float | None:
    """Reads a second by what 8 readers could have who wait for the latency and for the bytes that were fetched."""

    def share(sample: Sample) -> float:
        fetch_s = measured.shape.latency_s + sample.sent_bytes / sample.count / measured.shape.rate_bytes
        return sample.value * fetch_s / THREADS

    return measured.median("random 64K x 8", share)


def _by_latency(measured: Measured) -> float | None:
    return measured.median("first byte", lambda each: each.value / 1000 / measured.shape.latency_s)


def _fetched(row: str) -> Callable[[Measured], float | None]:
    return lambda measured: measured.median(row, lambda each: each.sent_bytes / each.read_bytes)


def _against(tool: str, row: str, theirs: str = "") -> Callable[[Measured], float | None]:
    return lambda measured: measured.against(tool, row, theirs)


def _a_fault(sample: Sample) -> float:
    return sample.sent_bytes / sample.count / _READ_AHEAD_BYTES


GOALS = (
    Goal("first byte of a cold file", "x the server's latency", _by_latency, most=2),
    Goal("first byte of a cold file", "x rclone's time", _against(STREAMS, "first byte"), below=1),
    Goal("first byte of a cold file", "x the time of rclone ranges", _against(RANGES, "first byte")),
    Goal("sequential, cold", "x rclone", _against(STREAMS, "sequential"), least=3),
    Goal(
        "sequential, CPU", "s/GB", lambda m: m.median("sequential", lambda s: _cpu_s(s) / s.read_bytes * 1e9), most=1.6
    ),
    Goal("sequential, bytes fetched", "for a byte read", _fetched("sequential"), most=1.05),
    Goal("random 64 KiB x 8", "x rclone", _against(STREAMS, "random 64K x 8"), least=6),
    Goal("random 64 KiB x 8", "x rclone ranges", _against(RANGES, "random 64K x 8")),
    Goal("random 64 KiB x 8", "of the bound 8 / (latency + time of the bytes fetched)", _by_bound, least=0.8),
    Goal("random 64 KiB x 8, bytes fetched", "for a byte read", _fetched("random 64K x 8"), most=4),
    Goal("random 4 KiB by pread, bytes fetched", "for a byte read", _fetched("random 4K"), most=16),
    Goal(
        "random 4 KiB by mmap, bytes fetched a fault",
        "x the kernel's read-ahead of 128 KiB",
        lambda m: m.median("random 4K by mmap", _a_fault),
        most=1.25,
    ),
    Goal("walk and stat", "x rclone", _against(STREAMS, "walk"), least=10),
    Goal("walk and stat", "requests", lambda m: m.worst(lambda s: s.requests, "walk"), most=0),
    Goal("small files, epoch 1, no plan", "of raw obstore with 8 threads", _against(WIRE, _EPOCHS[0]), least=0.9),
    Goal("small files, epoch 1, with a plan", "x rclone", _against(STREAMS, _PLANNED, _EPOCHS[0]), least=6),
    Goal(
        "small files, epoch 1, with a plan, CPU",
        "ms a file",
        lambda m: m.median(_PLANNED, lambda s: _cpu_s(s) / s.count * 1000),
        most=0.7,
    ),
    Goal(
        "small files, epoch 1, both ways",
        "requests a file",
        lambda m: m.worst(lambda s: s.requests / s.count, _EPOCHS[0], _PLANNED),
        most=1.02,
    ),
    Goal("small files, epoch 2, disk cache", "x rclone", _against(STREAMS, _EPOCHS[1]), least=4),
    Goal("small files, epoch 2, disk cache", "of local files", _against(LOCAL, _EPOCHS[1]), least=0.8),
    Goal("small files, epoch 3, page cache", "of local files", _against(LOCAL, _EPOCHS[2]), least=0.9),
    Goal("peak RSS, the most of all rows", "MiB", lambda m: m.worst(lambda s: (s.peak_bytes or 0) / 2**20), most=512),
    Goal("mount of 10 million files", "s", lambda m: m.median("mount", lambda s: s.value, MILLIONS), below=1),
)


def judge(measured: Measured) -> list[tuple[Goal, float | None, bool | None]]:
    """Each goal with what was reached (None: not measured), and whether it is met (None: nothing asked or measured)."""
    reached = [goal.number(measured) for goal in GOALS]
    return [(goal, number, goal.met(number)) for goal, number in zip(GOALS, reached, strict=True)]
