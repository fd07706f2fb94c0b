"""What the tests of the catalog share: digests, raw statements, runs."""

import sqlalchemy as sa

from runtime.catalog import RunFacts
from runtime.catalog.database import Database
from runtime.workspace import WorkspaceFolder


def digest(number: int) -> str:
    return f"{number:064x}"


def execute(workspace: WorkspaceFolder, *statements: str) -> list[tuple[object, ...]]:
    """Run statements in one transaction, past the catalog and whatever its schema is; the rows of the last one."""
    database = Database(workspace.identity().catalog, workspace.catalog_path)
    try:
        with database.transaction(write=True) as connection:
            for statement in statements:
                result = connection.execute(sa.text(statement))
            return [tuple(row) for row in result.all()] if result.returns_rows else []
    finally:
        database.close()


def run_facts(number: int, status: str = "Completed") -> RunFacts:
    moment = f"2026-07-01T12:00:{number:02}.000+00:00"
    ended = moment if status == "Completed" else None
    return RunFacts(f"train_{number}", "train", status, "host:/w", moment, moment, ended, 0, ("python", "train.py"))
