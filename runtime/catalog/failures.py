"""A failure of the catalog's database as a line for its user: what is wrong, which catalog, what to do.

SQLite is known by the names of its error codes, PostgreSQL by SQLSTATE, or by its words where a connection was never made
and there is no code. `where` names the catalog; it holds no password, as a URL with one is refused before anything else.
"""

import errno

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from mountd.errors import AccessDeniedError, MountdError, StoreUnreachableError
from runtime.errors import UserErrorException

BUSY_TIMEOUT_S = 30
_BUSY = f"another process has held it for {BUSY_TIMEOUT_S} s; end that process, or try again later"
_DAMAGED = "restore it from a copy, or move it away and register the datasets again"
_MISFIT = "it is not what it was a moment ago; see whether somebody has replaced it, and try again"
_SQLITE: dict[str, tuple[type[MountdError | UserErrorException], str]] = {
    "SQLITE_BUSY": (UserErrorException, f"{_BUSY} (fuser shows who)"),
    "SQLITE_READONLY": (
        AccessDeniedError,
        "the file and its folder must be writable, also to be read; see their rights",
    ),
    "SQLITE_CANTOPEN": (AccessDeniedError, "the file and its folder must be there and writable; see their rights"),
    "SQLITE_PERM": (AccessDeniedError, "the file and its folder must be writable; see their rights"),
    "SQLITE_AUTH": (AccessDeniedError, "the file and its folder must be writable; see their rights"),
    "SQLITE_FULL": (UserErrorException, "make room on its disk, and try again"),
    "SQLITE_IOERR": (UserErrorException, "its disk refuses; see whether it is full or failing"),
    "SQLITE_CONSTRAINT": (UserErrorException, _MISFIT),
    "SQLITE_NOTADB": (UserErrorException, _DAMAGED),
    "SQLITE_CORRUPT": (UserErrorException, _DAMAGED),
}
_PASSWORD = "see the user in its URL, and the password in ~/.pgpass or PGPASSWORD"  # noqa: S105 # where one is, not one
_CREATE = "make it with createdb, or mend 'catalog' in workspace.toml"
_GRANT = "have its owner grant this user the right to use and make tables there"
_OTHERS_TABLES = "it holds tables of something else; give the catalog a database, or a schema, of its own"
_SQLSTATES: dict[str, tuple[type[MountdError | UserErrorException], str]] = {
    "23503": (UserErrorException, _MISFIT),
    "23505": (UserErrorException, _MISFIT),
    "28000": (AccessDeniedError, _PASSWORD),
    "28P01": (AccessDeniedError, _PASSWORD),
    "3D000": (UserErrorException, _CREATE),
    "3F000": (UserErrorException, "make that schema, or mend 'catalog' in workspace.toml"),
    "42501": (AccessDeniedError, _GRANT),
    "25006": (AccessDeniedError, "it is a copy that may only be read; name the server that takes writes"),
    "55P03": (UserErrorException, _BUSY),
    "57014": (UserErrorException, "it took too long; see what else the server does, and try again"),
    "53100": (UserErrorException, "make room on the server's disk, and try again"),
    "53300": (StoreUnreachableError, "too many others are connected; try again later"),
    "42P07": (UserErrorException, _OTHERS_TABLES),
    "42703": (UserErrorException, _OTHERS_TABLES),
}
_WORDS = (  # of a connection that failed: libpq has no code for these
    ("no password supplied", "28P01"),
    ("authentication failed", "28P01"),
    ("pg_hba.conf", "28000"),
    ('role "', "28000"),
    ("too many clients", "53300"),
    ('database "', "3D000"),  # the last: others name the database too
)


def translated(error: SQLAlchemyError, where: str) -> Exception:
    """What to raise for `error` of the catalog `where`."""
    cause = getattr(error, "orig", None) or error
    name = getattr(cause, "sqlite_errorname", None)
    if name is not None:
        found = next((told for prefix, told in _SQLITE.items() if name.startswith(prefix)), None)
        kind, remedy = found or (UserErrorException, _DAMAGED)
    elif (state := _sqlstate(cause)) is not None:
        kind, remedy = _SQLSTATES.get(state, (UserErrorException, "see the server's log"))
    elif isinstance(error, OperationalError):
        kind, remedy = StoreUnreachableError, "see that it runs and is reachable"
    else:
        kind, remedy = UserErrorException, "mend 'catalog' in workspace.toml"
    return kind(f"catalog {where} cannot be used ({_line(cause)}); {remedy}")


def refused(error: OSError, where: str) -> Exception:
    """What to raise where the lock beside an SQLite catalog cannot be made."""
    kind, remedy = _SQLITE["SQLITE_FULL" if error.errno == errno.ENOSPC else "SQLITE_CANTOPEN"]
    return kind(f"catalog {where} cannot be used ({error.strerror}); {remedy}")


def _sqlstate(cause: BaseException) -> str | None:
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return state
    return next((code for words, code in _WORDS if words in str(cause)), None)


def _line(cause: BaseException) -> str:
    """The first line of what the database said; libpq repeats itself for every address it tries."""
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
