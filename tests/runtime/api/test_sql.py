"""Rows of SQL queries, of SQLite here and of PostgreSQL in the long tests; and the datastores that name databases."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import Dataset, Datastore, DataType, Workspace
from runtime.api.sql_datastores import SqlDatastore
from runtime.errors import AlreadyRegisteredError, DatasetValidationError, UserErrorException
from runtime.workspace import init
from tests.support.postgres import GUARDED, PASSWORD, Postgres


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(tmp_path / ".moorage"))
    return Workspace.of(init(tmp_path / ".moorage"))


@pytest.fixture
def store(tmp_path: Path, workspace: Workspace) -> SqlDatastore:
    database = sqlite3.connect(tmp_path / "a.db")
    database.execute("CREATE TABLE t (n INTEGER, f REAL, s TEXT, d TEXT, b BLOB)")
    rows = [(number, number / 2, f"s{number % 3}", f"2020-01-{number % 28 + 1:02}", b"\x01") for number in range(5_000)]
    database.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    database.execute("INSERT INTO t VALUES (NULL, NULL, NULL, NULL, NULL)")
    database.commit()
    database.close()
    return Datastore.register_sql(workspace, "sales", f"sqlite:///{tmp_path / 'a.db'}")


class TestQueries:
    def test_rows_come_with_types_and_in_the_order_of_the_database(self, store: SqlDatastore) -> None:
        made = Dataset.Tabular.from_sql_query((store, "SELECT * FROM t ORDER BY n NULLS LAST"))
        frame = made.to_pandas_dataframe()
        assert len(frame) == 5_001
        assert frame["n"].tolist()[:4_999] == list(range(4_999))
        assert {field.name: str(field.type) for field in made.schema} == {
            "n": "int64",
            "f": "double",
            "s": "string",
            "d": "string",
            "b": "binary",
        }
        assert made.filter(made["n"] > 4_996).keep_columns(["s", "n"]).to_arrow().to_pylist() == [
            {"n": 4_997, "s": "s2"},
            {"n": 4_998, "s": "s0"},
            {"n": 4_999, "s": "s1"},
        ]

    def test_types_can_be_set_and_times_filtered(self, store: SqlDatastore) -> None:
        types = {"d": DataType.to_datetime(), "n": DataType.to_string()}
        made = Dataset.Tabular.from_sql_query((store, "SELECT n, d FROM t"), set_column_types=types)
        found = made.with_timestamp_columns("d").time_after(dt.datetime.fromisoformat("2020-01-28")).take(1).to_arrow()
        assert found.to_pylist() == [{"n": "27", "d": dt.datetime.fromisoformat("2020-01-28")}]

    @pytest.mark.warns
    def test_what_does_not_fit_the_first_rows_is_null_and_told(self, store: SqlDatastore) -> None:
        query = "SELECT CASE WHEN n < 1500 THEN n ELSE 'x' || n END AS v FROM t WHERE n < 1502 ORDER BY n"
        made = Dataset.Tabular.from_sql_query((store, query))
        assert [row["v"] for row in made.to_arrow().to_pylist()][1_498:] == [1_498, 1_499, None, None]
        with pytest.raises(DatasetValidationError, match=r"query of sales: row 1,501, column 'v': 'x1500' is no int64"):
            made.to_pandas_dataframe(on_error="fail")

    def test_no_rows_is_a_table_without_rows(self, store: SqlDatastore) -> None:
        made = Dataset.Tabular.from_sql_query((store, "SELECT n, s FROM t WHERE n < 0"))
        assert made.to_pandas_dataframe().shape == (0, 2)

    def test_nothing_is_frozen_and_that_is_said(
        self, store: SqlDatastore, workspace: Workspace, tmp_path: Path
    ) -> None:
        made = Dataset.Tabular.from_sql_query((store, "SELECT count(*) AS c FROM t"))
        registered = made.register(workspace, "counted")
        with pytest.raises(AlreadyRegisteredError):
            made.register(workspace, "counted", create_new_version=True)
        with sqlite3.connect(tmp_path / "a.db") as database:
            database.execute("DELETE FROM t WHERE n IS NULL")
        database.close()
        again = Dataset.get_by_name(workspace, "counted")
        assert (again.version, again.data_changed_time) == (1, None)
        assert again.to_arrow().to_pylist() == registered.to_arrow().to_pylist() == [{"c": 5_000}]
        with pytest.raises(UserErrorException, match="is a SQL query and has no files"):
            again.frozen()

    def test_its_rows_can_be_shared_and_profiled(self, store: SqlDatastore) -> None:
        made = Dataset.Tabular.from_sql_query((store, "SELECT n FROM t WHERE n IS NOT NULL"))
        found = [
            row["n"] for share in range(3) for batch in made._shared().batches(share, 3) for row in batch.to_pylist()
        ]
        assert sorted(found) == list(range(5_000))
        assert made.get_profile().columns["n"].max == 4_999

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("SELECT absent FROM t", r"datastore 'sales': the query failed \(no such column: absent\)"),
            ("SELECT n, n FROM t", "more than one column 'n'; rename one"),
            ("CREATE TABLE u (n)", "the statement gives no rows"),
        ],
    )
    def test_what_the_database_refuses_is_told(self, store: SqlDatastore, query: str, message: str) -> None:
        with pytest.raises(DatasetValidationError, match=message):
            Dataset.Tabular.from_sql_query((store, query))

    def test_a_query_ends_in_its_time(self, store: SqlDatastore) -> None:
        endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
        with pytest.raises(DatasetValidationError, match=r"interrupted.*1 s \(query_timeout\)"):
            Dataset.Tabular.from_sql_query((store, endless), query_timeout=1)

    def test_arguments_are_checked(self, store: SqlDatastore, workspace: Workspace) -> None:
        for query in ("SELECT 1", (workspace.get_default_datastore(), "SELECT 1"), (store, " "), (store,)):
            with pytest.raises(UserErrorException, match="takes \\(datastore, 'SELECT"):
                Dataset.Tabular.from_sql_query(query)
        with pytest.raises(UserErrorException, match="query_timeout=0"):
            Dataset.Tabular.from_sql_query((store, "SELECT 1"), query_timeout=0)


class TestDatastores:
    def test_v1_s_registrations_are_addresses(self, workspace: Workspace) -> None:
        postgres = Datastore.register_azure_postgre_sql(workspace, "pg", "server", "base", "me", "hidden-word")
        mysql = Datastore.register_azure_my_sql(workspace, "my", "server", "base", "me", "hidden-word")
        azure = Datastore.register_azure_sql_database(
            workspace,
            "az",
            "server",
            "base",
            username="me",
            password="hidden-word",  # noqa: S106 # of nobody
        )
        assert [
            (each.datastore_type, each.server_name, each.database_name, each.user_id)
            for each in (postgres, mysql, azure)
        ] == [
            ("AzurePostgreSql", "server.postgres.database.azure.com", "base", "me"),
            ("AzureMySql", "server.mysql.database.azure.com", "base", "me"),
            ("AzureSqlDatabase", "server.database.windows.net", "base", "me"),
        ]
        assert "hidden-word" not in f"{postgres!r}{mysql!r}{azure!r}"
        assert {"pg", "my", "az"} < workspace.datastores.keys()
        assert isinstance(Datastore.get(workspace, "PG"), SqlDatastore)
        assert (workspace.folder.path / "databases.json").stat().st_mode & 0o077 == 0

    def test_a_name_is_of_one_datastore(self, store: SqlDatastore, workspace: Workspace, tmp_path: Path) -> None:
        with pytest.raises(UserErrorException, match="'sales' exists; register it with overwrite=True"):
            Datastore.register_sql(workspace, "Sales", "sqlite://")
        with pytest.raises(UserErrorException, match="'sales' is a database; unregister it first"):
            Datastore.register_local_folder(workspace, "sales", tmp_path)
        with pytest.raises(UserErrorException, match="'workspaceblobstore' exists and holds files"):
            Datastore.register_sql(workspace, "workspaceblobstore", "sqlite://", overwrite=True)
        Datastore.register_sql(workspace, "sales", "sqlite:////other.db", overwrite=True)
        assert Datastore.get(workspace, "sales").database_name == "/other.db"  # type: ignore[attr-defined] # a database
        store.unregister()
        assert "sales" not in workspace.datastores

    def test_a_password_in_an_address_is_no_part_of_it(self, workspace: Workspace) -> None:
        made = Datastore.register_sql(workspace, "other", "postgresql+psycopg://me:hidden-word@127.0.0.1:1/base")
        assert "hidden-word" not in repr(made)
        with pytest.raises(DatasetValidationError, match="datastore 'other': the query failed") as raised:
            Dataset.Tabular.from_sql_query((made, "SELECT 1"))
        assert "hidden-word" not in str(raised.value)
        with pytest.raises(UserErrorException, match="no address of a database"):
            Datastore.register_sql(workspace, "wrong", "hidden-word")

    def test_a_driver_that_is_missing_is_told(self, workspace: Workspace) -> None:
        made = Datastore.register_sql(workspace, "other", "nothing+nowhere://a/b")
        with pytest.raises(UserErrorException, match="datastore 'other': the driver of its database is not installed"):
            Dataset.Tabular.from_sql_query((made, "SELECT 1"))


@pytest.mark.full
class TestPostgres:
    @pytest.fixture
    def database(self, postgres: Postgres, workspace: Workspace) -> Iterator[SqlDatastore]:
        postgres.execute(
            "postgres",
            "CREATE TABLE t AS SELECT n, n * 1.5 AS f, 's' || n AS s, n % 2 = 0 AS even, "
            "timestamptz '2020-01-01 01:00+01' + n * interval '1 second' AS w, date '2020-01-01' AS d, "
            "gen_random_uuid() AS u, (n * 2)::numeric AS x, NULL::int AS nothing FROM generate_series(0, 49999) AS n",
        )
        postgres.execute("postgres", f"GRANT SELECT ON t TO {GUARDED}")
        url = postgres.url("postgres", GUARDED).replace("postgresql://", "postgresql+psycopg://")
        yield Datastore.register_sql(workspace, "pg", url.replace(f"{GUARDED}@", f"{GUARDED}:{PASSWORD}@"))
        postgres.execute("postgres", "DROP TABLE t")

    def test_types_are_those_of_columns(self, database: SqlDatastore) -> None:
        made = Dataset.Tabular.from_sql_query((database, "SELECT * FROM t ORDER BY n"))
        assert {field.name: str(field.type) for field in made.schema} == {
            "n": "int64",
            "f": "double",
            "s": "string",
            "even": "bool",
            "w": "timestamp[us]",
            "d": "timestamp[us]",
            "u": "string",
            "x": "double",
            "nothing": "string",
        }
        table = made.to_arrow()
        assert (table.num_rows, table["n"].to_pylist()) == (50_000, list(range(50_000)))
        assert table["w"][1].as_py() == dt.datetime.fromisoformat("2020-01-01T00:00:01")

    def test_a_few_rows_do_not_take_all(self, database: SqlDatastore) -> None:
        endless = "WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"
        made = Dataset.Tabular.from_sql_query((database, endless), query_timeout=20)
        assert made.take(3).to_arrow()["n"].to_pylist() == [0, 1, 2]

    def test_a_statement_ends_in_its_time(self, database: SqlDatastore) -> None:
        with pytest.raises(DatasetValidationError, match=r"canceling statement due to statement timeout"):
            Dataset.Tabular.from_sql_query((database, "SELECT pg_sleep(60)"), query_timeout=1)
