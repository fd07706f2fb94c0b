"""The staging of a manifest: every object of a listing, in any order, on disk, so that memory does not grow with it.

Each path is checked and filed under a sort key in which `/` is NUL. No name holds NUL, so the order of the keys is the order
of the tree: an object comes right before what lies below it, and conflicts are between neighbours.

A staging that is *kept* outlives its process: beside the objects it holds *marks*, opaque texts that say what of the listing
is still to come. A page of the listing and the marks that it leaves are one transaction; so whoever opens the staging of a
killed freeze finds objects and marks that belong together, and goes on. It is one writer's, by a lock on its folder.

Invariants: a kept staging of other sources, of another boot (what a power cut leaves is not trusted) or of more than a day
ago is thrown away; the target itself is never touched here.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from mountd.dataset import paths
from mountd.dataset.schema import FrozenFile
from mountd.errors import AccessDeniedError, BadInputError, HostilePathError, StoreUnreachableError

try:
    import fcntl
except ImportError:  # not Unix
    fcntl = None  # type: ignore[assignment]  # mypy checks for Linux

SEPARATOR: Final = b"\0"
KEPT_S: Final = 86_400.0
CAN_BE_KEPT: Final = fcntl is not None  # without a lock two processes would mix
_VERSION: Final = 1
_COMMIT_S: Final = 1.0  # what a kill may cost
_PASSING: Final = (StoreUnreachableError, AccessDeniedError, KeyboardInterrupt, SystemExit)
_PRAGMAS: Final = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;"
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS staged (
    sortkey BLOB PRIMARY KEY, directory INTEGER, size INTEGER, mtime_ns INTEGER, etag TEXT, md5 BLOB, source INTEGER,
    key TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (mark TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (place INTEGER PRIMARY KEY, files INTEGER);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""
_INSERT: Final = "INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
Row = tuple[Any, ...]


class Staging:
    """An open staging of objects whose bytes lie in the stores at the URLs `sources`."""

    def __init__(self, folder: Path, database: sqlite3.Connection, sources: Sequence[str]) -> None:
        self.folder, self.sources = folder, tuple(sources)
        self._database, self._committed_s = database, time.monotonic()
        database.executescript(_PRAGMAS + _CREATE)
        database.execute("BEGIN")

    @classmethod
    @contextmanager
    def temporary(cls, target: Path, sources: Sequence[str], first: Iterable[str] = ()) -> Iterator[Self]:
        """A staging beside `target` whose marks are `first`, gone at the end."""
        with (
            tempfile.TemporaryDirectory(prefix=f".{_shortened(target)}.", dir=target.parent) as folder,
            closing(_connect(Path(folder))) as database,
        ):
            staging = cls(Path(folder), database, sources)
            staging._begin({}, first)
            yield staging

    @classmethod
    @contextmanager
    def kept(cls, target: Path, sources: Sequence[str], wanted: str, first: Iterable[str]) -> Iterator[Self]:
        """The staging that an earlier freeze of `wanted` into `target` has left, or a new one whose marks are `first`.

        It is gone at the end; but it stays where an error that may pass, or a signal, ends it after something was staged.

        Raises:
            BadInputError: another process is freezing into `target`.
        """
        folder = _kept_folder(target)
        facts = {"version": str(_VERSION), "wanted": wanted, "boot": _boot(), "sources": "\n".join(sources)}
        with _locked(folder, target):
            if not _goes_on(folder, facts):
                _empty(folder)
            stays = False
            try:
                with closing(_connect(folder)) as database:
                    staging = cls(folder, database, sources)
                    staging._begin(facts, first)
                    try:
                        yield staging
                    except _PASSING:
                        stays = staging.holds_files
                        raise
            finally:
                if not stays:
                    shutil.rmtree(folder, ignore_errors=True)

    def _begin(self, facts: dict[str, str], first: Iterable[str]) -> None:
        ((known,),) = self._database.execute("SELECT count(*) FROM facts")
        if not known:
            self._database.executemany(
                "INSERT INTO facts VALUES (?, ?)", (*facts.items(), ("begun_s", str(time.time())))
            )
            self._database.executemany("INSERT OR IGNORE INTO marks VALUES (?)", ((mark,) for mark in first))
            self.commit()

    @property
    def marks(self) -> list[str]:
        """What is still to come."""
        return [mark for (mark,) in self._database.execute("SELECT mark FROM marks ORDER BY mark")]

    @property
    def holds_files(self) -> bool:
        """Whether anything was staged that is no directory."""
        return any(count for (count,) in self._database.execute("SELECT files FROM counts"))

    def files(self, place: int) -> int:
        """How many files were staged from this place, a number of the caller's."""
        row = self._database.execute("SELECT files FROM counts WHERE place = ?", (place,)).fetchone()
        return int(row[0]) if row else 0

    def add(self, place: int, files: Sequence[FrozenFile], done: str | None = None, rest: Iterable[str] = ()) -> int:
        """Stage `files` from `place`; the mark `done` gives way to the marks `rest`. Return how many are no directories.

        Raises:
            HostilePathError: a path that no file system could hold, or two objects that cannot both be in one tree.
        """
        rows = [_row(file) for file in files]
        self._database.execute("SAVEPOINT page")
        try:
            self._database.executemany(_INSERT, rows)
        except sqlite3.IntegrityError:
            self._database.execute("ROLLBACK TO page")
            for file, row in zip(files, rows, strict=True):
                self._add_one(file, row)
        count = sum(not row[1] for row in rows)
        self._database.execute(
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT DO UPDATE SET files = files + excluded.files", (place, count)
        )
        if done is not None:
            self._database.execute("DELETE FROM marks WHERE mark = ?", (done,))
            self._database.executemany("INSERT OR IGNORE INTO marks VALUES (?)", ((mark,) for mark in rest))
        self._database.execute("RELEASE page")
        if time.monotonic() - self._committed_s > _COMMIT_S:
            self.commit()
        return count

    def commit(self) -> None:
        """Keep what was staged until now, whatever happens to this process."""
        self._database.execute("COMMIT")
        self._database.execute("BEGIN")
        self._committed_s = time.monotonic()

    def rows(self) -> Iterator[tuple[Row, bool]]:
        """Yield every staged object in the order of the tree, with whether the next one lies below it."""
        previous: Row | None = None
        for row in self._database.execute("SELECT * FROM staged ORDER BY sortkey"):
            if previous is not None:
                yield previous, row[0].startswith(previous[0] + SEPARATOR)
            previous = row
        if previous is not None:
            yield previous, False

    def conflict(self, sortkey: bytes, size: int) -> str:
        """The line for an object that has bytes, and others below it."""
        query = "SELECT sortkey FROM staged WHERE sortkey > ? ORDER BY sortkey LIMIT 1"
        (below,) = self._database.execute(query, (sortkey,)).fetchone()
        outer, inner = (paths.decode(each.replace(SEPARATOR, b"/")) for each in (sortkey, below))
        return (
            f"{outer!r} holds {size} bytes, and {inner!r} lies below it: a file cannot be a folder; "
            "rename one of the two"
        )

    def _add_one(self, file: FrozenFile, row: Row) -> None:
        try:
            self._database.execute(_INSERT, row)
        except sqlite3.IntegrityError:
            self._merge(file, row)

    def _merge(self, file: FrozenFile, row: Row) -> None:
        """Two objects of one path are one if both are empty (`a` and the marker `a/`), and a conflict otherwise."""
        query = "SELECT directory, size, source FROM staged WHERE sortkey = ?"
        directory, size, source = self._database.execute(query, row[:1]).fetchone()
        if size or row[2] or not (directory or row[1]):
            raise HostilePathError(self._twice(file, int(source)))
        self._database.execute("UPDATE staged SET directory = 1 WHERE sortkey = ?", row[:1])

    def _twice(self, file: FrozenFile, other: int) -> str:
        if file.source == other:
            return f"{file.path!r}: listed twice, and not as one directory; leave one of the two out"
        both = f"{self.sources[other]} and {self.sources[file.source]}"
        return f"{file.path!r}: comes from two sources, {both}; name narrower sources, or put them in different folders"


def _kept_folder(target: Path) -> Path:
    return target.with_name(f".{_shortened(target)}.freezing")


def is_staging_of(target: Path, path: object) -> bool:
    """Whether `path`, as an error tells it, is a name that we made up beside `target`."""
    return str(path).startswith(str(target.with_name(f".{_shortened(target)}.")))


def _shortened(target: Path) -> str:
    """As much of the name as leaves room for more: a name may be as long as the file system allows."""
    return os.fsencode(target.name)[:200].decode(errors="ignore")


@contextmanager
def _locked(folder: Path, target: Path) -> Iterator[None]:
    """The folder, made and held alone."""
    while (descriptor := _lock(folder, target)) is None:
        pass  # whoever held it has just removed it
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, target: Path) -> int | None:
    """A descriptor that holds the lock; None if the folder was removed meanwhile."""
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        said = f"{target}: another process is freezing into it; wait for it, or choose another name"
        raise BadInputError(said) from None
    except FileNotFoundError:
        pass
    os.close(descriptor)
    return None


def _connect(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "staging", isolation_level=None)


def _goes_on(folder: Path, facts: dict[str, str]) -> bool:
    """Whether what lies there is the begin of this very freeze."""
    if not (folder / "staging").exists():
        return False
    try:
        with closing(_connect(folder)) as database:
            known = dict(database.execute("SELECT name, value FROM facts"))
        begun_s = float(known.pop("begun_s", "0"))
    except (sqlite3.DatabaseError, ValueError):
        return False
    return known == facts and 0 <= time.time() - begun_s < KEPT_S


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:  # not Linux
        return "unknown"


def _row(file: FrozenFile) -> Row:
    directory = file.is_directory or file.path.endswith("/")
    path = file.path.removesuffix("/")
    if directory and file.size and not file.is_directory:
        raise HostilePathError(f"{file.path!r}: a name that ends in '/' but holds {file.size} bytes; rename the object")
    sortkey = SEPARATOR.join(paths.split(path))
    key = None if file.key in {None, file.path} else _storable(file.key)
    size = 0 if directory else file.size
    return sortkey, int(directory), size, file.mtime_ns, file.etag, file.md5, file.source, key


def _storable(key: str | None) -> str | None:
    # SQLite text is UTF-8: a key with surrogate escapes can only be the path itself, which is stored as bytes.
    if key is not None:
        try:
            key.encode()
        except UnicodeEncodeError:
            raise HostilePathError(f"{key!r}: not UTF-8, and shown under another path; rename the file") from None
    return key
