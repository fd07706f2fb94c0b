"""Waiting for a condition with a deadline: the only polling that tests do."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], *, deadline_s: float = 20, what: str = "the condition") -> None:
    """Return when `condition()` is true; fail the test when it is not within `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            message = f"{what} did not come true within {deadline_s} s"
            raise AssertionError(message)
        time.sleep(0.01)  # a poll of outside state (a process, a mount table) that offers nothing to wait on
