"""The schema: made and migrated whole or not at all, by one process of many; what is newer is refused."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from runtime.catalog import open_catalog, schema, tables
from runtime.catalog.database import Database
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder
from tests.runtime.catalog.catalogs import digest, execute

# The tables as Moorage made them before there were revisions, with one dataset of two versions and one without a name.
_INSERT = """INSERT INTO versions (id, name, version, digest, files, size_bytes, definition, description, tags, created)
    VALUES ('id-{}', {}, {}, '{}', 3, 40, '{{}}', '', '{{}}', '2026-07-01T12:00:00+00:00')"""
_FORMAT_1 = (
    "CREATE TABLE catalog_format (version INTEGER NOT NULL, PRIMARY KEY (version))",
    "CREATE TABLE datasets (name VARCHAR(255) NOT NULL, created VARCHAR(40) NOT NULL, PRIMARY KEY (name))",
    """CREATE TABLE versions (id VARCHAR(36) NOT NULL, name VARCHAR(255), version INTEGER, definition TEXT NOT NULL,
       digest VARCHAR(64) NOT NULL, files BIGINT NOT NULL, size_bytes BIGINT NOT NULL, description TEXT NOT NULL,
       tags TEXT NOT NULL, created VARCHAR(40) NOT NULL, PRIMARY KEY (id), UNIQUE (name, version),
       FOREIGN KEY(name) REFERENCES datasets (name))""",
    "CREATE INDEX versions_by_digest ON versions (digest)",
    "INSERT INTO catalog_format (version) VALUES (1)",
    "INSERT INTO datasets (name, created) VALUES ('digits', '2026-07-01T12:00:00+00:00')",
    *(
        _INSERT.format(number, name, version, digest(number))
        for number, name, version in ((1, "'digits'", 1), (2, "'digits'", 2), (3, "NULL", "NULL"))
    ),
)
_TABLES = {"catalog_format", "catalog_revision", "datasets", "made", "numbers", "reads", "runs", "versions"}


def table_names(workspace: WorkspaceFolder) -> set[str]:
    database = Database(workspace.identity().catalog, workspace.catalog_path)
    with database.transaction() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_the_newest_revision_is_the_one_that_the_tables_are_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._SCRIPTS))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [tables.REVISION]
    assert tuple(sorted(each.revision for each in script.walk_revisions())) == tables.KNOWN_REVISIONS


@pytest.mark.parametrize("from_format_1", [False, True])
def test_the_migrations_make_exactly_the_tables(workspace: WorkspaceFolder, from_format_1: bool) -> None:  # noqa: FBT001 # a parameter of the test
    if from_format_1:
        execute(workspace, *_FORMAT_1)
    open_catalog(workspace).close()
    assert table_names(workspace) == _TABLES
    database = Database(workspace.identity().catalog, workspace.catalog_path)
    with database.transaction() as connection:
        told = {"version_table": tables.REVISION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=told), tables.metadata) == []
    assert execute(workspace, "SELECT version_num FROM catalog_revision") == [(tables.REVISION,)]


def test_a_catalog_of_format_1_keeps_all_that_is_in_it(workspace: WorkspaceFolder) -> None:
    execute(workspace, *_FORMAT_1)
    with open_catalog(workspace) as catalog:
        assert [(each.id, each.version) for each in catalog.versions("digits")] == [("id-1", 1), ("id-2", 2)]
        assert catalog.get_by_id("id-3").name == ""
        catalog.unregister("digits")
        assert catalog.register("digits", "{}", digest(9), 1, 1).version == 3  # the numbers given before count
    assert execute(workspace, "SELECT version FROM catalog_format") == [(2,)]  # a Moorage of format 1 refuses it


def test_a_catalog_of_a_newer_schema_is_refused_by_name_and_not_touched(workspace: WorkspaceFolder) -> None:
    open_catalog(workspace).close()
    execute(workspace, "UPDATE catalog_revision SET version_num = '0099'")
    with pytest.raises(
        UserErrorException, match=r"the schema 0099, and this Moorage knows 0001 to .*; install the newer"
    ):
        open_catalog(workspace)
    assert execute(workspace, "SELECT version_num FROM catalog_revision") == [("0099",)]
    execute(workspace, "DROP TABLE catalog_revision", "UPDATE catalog_format SET version = 7")
    with pytest.raises(UserErrorException, match="the schema of format 7, and this Moorage knows"):
        open_catalog(workspace)


_MIGRATE_AND_STOP = """
import sys
from pathlib import Path
from alembic.operations import Operations
from runtime.catalog import open_catalog
from runtime.workspace import WorkspaceFolder

def stop(self, statement, **_):
    if "catalog_format" in statement:  # the last step of the newest revision
        print("migrating", flush=True)
        sys.stdin.read()
    original(self, statement)

original, Operations.execute = Operations.execute, stop
open_catalog(WorkspaceFolder(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("before", [(), _FORMAT_1], ids=["nothing", "format 1"])
def test_a_migration_that_is_killed_leaves_what_was_there(workspace: WorkspaceFolder, before: tuple[str, ...]) -> None:
    if before:
        execute(workspace, *before)
    there = table_names(workspace)
    command = [sys.executable, "-c", _MIGRATE_AND_STOP, str(workspace.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "migrating\n"
        process.kill()
    assert table_names(workspace) == there
    with open_catalog(workspace) as catalog:
        assert len(catalog.versions("digits")) == (2 if before else 0)
    assert table_names(workspace) == _TABLES


def test_whoever_comes_during_a_migration_waits_for_it(
    workspace: WorkspaceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_none = threading.Event()
    original = schema._revision

    def revision(connection: sa.Connection, database: Database) -> str | None:
        found = original(connection, database)
        found_none.set()
        return found

    monkeypatch.setattr(schema, "_revision", revision)
    command = [sys.executable, "-c", _MIGRATE_AND_STOP, str(workspace.path)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor() as pool,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "migrating\n"
        opened = pool.submit(open_catalog, workspace)
        assert found_none.wait(20)
        process.stdin.close()  # and now it goes on
        with opened.result(60) as catalog:
            assert list(catalog.list()) == []
        assert process.wait(60) == 0
    assert table_names(workspace) == _TABLES
