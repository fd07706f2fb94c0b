"""A catalog that cannot be used: one line that names it and the remedy, and nothing half-registered."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mountd.errors import AccessDeniedError, StoreUnreachableError
from runtime.catalog import Made, database, open_catalog
from runtime.catalog.database import Database
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder, init
from tests.runtime.catalog.catalogs import digest, execute
from tests.support import users
from tests.support.postgres import GUARDED, PASSWORD, Postgres


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    """A workspace with the usual file, made already."""
    made = init(tmp_path / ".moorage")
    open_catalog(made).close()
    return made


def refusal(workspace: WorkspaceFolder, kind: type[Exception]) -> str:
    """The one line that opening the catalog ends with."""
    with pytest.raises(kind) as caught:
        open_catalog(workspace)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_catalog_that_another_writes_to_for_too_long_says_so_and_keeps_nothing(
    workspace: WorkspaceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_catalog(workspace).close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 1)
    other = Database(workspace.identity().catalog, workspace.catalog_path)
    with open_catalog(workspace) as catalog:
        with other.transaction(write=True), pytest.raises(UserErrorException, match="another process has held it"):
            catalog.register("digits", "{}", digest(1), 1, 1, made=Made("train_1", "out"))
        assert list(catalog.list()) == []
        assert execute(workspace, "SELECT count(*) FROM made") == [(0,)]
        assert catalog.register("digits", "{}", digest(1), 1, 1).version == 1


def test_readers_do_not_wait_for_a_writer(workspace: WorkspaceFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    open_catalog(workspace).close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 1)
    writer = Database(workspace.identity().catalog, workspace.catalog_path)
    with writer.transaction(write=True), open_catalog(workspace) as catalog:
        assert list(catalog.list()) == []


def _junk(path: Path) -> None:
    path.write_bytes(b"no database at all " * 1000)


def _torn(path: Path) -> None:
    """The head of a database, and then something else."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _foreign(path: Path) -> None:
    import sqlite3

    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (_junk, UserErrorException, "file is not a database); restore it from a copy, or move it away"),
        (_torn, UserErrorException, "malformed); restore it from a copy, or move it away"),
        (_folder, AccessDeniedError, "unable to open database file); the file and its folder must be"),
        (_foreign, UserErrorException, "it is a database of something else"),
    ],
)
def test_a_file_that_is_no_catalog_is_told_and_left_as_it_is(
    folder: WorkspaceFolder, spoil: Callable[[Path], None], kind: type[Exception], said: str
) -> None:
    spoil(folder.catalog_path)
    before = folder.catalog_path.read_bytes() if folder.catalog_path.is_file() else None
    line = refusal(folder, kind)
    assert line.startswith(f"catalog {folder.catalog_path} cannot be used")
    assert said in line
    assert (folder.catalog_path.read_bytes() if folder.catalog_path.is_file() else None) == before


_OPEN = "import sys; from runtime.cli import call; sys.exit(call(['--workspace', sys.argv[1], *sys.argv[2:]]))"


@pytest.mark.parametrize("made", [True, False], ids=["a catalog", "none yet"])
def test_without_the_right_to_write_it_is_one_line_that_says_which_right(tmp_path: Path, made: bool) -> None:  # noqa: FBT001 # a parameter of the test
    shared = tmp_path / "shared"
    shared.mkdir()
    workspace = init(tmp_path / "work" / ".moorage", f"sqlite:///{shared}/team.db")
    if made:
        open_catalog(workspace).close()
    for path in (*shared.iterdir(), shared):
        path.chmod(path.stat().st_mode & ~0o222)
    command, variables = users.as_another_user(
        [sys.executable, "-P", "-c", _OPEN, str(workspace.path), "dataset", "list"], tmp_path
    )
    kept = {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=os.environ | variables | kept, capture_output=True, text=True, check=False)
    shared.chmod(0o755)
    assert done.returncode == 5, done.stderr
    assert re.fullmatch(rf"moorage: catalog {shared}/team.db cannot be used \(.*\); .*writable.*\n", done.stderr)


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("nosuchdatabase://host/x", UserErrorException, "nosuchdatabase://host/x cannot be used; a catalog is sqlite"),
        ("sqlite://", UserErrorException, "a catalog is sqlite:///FILE"),
        ("postgresql", UserErrorException, "no URL of a database; a catalog is"),
        ("sqlite:////nowhere/at/all.db", AccessDeniedError, "/nowhere/at/all.db cannot be used"),
        (
            "postgresql://u@127.0.0.1:1/x",
            StoreUnreachableError,
            "Connection refused); see that it runs and is reachable",
        ),
        ("postgresql://u@/x?host=/nowhere", StoreUnreachableError, "No such file or directory); see that it runs"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_line(tmp_path: Path, url: str, kind: type[Exception], said: str) -> None:
    assert said in refusal(init(tmp_path / ".moorage", url), kind)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:S3cret@host/x",
        "postgresql://u:S3/cret@host/x",
        "postgresql://host/x?password=S3cret",
        "postgresql://host/x?user=u&password=S3cret",
        "postgresql://u@host/x?sslpassword=S3cret",
    ],
)
def test_a_password_in_the_url_is_refused_and_never_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserErrorException, match=r"holds a password; .*~/\.pgpass") as caught:
        init(tmp_path / ".moorage", url)
    assert "S3" not in str(caught.value)
    workspace = init(tmp_path / ".moorage")
    mark = workspace.path / "workspace.toml"
    mark.write_text(mark.read_text().replace("# catalog =", f'catalog = "{url}"'))  # by hand
    assert "S3" not in refusal(workspace, UserErrorException)


def test_without_the_driver_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    workspace = init(tmp_path / ".moorage", "postgresql://u@host/x")
    assert refusal(workspace, UserErrorException).endswith("needs psycopg; pip install 'moorage[postgres]'")


@pytest.mark.full
class TestPostgreSQL:
    @pytest.fixture
    def url(self, postgres: Postgres) -> Callable[[str], str]:
        """The address of one new database, for a user."""
        name = postgres.make_database()
        postgres.execute(name, f"GRANT ALL ON SCHEMA public TO {GUARDED}")
        return lambda user: postgres.url(name, user)

    def test_a_password_is_found_where_libpq_looks_and_never_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: Callable[[str], str]
    ) -> None:
        workspace = init(tmp_path / ".moorage", url(GUARDED))
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
        monkeypatch.delenv("PGPASSWORD", raising=False)
        assert "no password supplied); see the user" in refusal(workspace, AccessDeniedError)
        monkeypatch.setenv("PGPASSWORD", "wrong-harbour")
        line = refusal(workspace, AccessDeniedError)
        assert "password authentication failed" in line
        assert "~/.pgpass or PGPASSWORD" in line
        assert "wrong-harbour" not in line
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        open_catalog(workspace).close()
        monkeypatch.delenv("PGPASSWORD")
        (tmp_path / "passes").write_text(f"*:*:*:{GUARDED}:{PASSWORD}\n")
        (tmp_path / "passes").chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "passes"))
        open_catalog(workspace).close()

    def test_a_database_user_or_right_that_is_not_there_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
    ) -> None:
        name = postgres.make_database()
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        for number, (database_name, user, kind, said) in enumerate(
            [
                ("nothing", "trusted", UserErrorException, 'database "nothing" does not exist); make it with createdb'),
                (name, "nobody", AccessDeniedError, "see the user in its URL"),
                (name, GUARDED, AccessDeniedError, "permission denied for schema public); have its owner grant"),
            ]
        ):
            workspace = init(tmp_path / str(number) / ".moorage", postgres.url(database_name, user))
            assert said in refusal(workspace, kind)
        assert postgres.execute(name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]

    def test_tables_of_something_else_are_told_and_left_alone(self, tmp_path: Path, postgres: Postgres) -> None:
        name = postgres.make_database()
        postgres.execute(name, "CREATE TABLE runs (theirs integer)")
        workspace = init(tmp_path / ".moorage", postgres.url(name))
        assert "give the catalog a database, or a schema, of its own" in refusal(workspace, UserErrorException)
        assert postgres.execute(name, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("runs",)]
        postgres.execute(name, "CREATE SCHEMA moorage")
        own = init(tmp_path / "own" / ".moorage", f"{postgres.url(name)}&options=-csearch_path%3Dmoorage")
        with open_catalog(own) as catalog:
            assert catalog.register("digits", "{}", digest(1), 1, 1).version == 1
        assert postgres.execute(name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'moorage'") == [(8,)]

    def test_a_copy_that_takes_no_writes_can_be_read_and_says_why_it_is_not_written(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        name = postgres.make_database()
        workspace = init(tmp_path / ".moorage", postgres.url(name))
        with open_catalog(workspace) as catalog:
            catalog.register("digits", "{}", digest(1), 1, 1)
            postgres.execute("postgres", f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            assert catalog.get("digits").version == 1
            with pytest.raises(AccessDeniedError, match="name the server that takes writes"):
                catalog.register("digits", "{}", digest(2), 1, 1, create_new_version=True)

    def test_a_server_that_ends_between_two_questions_is_told(self, tmp_path: Path) -> None:
        with Postgres.start() as server:
            workspace = init(tmp_path / ".moorage", server.url(server.make_database()))
            with open_catalog(workspace) as catalog:
                assert catalog.register("digits", "{}", digest(1), 1, 1).version == 1
                server.stop()
                with pytest.raises(StoreUnreachableError, match="see that it runs and is reachable"):
                    catalog.register("digits", "{}", digest(2), 1, 1, create_new_version=True)
                assert "see that it runs" in refusal(workspace, StoreUnreachableError)
