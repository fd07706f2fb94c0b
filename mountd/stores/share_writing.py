"""One file into a share: ranges of a file beside the target, its MD5, and a rename that makes it visible.

Each range carries an MD5 that the service checks; the MD5 of the whole is kept as a property of the file, and read back with
its length when it has its name. Folders that are missing are made when the service says so, and not before.

Invariants: a target is visible whole or not at all; without `overwrite` the rename itself refuses to replace a file; what
failed leaves no file behind, but for one whose writer was killed (`.moorage-*.partial`, which listings leave out).
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar
from uuid import uuid4

from mountd.errors import CorruptDataError, DestinationExistsError, MountdError
from mountd.stores.azure_sdk import exists
from mountd.stores.base import Within
from mountd.stores.local_listing import UNFINISHED
from mountd.stores.share_requests import NoParentError, NotThereError, OtherKindError, ShareRequests

if TYPE_CHECKING:
    from azure.storage.fileshare import ContentSettings, FileProperties

T = TypeVar("T")

_CLEANING_S: Final = 5.0
_RANGE_BYTES: Final = 4 << 20  # the most that the service takes in one request


class ShareWriting:
    """Writes files of one share; thread-safe. Paths are from its root, `url` is its address for errors."""

    def __init__(self, requests: ShareRequests, url: str) -> None:
        self._requests, self._url = requests, url

    def write(self, path: str, stream: BinaryIO, size: int, *, overwrite: bool) -> "FileProperties":
        """Store `size` bytes of `stream`, which must be all of it; return what the service says of the file.

        Raises:
            DestinationExistsError: `path` exists and `overwrite` is False, or a folder and a file are in each other's way.
            CorruptDataError: the stream is longer or shorter, or the service holds something else.
        """
        if size > _RANGE_BYTES and not overwrite:
            self._refuse_existing(path)  # before the bytes are sent, not after; what counts is the rename
        folder, slash, _ = path.rpartition("/")
        partial = folder + slash + uuid4().hex.join(UNFINISHED)
        try:
            digest = self._send(partial, stream, size)
            self._rename(partial, path, (size, digest), overwrite=overwrite)
        except BaseException:
            with suppress(MountdError):
                # Not as long as for what somebody waits for: the store may be what failed.
                file = self._requests.file(partial)
                self._requests.ask(
                    self._url + partial, lambda timeouts: file.delete_file(**timeouts), within=Within(_CLEANING_S)
                )
            raise
        told = self._stat(path)
        if _identity(told) != (size, digest):
            raise CorruptDataError(
                f"{self._url}{path}: the share holds another file than the one written; write it again"
            )
        return told

    def _send(self, path: str, stream: BinaryIO, size: int) -> bytes:
        """Make the file and put its ranges; the MD5 of all of it."""
        file, ranges = self._requests.file(path), _ranges(stream, size)
        first, digest = next(ranges), hashlib.md5(usedforsecurity=False)
        whole = _settings(hashlib.md5(first, usedforsecurity=False).digest()) if len(first) == size else None
        self._create(path, lambda **timeouts: file.create_file(size, content_settings=whole, **timeouts))
        offset = 0
        for data in chain([first], ranges):
            digest.update(data)
            if data:
                self._put(path, data, offset)
            offset += len(data)
        if whole is None:
            settings = _settings(digest.digest())
            self._ask(path, lambda **timeouts: file.set_http_headers(settings, **timeouts))
        return digest.digest()

    def _create(self, path: str, create: Callable[..., object]) -> None:
        try:
            self._ask(path, create)
        except NoParentError:
            self._make_folders(path.rpartition("/")[0])
            self._ask(path, create)

    def _make_folders(self, folder: str) -> None:
        names = folder.split("/")
        for number in range(1, len(names) + 1):
            path = "/".join(names[:number])
            try:
                self._ask(path, self._requests.directory(path).create_directory)
            except OtherKindError:
                raise DestinationExistsError(
                    f"{self._url}{path}: a file, and a folder is needed there; rename one"
                ) from None
            except DestinationExistsError:
                continue

    def _put(self, path: str, data: bytes, offset: int) -> None:
        file = self._requests.file(path)
        self._ask(
            path, lambda **timeouts: file.upload_range(data, offset, len(data), validate_content=True, **timeouts)
        )

    def _rename(self, old: str, new: str, expected: tuple[int, bytes], *, overwrite: bool) -> None:
        """Give the file its name; if that is asked twice, the first answer may only have been lost."""
        file, attempts = self._requests.file(old), 0

        def rename(**timeouts: Any) -> None:
            nonlocal attempts
            attempts += 1
            file.rename_file(new, overwrite=overwrite, **timeouts)

        try:
            self._ask(new, rename)
        except (DestinationExistsError, NotThereError):
            if attempts == 1 or _identity(self._stat(new)) != expected:
                raise

    def _refuse_existing(self, path: str) -> None:
        with suppress(NotThereError):
            self._stat(path)
            raise DestinationExistsError(exists(self._url + path))

    def _stat(self, path: str) -> "FileProperties":
        return self._ask(path, self._requests.file(path).get_file_properties)

    def _ask(self, path: str, call: Callable[..., T]) -> T:
        return self._requests.ask(self._url + path, lambda timeouts: call(**timeouts))


def _ranges(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The stream in pieces that the service takes, one at least; it must be as long at the end as it was at the start."""
    remaining = size
    while True:
        data = stream.read(min(_RANGE_BYTES, remaining))
        remaining -= len(data)
        if (remaining and not data) or (not remaining and stream.read(1)):
            raise CorruptDataError(
                f"{stream.name}: changed its length while it was sent; send it when nobody writes to it"
            )
        yield data
        if not remaining:
            return


def _settings(md5: bytes) -> "ContentSettings":
    from azure.storage.fileshare import ContentSettings

    return ContentSettings(content_md5=bytearray(md5))


def _identity(told: "FileProperties") -> tuple[int, bytes]:
    return told.size, bytes(told.content_settings.content_md5 or b"")
