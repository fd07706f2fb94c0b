"""The stores under test, each behind one face: what the conformance suite needs of a place to put data."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from urllib.parse import quote

import pytest

from mountd.stores import registry
from mountd.stores.base import Lister, ObjectInfo, RangeReader, Writer
from mountd.stores.credentials import Credential
from mountd.stores.memory import MemoryStore
from tests.support import datalake_server
from tests.support.azurite import KEY, Azurite
from tests.support.datalake_server import DataLakeServer
from tests.support.fileshare_server import FileShares
from tests.support.http_server import HttpServer


@dataclass
class Place:
    """A store that is empty at first. `lists` is False where only an exact key can be asked for."""

    url: str
    credential: Credential | None = None
    lists: bool = True
    odd_names: tuple[str, ...] = ()
    refused_names: tuple[str, ...] = ()
    _reader: RangeReader | None = field(default=None, repr=False)

    def put(self, key: str, data: bytes) -> None:
        raise NotImplementedError

    def remove(self, key: str) -> None:
        raise NotImplementedError

    def reader(self) -> RangeReader:
        self._reader = self._reader or registry.open_reader(self.url, self.credential, deadline_s=20)
        return self._reader

    def lister(self) -> Lister:
        return registry.open_lister(self.url, self.credential, deadline_s=20)

    def writer(self) -> Writer:
        return registry.open_writer(self.url, self.credential, deadline_s=20)

    def keys(self, prefix: str = "") -> set[str]:
        """The keys of all files; some stores list their folders too."""
        return {info.key for info in self.lister().list(prefix) if not info.is_directory}

    def info(self, key: str) -> ObjectInfo:
        return next(info for info in self.lister().list(key) if info.key == key)

    def read(self, key: str, offset: int, size: int, etag: str | None = None) -> bytes:
        return bytes(self.reader().read(key, offset, size, self.info(key).etag if etag is None else etag))


class _Local(Place):
    root: Path

    def put(self, key: str, data: bytes) -> None:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def remove(self, key: str) -> None:
        (self.root / key).unlink()


class _Memory(Place):
    store: MemoryStore

    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, data)

    def remove(self, key: str) -> None:
        self.store.delete(key)


class _Azurite(Place):
    server: Azurite
    container: str

    def put(self, key: str, data: bytes) -> None:
        self.server.put(self.container, "pre fix/" + key, data)

    def remove(self, key: str) -> None:
        self.server.remove(self.container, "pre fix/" + key)


class _DataLake(Place):
    server: DataLakeServer

    def put(self, key: str, data: bytes) -> None:
        self.server.put("lake", "dä ta%41/" + key, data)

    def remove(self, key: str) -> None:
        self.server.remove("lake", "dä ta%41/" + key)


class _Share(Place):
    server: FileShares

    def put(self, key: str, data: bytes) -> None:
        self.server.put("share-1", "Pre fix/" + key, data)

    def remove(self, key: str) -> None:
        self.server.remove("share-1", "Pre fix/" + key)


class _Https(Place):
    server: HttpServer

    def put(self, key: str, data: bytes) -> None:
        self.server.put("/some_dir/é/" + key, data, etag=f'"{md5(data, usedforsecurity=False).hexdigest()}"')

    def remove(self, key: str) -> None:
        del self.server.files["/some_dir/é/" + key]


def random_name() -> str:
    return "c" + secrets.token_hex(6)


@contextmanager
def _local(request: pytest.FixtureRequest) -> Iterator[Place]:
    root: Path = request.getfixturevalue("tmp_path") / "dä ta%41#?"
    root.mkdir()
    place = _Local(registry.file_url(root), odd_names=("new\nline", "\udcff\udcfe", "a\\b"))
    place.root = root
    yield place


@contextmanager
def _memory(request: pytest.FixtureRequest) -> Iterator[Place]:
    del request
    name = random_name()
    place = _Memory(f"memory://{name}/", odd_names=("a//b", "d/", "../x"))
    place.store = MemoryStore(name)
    yield place


@contextmanager
def _azurite(request: pytest.FixtureRequest) -> Iterator[Place]:
    server: Azurite = request.getfixturevalue("azurite")
    container = random_name()
    server.make_container(container)
    place = _Azurite(
        server.url(container, quote("pre fix/")), Credential("key", KEY), odd_names=("a//b", "d/", "/lead", "tab\tx")
    )
    place.server, place.container = server, container
    yield place


@contextmanager
def _datalake(request: pytest.FixtureRequest) -> Iterator[Place]:
    del request
    with DataLakeServer.start() as server:
        server.make("lake")
        place = _DataLake(
            server.url("lake", quote("dä ta%41/")), Credential("key", datalake_server.KEY), odd_names=("tab\tx",)
        )
        place.server = server
        yield place


@contextmanager
def _https(request: pytest.FixtureRequest) -> Iterator[Place]:
    del request
    with HttpServer.start() as server:
        place = _Https(f"{server.endpoint}/some_dir/%C3%A9/", lists=False)
        place.server = server
        yield place


@contextmanager
def _share(request: pytest.FixtureRequest) -> Iterator[Place]:
    del request
    with FileShares.start() as server:
        server.make_share("share-1")
        place = _Share(
            server.url("share-1", "Pre fix/"),
            Credential("key", KEY),
            odd_names=("dot./x", "two..", "&lt;", "nbsp\xa0", "\ufffe"),
            refused_names=("q?x=1", "'\"", "a&b;c,d:e@f$g!"),
        )
        place.server = server
        yield place


PLACES = {
    "local": _local,
    "memory": _memory,
    "azurite": _azurite,
    "datalake": _datalake,
    "share": _share,
    "https": _https,
}
