"""A real PostgreSQL server for tests, from the packages of the machine: its own folder, a Unix socket, no port.

`Postgres.start()` makes a cluster with `initdb` (as another user where root runs the tests: PostgreSQL refuses root), runs
`postgres` on it in the foreground and ends it by its process id. Its one role `trusted` needs no password; `guarded` has
one. Without the binaries it fails with the command that installs them; it never skips.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.users import NOBODY
from tests.support.waiting import until

TRUSTED = "trusted"
GUARDED = "guarded"
PASSWORD = "harbour-password"  # noqa: S105 # of a server that lives for a test run
_RULES = f"local all {TRUSTED} trust\nlocal all {GUARDED} scram-sha-256\n"
# Nothing here has to survive a power cut, and connections are many and short.
_SETTINGS = {"listen_addresses": "", "fsync": "off", "max_connections": "60", "shared_buffers": "16MB"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server, reached through the socket in `folder`."""

    folder: Path
    process: "subprocess.Popen[str]"
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def url(self, database: str, user: str = TRUSTED) -> str:
        """What `moorage init --catalog` takes."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def make_database(self) -> str:
        """A new empty database; its name."""
        name = f"catalog{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return name

    def make_place(self) -> str:
        """The address of a new empty schema, which is made far faster than a database."""
        schema = f"place{next(self._numbers)}"
        self.execute("postgres", f"CREATE SCHEMA {schema}")
        return f"{self.url('postgres')}&options=-csearch_path%3D{schema}"

    def execute(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the trusted role, outside of a transaction; its rows, if it has any."""
        import psycopg

        with psycopg.connect(host=str(self.folder), dbname=database, user=TRUSTED, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """End the server; connections are cut."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @staticmethod
    @contextmanager
    def start() -> Iterator["Postgres"]:
        """Run a server of one's own for the length of a `with` block."""
        binaries = _binaries()
        # Not TMPDIR: the other user must come here, and a socket's path has 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # mkdtemp's folder is its maker's only
        try:
            if os.geteuid() == 0:
                os.chown(folder, NOBODY, NOBODY)
            data = folder / "data"
            quiet = ["--no-sync", "--no-instructions", "--locale=C.UTF-8", "--encoding=UTF8", "--auth=trust"]
            _run([binaries / "initdb", f"--pgdata={data}", f"--username={TRUSTED}", *quiet], folder)
            (data / "pg_hba.conf").write_text(_RULES)
            options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
            command = [binaries / "postgres", "-D", data, "-k", folder, *options]
            with _serving(command, folder) as process:
                server = Postgres(folder, process)
                server.execute("postgres", f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'")
                try:
                    yield server
                finally:
                    server.stop()
        finally:
            shutil.rmtree(folder)


def _binaries() -> Path:
    """The newest installed server's folder of programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    elsewhere = shutil.which("initdb")
    if not found and elsewhere is None:
        message = "PostgreSQL is not installed: run `.ci/system-packages postgres`"
        raise RuntimeError(message)
    return (found[-1] if found else Path(str(elsewhere)).resolve()).parent


def _as_user(command: list[object]) -> list[str]:
    user = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"] if os.geteuid() == 0 else []
    # A test process that is killed takes the server with it.
    return ["setpriv", "--pdeathsig", "INT", *user, *map(str, command)]


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not re.match("PG|LC_|LANG", name)}
    return {**kept, "LC_ALL": "C.UTF-8", "HOME": str(folder)}


def _run(command: list[object], folder: Path) -> None:
    done = subprocess.run(
        _as_user(command), cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def _serving(command: list[object], folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """The server's process, once it answers; what it said is in the error where it does not."""
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            _as_user(command), cwd=folder, env=_environment(folder), stdout=log, stderr=log, text=True
        )
        try:
            until(lambda: process.poll() is not None or _answers(folder), deadline_s=60, what="PostgreSQL's start")
            assert process.poll() is None, (folder / "log").read_text()
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _answers(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(folder), dbname="postgres", user=TRUSTED, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
