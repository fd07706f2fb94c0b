"""The samples that a run has taken, and what failed: one failure is said and kept, and the run goes on."""

import sqlite3
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from benchmarks.processes import BenchmarkError
from benchmarks.rows import Sample

_FAILURES = (BenchmarkError, OSError, ValueError, subprocess.SubprocessError, sqlite3.Error)


@dataclass(slots=True)
class Taking:
    """What came so far; one run of the program has one, and one thread."""

    console: Console
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def attempt(self, what: str, samples: Iterable[Sample]) -> None:
        """Take all of `samples` or, when one of them fails, none; say which."""
        self.console.print(f"bench: {what}", highlight=False, markup=False)
        with self.surviving(what):
            self.samples += list(samples)

    @contextmanager
    def surviving(self, what: str) -> Iterator[None]:
        """Keep a failure of the block, and go on behind it."""
        try:
            yield
        except _FAILURES as error:
            self.failures.append(f"{what}: {error}")
            self.console.print(f"bench: FAILED: {what}: {error}", highlight=False, markup=False, style="red")
