"""Fixtures shared by all tests."""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.support.azurite import Azurite


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A Blob server of this test process's own; it fails, and does not skip, where it is not installed."""
    with Azurite.start() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With MOORAGE_REQUIRE_FUSE=1 (CI, and make test where /dev/fuse is) a FUSE or Azurite test that skips has failed."""
    report = yield
    marked = [name for name in ("fuse", "azurite") if item.get_closest_marker(name)]
    if os.environ.get("MOORAGE_REQUIRE_FUSE") == "1" and report.skipped and marked and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a {marked[0]} test must not skip here: {report.longrepr}"
    return report
