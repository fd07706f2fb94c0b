"""The files of a frozen dataset as a reader of tables needs them: ranges of bytes, each pinned to its ETag.

A local file is read by its own store, one in Azure or on a web server through the store's client. Both refuse a file
that has changed. A store is not usable after a fork: `open_files` belongs to the process that called it.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from mountd.stores.base import RangeReader
    from runtime.datasets.file import FrozenDataset


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file: `path` in the dataset's tree, `url` where it lies, `place` its path there, `size` in bytes."""

    path: str
    url: str
    size: int
    mtime_ns: int
    place: str
    key: str
    etag: str
    reader: "RangeReader"

    def read(self, offset: int, size: int) -> bytes:
        """The bytes at `offset`, fewer only at the file's end.

        Raises:
            MountdError: the file has changed or gone, or its store refuses or cannot be reached.
        """
        size = min(size, self.size - offset)
        return bytes(self.reader.read(self.key, offset, size, self.etag)) if size > 0 else b""

    def open(self) -> io.RawIOBase:
        """The file as a stream that can be sought in."""
        return _Stream(self)


class _Nothing:
    """The reader of what has no bytes."""

    url, in_place = "", True

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        raise NotImplementedError


def answer_file(datastore: str) -> TableFile:
    """What stands for a query's answer where rows are told of by file."""
    return TableFile(f"query of {datastore}", "", 0, 0, "", "", "", _Nothing())


class _Stream(io.RawIOBase):
    def __init__(self, file: TableFile) -> None:
        super().__init__()
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override] # what io calls it with
        data = self._file.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextlib.contextmanager
def open_files(frozen: "FrozenDataset") -> Iterator[list[TableFile]]:
    """Every file of `frozen` that is not empty, in the order of paths."""
    from mountd.dataset.manifest import Manifest
    from mountd.stores import registry

    with Manifest.open(frozen.manifest) as manifest:
        readers = [registry.open_reader(url, frozen.credentials.get(url)) for url in manifest.sources]
        found = [
            TableFile(
                path,
                manifest.sources[entry.source] + manifest.key(entry),
                entry.size,
                entry.mtime_ns,
                unquote(urlsplit(manifest.sources[entry.source]).path, errors="surrogateescape") + manifest.key(entry),
                manifest.key(entry),
                entry.etag,
                readers[entry.source],
            )
            for path, entry in manifest.files()
            if entry.size
        ]
    yield sorted(found, key=lambda file: file.path)
