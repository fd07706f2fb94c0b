"""Samples as a run would take them, for tests of what is made of them."""

from benchmarks.rows import Sample


def sample(
    tool: str,
    value: float,
    *,
    row: str = "sequential",
    run: int = 1,
    count: int = 1,
    cpu_s: float | None = 2.0,
    peak_bytes: int = 2**20,
    requests: int = 10,
    read_bytes: int = 10**9,
    sent_bytes: int = 2 * 10**9,
    step: str = "",
) -> Sample:
    """A sample; what does not matter has a value that shows when it is used."""
    return Sample(row, tool, run, value, count, read_bytes, cpu_s, peak_bytes, requests, sent_bytes, step)
