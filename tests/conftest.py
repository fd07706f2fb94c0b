"""Fixtures shared by all tests."""

from collections.abc import Iterator

import pytest

from tests.support.azurite import Azurite


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A Blob server of this test process's own; it fails, and does not skip, where it is not installed."""
    with Azurite.start() as server:
        yield server
