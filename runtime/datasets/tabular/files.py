"""The files of a frozen dataset as a reader of tables needs them: ranges of bytes, each pinned to its ETag.

A local file is read by its own store, one in Azure or on a web server through the helper: the same reader and cache as a
mount's, without a credential in a job, and in forked processes, too. Both refuse a file that has changed.
"""

import contextlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from runtime.datastores import reaching
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from mountd.client.helper import HelperFiles
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


@dataclass(frozen=True, slots=True)
class _Helped:
    """Reads by the helper; a key is the path in the dataset."""

    files: "HelperFiles"
    url: str
    in_place: bool = False

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:  # noqa: ARG002 # the manifest has it
        return self.files.read(self.files.entry(key), offset, size)


@contextlib.contextmanager
def open_files(workspace: WorkspaceFolder, frozen: "FrozenDataset") -> Iterator[list[TableFile]]:
    """Every file of `frozen` that is not empty, in the order of paths.

    Raises:
        MountdError: the helper cannot be started.
    """
    from mountd.dataset.manifest import Manifest
    from mountd.stores import registry

    with contextlib.ExitStack() as stack:
        manifest = stack.enter_context(Manifest.open(frozen.manifest))
        readers: list[RangeReader] = []
        helped: HelperFiles | None = None
        for url in manifest.sources:
            if registry.parse_source(url).kind == "file" or sys.platform != "linux":
                readers.append(registry.open_reader(url, frozen.credentials.get(url)))
                continue
            helped = helped or stack.enter_context(reaching.open_files(workspace, frozen))
            readers.append(_Helped(helped, url))
        found = [
            TableFile(
                path,
                manifest.sources[entry.source] + manifest.key(entry),
                entry.size,
                entry.mtime_ns,
                unquote(urlsplit(manifest.sources[entry.source]).path, errors="surrogateescape") + manifest.key(entry),
                path if isinstance(readers[entry.source], _Helped) else manifest.key(entry),
                entry.etag,
                readers[entry.source],
            )
            for path, entry in manifest.files()
            if entry.size
        ]
        yield sorted(found, key=lambda file: file.path)
