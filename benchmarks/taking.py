"""The samples that a run has taken, and what failed: one failure is said and kept, and the run goes on."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console

from benchmarks.processes import BenchmarkError
from benchmarks.rows import Sample


@dataclass(slots=True)
class Taking:
    """What came so far; one run of the program has one, and one thread."""

    console: Console
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def attempt(self, what: str, samples: Iterable[Sample]) -> None:
        """Take all of `samples` or, when one of them fails, none; say which."""
        self.console.print(f"bench: {what}", highlight=False, markup=False)
        try:
            self.samples += list(samples)
        except (BenchmarkError, OSError, ValueError, subprocess.SubprocessError) as error:
            self.failures.append(f"{what}: {error}")
            self.console.print(f"bench: FAILED: {what}: {error}", highlight=False, markup=False, style="red")
