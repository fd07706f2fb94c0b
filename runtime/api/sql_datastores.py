"""SQL datastores, v1's names of databases that `Dataset.Tabular.from_sql_query` asks; and the registrations that make one.

Nobody is asked when one is registered. A database is reached by SQLAlchemy, through the driver that its address names.
"""

from typing import TYPE_CHECKING, Any, Final

from runtime import datastores
from runtime.datastores import databases
from runtime.datastores.databases import DatabaseRecord
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    from sqlalchemy import URL

    from runtime.api.workspace import Workspace

_ODBC: Final = {"driver": "ODBC Driver 18 for SQL Server", "Encrypt": "yes"}


class SqlDatastore:
    """A named database of a workspace."""

    def __init__(self, workspace: "Workspace", record: DatabaseRecord) -> None:
        from sqlalchemy import make_url

        self.workspace, self.name, self.datastore_type = workspace, record.name, record.kind
        self._url = make_url(record.url)

    @property
    def server_name(self) -> str:
        """The server's host; '' where there is none."""
        return self._url.host or ""

    @property
    def database_name(self) -> str:
        """The database."""
        return self._url.database or ""

    @property
    def username(self) -> str:
        """Who connects; '' where nobody is named."""
        return self._url.username or ""

    user_id = username

    def unregister(self) -> None:
        """Forget the name; the database is not touched."""
        databases.remove(self.workspace.folder, self.name)

    def __repr__(self) -> str:
        return f"SqlDatastore(name={self.name!r}, datastore_type={self.datastore_type!r}, url={str(self._url)!r})"


def find(workspace: "Workspace", name: str) -> SqlDatastore | None:
    """The SQL datastore of that name, if there is one."""
    record = databases.load_all(workspace.folder).get(name.lower())
    return None if record is None else SqlDatastore(workspace, record)


class SqlRegistrations:
    """The `register_*` methods of Datastore for databases, with v1's signatures."""

    @staticmethod
    def register_azure_sql_database(  # noqa: PLR0917 # v1's signature
        workspace: "Workspace",
        datastore_name: str,
        server_name: str,
        database_name: str,
        tenant_id: str | None = None,  # noqa: ARG004 # v1's; the driver finds it
        client_id: str | None = None,
        client_secret: str | None = None,
        resource_url: str | None = None,  # noqa: ARG004 # as above
        authority_url: str | None = None,  # noqa: ARG004 # as above
        endpoint: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        username: str | None = None,
        password: str | None = None,
        **_: Any,
    ) -> SqlDatastore:
        """An Azure SQL database, for a user or a service principal; needs pyodbc and Microsoft's ODBC driver.

        Raises:
            UserErrorException: the name is taken and `overwrite` is False, or nobody is named who connects.
        """
        query = dict(_ODBC)
        if client_id:
            query["Authentication"] = "ActiveDirectoryServicePrincipal"
        if not (client_id or username):
            raise UserErrorException("a SQL datastore needs username and password, or client_id and client_secret")
        host = _host(server_name, endpoint or "database.windows.net")
        url = _url("mssql+pyodbc", client_id or username, host, 1433, database_name, query)
        secret = client_secret if client_id else password
        return _register(workspace, datastore_name, "AzureSqlDatabase", url, secret, overwrite=overwrite)

    @staticmethod
    def register_azure_postgre_sql(  # noqa: PLR0917 # v1's signature
        workspace: "Workspace",
        datastore_name: str,
        server_name: str,
        database_name: str,
        user_id: str,
        user_password: str,
        port_number: int | str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        enforce_ssl: bool = True,  # noqa: FBT001, FBT002 # as above
        **_: Any,
    ) -> SqlDatastore:
        """A PostgreSQL database of Azure's; errors as `register_azure_sql_database`."""
        host = _host(server_name, endpoint or "postgres.database.azure.com")
        query = {"sslmode": "require" if enforce_ssl else "prefer"}
        url = _url("postgresql+psycopg", user_id, host, int(port_number or 5432), database_name, query)
        return _register(workspace, datastore_name, "AzurePostgreSql", url, user_password, overwrite=overwrite)

    @staticmethod
    def register_azure_my_sql(  # noqa: PLR0917 # v1's signature
        workspace: "Workspace",
        datastore_name: str,
        server_name: str,
        database_name: str,
        user_id: str,
        user_password: str,
        port_number: int | str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        **_: Any,
    ) -> SqlDatastore:
        """A MySQL database of Azure's, by pymysql and TLS; errors as `register_azure_sql_database`."""
        host = _host(server_name, endpoint or "mysql.database.azure.com")
        query = {"ssl_verify_cert": "true"}
        url = _url("mysql+pymysql", user_id, host, int(port_number or 3306), database_name, query)
        return _register(workspace, datastore_name, "AzureMySql", url, user_password, overwrite=overwrite)

    @staticmethod
    def register_sql(
        workspace: "Workspace",
        datastore_name: str,
        url: str,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # as its sisters
    ) -> SqlDatastore:
        """Any database that SQLAlchemy has an address for, such as `sqlite:////data/a.db` (not in v1).

        A password in the address is taken out of it and kept as other secrets are.
        """
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            parsed = make_url(url)
        except ArgumentError:
            raise UserErrorException(
                "register_sql: no address of a database; write one like sqlite:////data/a.db"
            ) from None
        return _register(
            workspace, datastore_name, "Sql", parsed._replace(password=None), parsed.password, overwrite=overwrite
        )


def _host(server: str, endpoint: str) -> str:
    return server if "." in server or server == "localhost" else f"{server}.{endpoint}"


def _url(driver: str, user: str | None, host: str, port: int, database: str, query: dict[str, str]) -> "URL":
    from sqlalchemy import URL

    return URL.create(driver, user, None, host, port, database, query)


def _register(
    workspace: "Workspace", name: str, kind: str, url: "URL", secret: str | None, *, overwrite: bool
) -> SqlDatastore:
    if name.lower() in datastores.load_all(workspace.folder):
        raise UserErrorException(f"datastore '{name}' exists and holds files; register the database by another name")
    datastores.check_name(workspace.folder, name, overwrite=True)
    record = DatabaseRecord(name, kind, url.render_as_string(hide_password=False), secret=str(secret or ""))
    databases.add(workspace.folder, record, overwrite=overwrite)
    return SqlDatastore(workspace, databases.get(workspace.folder, name))
