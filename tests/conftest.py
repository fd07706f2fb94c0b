"""Fixtures shared by all tests."""

import fcntl
import logging
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.azurite import Azurite
from tests.support.mount_namespace import enter_a_mount_namespace
from tests.support.mounts import mounts_below
from tests.support.postgres import Postgres


def pytest_configure() -> None:
    """Keep secrets out of anybody's keyring, and take back what a shell did to a job in the background.

    What ignores SIGINT here is started ignoring it, and stays so.
    """
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    if "PYTEST_XDIST_WORKER" in os.environ:
        enter_a_mount_namespace()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With `pytest -n`, a test that is marked `alone` waits for the other processes' tests, and they wait for it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return (yield)
    with (Path(tempfile.gettempdir()) / f"moorage-tests-{run}.lock").open("a+") as lock:
        # A lock of the process: one of the file would be held on by whatever a test has forked.
        fcntl.lockf(lock, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A Blob server of this test process's own; it fails, and does not skip, where it is not installed."""
    with Azurite.start() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this test process's own; it fails, and does not skip, where it is not installed."""
    with Postgres.start() as server:
        yield server


@pytest.fixture(scope="module", params=["native", "pyfuse3"])
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    """What speaks FUSE for every mount of a test, which runs once with each of the two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOORAGE_DRIVER", request.param)
        yield request.param


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After each test: no warning of ours but in a test that `warns`, and no mount below its folder."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if not request.node.get_closest_marker("warns"):
        assert [each.getMessage() for each in caplog.get_records("call") if _is_ours(each)] == []
    assert folder is None or mounts_below(folder) == set()


def _is_ours(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING and record.name.partition(".")[0] in {"mountd", "runtime"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With MOORAGE_REQUIRE_FUSE=1 (CI, and make test where /dev/fuse is) a FUSE or Azurite test that skips has failed."""
    report = yield
    marked = [name for name in ("fuse", "azurite") if item.get_closest_marker(name)]
    if os.environ.get("MOORAGE_REQUIRE_FUSE") == "1" and report.skipped and marked and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a {marked[0]} test must not skip here: {report.longrepr}"
    return report
