"""A store in this process's memory: for tests, and the plainest reading of the Protocols in `base`.

A named store lives as long as the process; `MemoryStore` is a view of it below a prefix. It accepts any key, so that a
test can make listings as hostile as it likes.

The lock protects the table of objects; nothing but dictionary work is done under it.
"""

import hashlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mountd.errors import DataChangedError, DestinationExistsError, NotFoundError
from mountd.stores.base import Buffer, ObjectInfo

_versions = itertools.count(1)


@dataclass(slots=True)
class _Objects:
    lock: threading.Lock = field(default_factory=threading.Lock)
    table: dict[str, tuple[ObjectInfo, bytes]] = field(default_factory=dict)


_named: dict[str, _Objects] = {}


class MemoryStore:
    """Reader, lister and writer of the objects of one named store below a prefix."""

    def __init__(self, name: str, prefix: str = "") -> None:
        self._objects = _named.setdefault(name, _Objects())
        self._prefix = prefix
        self._url = f"memory://{name}/{prefix}"

    @property
    def url(self) -> str:
        """`memory://NAME/PREFIX`."""
        return self._url

    @property
    def in_place(self) -> bool:
        """False: tests of the cache read from here."""
        return False

    def put(self, key: str, data: bytes, *, is_directory: bool = False) -> ObjectInfo:
        """Store `data` under any key whatever, replacing what is there."""
        info = self._new(key, data, is_directory=is_directory)
        with self._objects.lock:
            self._objects.table[self._prefix + key] = (info, bytes(data))
        return info

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        """Exactly `size` bytes at `offset`."""
        if not size:
            return b""
        with self._objects.lock:
            found = self._objects.table.get(self._prefix + key)
        if found is None:
            if etag:
                raise DataChangedError(f"{self._url}{key}: gone since it was frozen; freeze the source again")
            raise NotFoundError(f"{self._url}{key}: no such object")
        info, data = found
        if etag and info.etag != etag:
            raise DataChangedError(f"{self._url}{key}: was {etag}, is {info.etag}; freeze the source again")
        if offset + size > len(data):
            raise DataChangedError(f"{self._url}{key}: holds {len(data)} bytes, {offset + size} were asked for")
        return data[offset : offset + size]

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, in the order of the keys."""
        with self._objects.lock:
            found = {key: info for key, (info, _) in self._objects.table.items()}
        for key in sorted(found):
            if key.startswith(self._prefix + prefix):
                yield replace(found[key], key=key[len(self._prefix) :])

    def write(self, key: str, source: Path | bytes, *, overwrite: bool = False) -> ObjectInfo:
        """Store a file or bytes under `key`."""
        data = source.read_bytes() if isinstance(source, Path) else bytes(source)
        info = self._new(key, data, is_directory=False)
        with self._objects.lock:
            if self._prefix + key in self._objects.table and not overwrite:
                raise DestinationExistsError(f"{self._url}{key}: exists already; choose another place or overwrite")
            self._objects.table[self._prefix + key] = (info, data)
        return info

    def delete(self, key: str) -> None:
        """Remove `key`, if it is there."""
        with self._objects.lock:
            self._objects.table.pop(self._prefix + key, None)

    @staticmethod
    def _new(key: str, data: bytes, *, is_directory: bool) -> ObjectInfo:
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        return ObjectInfo(key, len(data), f"{next(_versions):x}", time.time_ns(), is_directory, digest)
