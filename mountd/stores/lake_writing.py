"""One file into a Data Lake: appended piece by piece to a file beside the target, flushed, and given its name.

Each piece carries an MD5 that the service checks; the flush names the whole length, which the service checks too, and the
MD5 of all, which it keeps; both are read back under the file's own name. Parents are made by the service.

Invariants: a target is visible whole or not at all; without `overwrite` the rename itself refuses to replace a file; what
failed leaves no file behind, but for one whose writer was killed (`.moorage-*.partial`, which our listings leave out).
"""

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from uuid import uuid4

from azure.core import MatchConditions
from azure.storage.filedatalake import ContentSettings

from mountd.errors import CorruptDataError, DestinationExistsError, MountdError
from mountd.stores.azure_blob import PIECE_BYTES, pieces
from mountd.stores.azure_sdk import Timeouts, exists
from mountd.stores.lake_requests import LakeRequests, NotThereError, OtherKindError
from mountd.stores.local_listing import UNFINISHED

if TYPE_CHECKING:
    from azure.storage.filedatalake import FileProperties

CLEAN_S: Final = 5.0  # for taking away what could not be finished: whoever waits has waited for the write already


class LakeWriting:
    """Writes files of one file system; thread-safe. Paths are from its root, `url` is its address for errors."""

    def __init__(self, requests: LakeRequests, url: str) -> None:
        self._requests, self._url = requests, url

    def write(self, path: str, stream: BinaryIO, size: int, *, overwrite: bool) -> "FileProperties":
        """Store `size` bytes of `stream`, which must be all of it; return what the service says of the file.

        Raises:
            DestinationExistsError: `path` exists and `overwrite` is False, or a folder and a file are in each other's way.
            CorruptDataError: the stream is longer or shorter, or the service holds something else.
        """
        if size > PIECE_BYTES and not overwrite:
            self._refuse_existing(path)  # before the bytes are sent, not after; what counts is the rename
        folder, slash, _ = path.rpartition("/")
        partial = folder + slash + uuid4().hex.join(UNFINISHED)
        try:
            digest = self._send(partial, stream, size, path)
            self._rename(partial, path, (size, digest), overwrite=overwrite)
        except BaseException:
            with suppress(MountdError):
                self._requests.delete(partial, CLEAN_S)
            raise
        told = self._requests.stat(path)
        if _identity(told) != (size, digest):
            raise CorruptDataError(
                f"{self._url}{path}: the store holds another file than the one written; write it again"
            )
        return told

    def _send(self, partial: str, stream: BinaryIO, size: int, path: str) -> bytes:
        """Make the file and fill it; return the MD5 of all of it. Each request may be made twice, to the same effect."""
        file, digest, offset = self._requests.file(partial), hashlib.md5(usedforsecurity=False), 0
        self._requests.ask(path, lambda timeouts: file.create_file(**timeouts))
        for data in pieces(stream, size):
            digest.update(data)

            def append(timeouts: Timeouts, data: bytes = data, offset: int = offset) -> object:
                return file.append_data(data, offset, len(data), validate_content=True, **timeouts)

            self._requests.ask(path, append)
            offset += len(data)
        settings = ContentSettings(content_md5=bytearray(digest.digest()))
        self._requests.ask(
            path, lambda timeouts: file.flush_data(size, content_settings=settings, close=True, **timeouts)
        )
        return digest.digest()

    def _rename(self, old: str, new: str, expected: tuple[int, bytes], *, overwrite: bool) -> None:
        """Give the file its name; if that is asked twice, the first answer may only have been lost."""
        only_new: dict[str, Any] = {} if overwrite else {"match_condition": MatchConditions.IfMissing}
        attempts = 0

        def rename(timeouts: Timeouts) -> None:
            nonlocal attempts
            attempts += 1
            self._requests.rename(old, new, **only_new, **timeouts)

        try:
            self._requests.ask(new, rename)
        except OtherKindError:
            raise
        except (DestinationExistsError, NotThereError):
            if attempts == 1 or _identity(self._requests.stat(new)) != expected:
                raise

    def _refuse_existing(self, path: str) -> None:
        with suppress(NotThereError):
            self._requests.stat(path)
            raise DestinationExistsError(exists(self._url + path))


def _identity(told: "FileProperties") -> tuple[int, bytes]:
    return told.size, bytes(told.content_settings.content_md5 or b"")
