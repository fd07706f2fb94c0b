"""A store in memory, a manifest of it and a target: the world of the tests of downloads.

The fixtures must be imported by the test modules that use them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import mountd.download
from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.download import Downloaded, download
from mountd.stores import registry
from mountd.stores.base import Buffer, ObjectInfo
from mountd.stores.credentials import Credential
from mountd.stores.memory import MemoryStore
from tests.support.content import content

RANGE_BYTES = 65536
BIG = 3 * RANGE_BYTES + 17
SIZES = {"0/a.png": 100, "0/b.png": 0, "deep/er/big.bin": BIG, "ünï c.txt": 4096}
TIME_NS = 1_700_000_000_123_456_700


def frozen(info: ObjectInfo, *, md5: bool = True) -> FrozenFile:
    return FrozenFile(info.key, info.size, info.etag, info.mtime_ns, info.is_directory, info.md5 if md5 else None)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several ranges a file without megabytes of made content."""
    monkeypatch.setattr(mountd.download, "RANGE_BYTES", RANGE_BYTES)


class World:
    """A store in memory with a manifest of it, and a target."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore(uuid4().hex)
        self.manifest = folder / "m.sqlite"
        self.target = folder / "target"

    def fill(self, sizes: dict[str, int]) -> None:
        for path, size in sizes.items():
            self.store.put(path, content(path, 0, size))

    def freeze(self, *, md5: bool = True) -> None:
        files = [frozen(info, md5=md5) for info in self.store.list()]
        write_manifest(
            self.manifest, [self.store.url], [*files, FrozenFile("empty", 0, "", TIME_NS, is_directory=True)]
        )

    def download(self, **options: bool) -> Downloaded:
        return download(self.manifest, self.target, **options)  # type: ignore[arg-type]  # only flags are given


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.fill(SIZES)
    world.freeze()
    return world


def check_whole(target: Path, sizes: dict[str, int]) -> None:
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == set(sizes)
    for path, size in sizes.items():
        assert (target / path).read_bytes() == content(path, 0, size), path


@pytest.fixture
def wrapped(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, int, Buffer], Buffer]], list[tuple[str, int]]]:
    """Put a function between the stores and the download; returns the list of (key, offset) read."""

    def wrap(change: Callable[[str, int, Buffer], Buffer]) -> list[tuple[str, int]]:
        calls: list[tuple[str, int]] = []
        plain = registry.open_reader

        class Changed:
            in_place = False

            def __init__(self, url: str, credential: Credential | None, **given: Any) -> None:
                self.inner = plain(url, credential, **given)
                self.url = url

            def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
                calls.append((key, offset))
                return change(key, offset, self.inner.read(key, offset, size, etag))

        monkeypatch.setattr(registry, "open_reader", Changed)
        return calls

    return wrap


Wrap = Callable[[Callable[[str, int, Buffer], Buffer]], list[tuple[str, int]]]


def as_is(_: str, __: int, data: Buffer) -> Buffer:
    return data
