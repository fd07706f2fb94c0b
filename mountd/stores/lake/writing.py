"""One file into a Data Lake: appended piece by piece to a file beside the target, flushed, and given its name (`writing`).

Each piece carries an MD5 that the service checks; the flush names the whole length, which the service checks too, and the
MD5 of all, which it keeps. Parents are made by the service.
"""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from azure.core import MatchConditions
from azure.storage.filedatalake import ContentSettings

from mountd.stores.azure_sdk import Timeouts
from mountd.stores.lake.requests import LakeRequests
from mountd.stores.writing import RenamedWriting, pieces

if TYPE_CHECKING:
    from azure.storage.filedatalake import FileProperties

T = TypeVar("T")

PIECE_BYTES = 8 << 20


class LakeWriting(RenamedWriting["FileProperties"]):
    """Writes files of one file system."""

    def __init__(self, requests: LakeRequests, url: str) -> None:
        super().__init__(url)
        self._requests = requests

    @property
    def _piece_bytes(self) -> int:
        return PIECE_BYTES

    def _ask(self, path: str, attempt: Callable[[Timeouts], T], deadline_s: float = float("inf")) -> T:
        return self._requests.ask(path, attempt, deadline_s)

    def _send(self, partial: str, stream: BinaryIO, size: int, path: str) -> bytes:
        """Each request may be made twice, to the same effect."""
        file, digest, offset = self._requests.file(partial), hashlib.md5(usedforsecurity=False), 0
        self._ask(path, lambda timeouts: file.create_file(**timeouts))
        for data in pieces(stream, size, PIECE_BYTES):
            digest.update(data)

            def append(timeouts: Timeouts, data: bytes = data, offset: int = offset) -> object:
                return file.append_data(data, offset, len(data), validate_content=True, **timeouts)

            self._ask(path, append)
            offset += len(data)
        settings = ContentSettings(content_md5=bytearray(digest.digest()))
        self._ask(path, lambda timeouts: file.flush_data(size, content_settings=settings, close=True, **timeouts))
        return digest.digest()

    def _rename(self, old: str, new: str, timeouts: Timeouts, *, overwrite: bool) -> None:
        only_new: dict[str, Any] = {} if overwrite else {"match_condition": MatchConditions.IfMissing}
        self._requests.rename(old, new, **only_new, **timeouts)

    def _remove(self, path: str, timeouts: Timeouts) -> None:
        self._requests.file(path).delete_file(**timeouts)

    def _stat(self, path: str) -> "FileProperties":
        return self._requests.stat(path)
