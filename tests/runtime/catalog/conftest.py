"""A workspace with a catalog on each kind of database; what needs a server is part of `make test-full`."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runtime.workspace import WorkspaceFolder, init

if TYPE_CHECKING:
    from tests.support.postgres import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def workspace(tmp_path: Path, request: pytest.FixtureRequest) -> WorkspaceFolder:
    """A workspace whose catalog is not made yet: a file, or an empty schema of a server."""
    if request.param == "sqlite":
        return init(tmp_path / ".moorage")
    server: Postgres = request.getfixturevalue("postgres")
    return init(tmp_path / ".moorage", server.make_place())
