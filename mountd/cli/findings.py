"""What a doctor's check says, and the running of checks: all at once, each within its time.

A check that takes too long is a warning that names it, a check that fails by itself one that says how; the others go on.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mountd.cli import deadline
from mountd.errors import FuseUnavailableError, MountdError

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, the verdict, the text with its remedy, and the exit code of a failure."""

    check: str
    verdict: Verdict
    text: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at, with a name and the longest that it may take."""

    name: str
    limit_s: float
    look: Callable[[], Iterable[Finding]]


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", text)


def warn(check: str, text: str) -> Finding:
    """It works, and not as well as it could."""
    return Finding(check, "warn", text)


def fail(check: str, text: str, code: int = FuseUnavailableError.exit_code) -> Finding:
    """It does not work."""
    return Finding(check, "fail", text, code)


def failed(check: str, error: MountdError) -> Finding:
    """It does not work, as an error of ours says."""
    return Finding(check, "fail", f"{check}: {error}", error.exit_code)


def examine(checks: Sequence[Check]) -> Iterator[Finding]:
    """Begin all checks now, and yield what they find in the order of the checks."""
    begun_s = time.monotonic()
    for check, future in [(each, deadline.begin(_all_of(each))) for each in checks]:
        try:
            yield from future.result(max(0.0, begun_s + check.limit_s - time.monotonic()))
        except TimeoutError:
            yield warn(check.name, f"{check.name}: no answer within {check.limit_s:g} s; something it asks hangs")
        except MountdError as error:
            yield failed(check.name, error)
        except Exception as error:  # noqa: BLE001  # one check that cannot be made must not hide the others
            yield warn(check.name, f"{check.name}: could not be looked at ({type(error).__name__}: {error})")


def _all_of(check: Check) -> Callable[[], list[Finding]]:
    return lambda: list(check.look())
