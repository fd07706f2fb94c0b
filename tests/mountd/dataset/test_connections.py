import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.manifests import make_manifest
from mountd.dataset import connections
from mountd.dataset.connections import CONNECTIONS
from mountd.dataset.manifest import Manifest
from mountd.errors import ManifestError

FILES, THREADS = 2000, 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_manifest(tmp_path / "m", FILES)
    return tmp_path / "m"


def open_descriptors(path: Path) -> int:
    found = [Path(each) for each in Path("/proc/self/fd").iterdir()]
    return sum(each.is_symlink() and each.readlink() == path for each in found)


def test_however_many_threads_ask_the_connections_are_few_and_the_answers_right(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    plain, together = sqlite3.connect, threading.Barrier(THREADS)

    def connect(*arguments: object, **options: object) -> sqlite3.Connection:
        opened.append(plain(*arguments, **options))  # type: ignore[call-overload]  # as they came
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connect)

    def check(first: int) -> bool:
        together.wait(20)
        numbers = range(first, FILES, THREADS)
        found = [manifest.lookup(2 + n // 1000, b"%08d.jpg" % n) for n in numbers]
        return [entry.inode for entry in found if entry] == [4 + n for n in numbers]

    with Manifest.open(path) as manifest, ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(check, range(THREADS)))
    assert len(opened) == CONNECTIONS


def test_what_sqlite_may_keep_is_bounded_for_each_connection(path: Path) -> None:
    lent = connections.Connections(path)
    for _ in range(CONNECTIONS):  # each once
        assert lent.rows("PRAGMA cache_size") == [(-connections.CACHE_BYTES // 1024,)]
        assert lent.rows("PRAGMA mmap_size") in ([(0,)], [])
    lent.close()


def test_a_query_after_the_end_is_an_error_and_no_hang(path: Path) -> None:
    manifest = Manifest.open(path)
    manifest.close()
    manifest.close()
    with pytest.raises(ManifestError, match="closed"):
        manifest.entry(1)


def test_a_failed_open_leaves_no_descriptor(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta")
    connection.close()
    with pytest.raises(ManifestError, match="damaged"):
        Manifest.open(path)
    assert open_descriptors(path) == 0


def test_an_open_manifest_has_a_descriptor_for_each_connection(path: Path) -> None:
    with Manifest.open(path):
        assert open_descriptors(path) == CONNECTIONS
    assert open_descriptors(path) == 0
