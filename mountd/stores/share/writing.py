"""One file into a share: ranges of a file beside the target, its MD5, and a rename that makes it visible (`writing`).

Each range carries an MD5 that the service checks; the MD5 of the whole is kept as a property of the file. Folders that are
missing are made when the service says so, and not before.
"""

import hashlib
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from mountd.errors import DestinationExistsError
from mountd.stores.azure_sdk import Timeouts
from mountd.stores.base import Within
from mountd.stores.share.requests import NoParentError, ShareRequests
from mountd.stores.writing import OtherKindError, RenamedWriting, pieces

if TYPE_CHECKING:
    from azure.storage.fileshare import ContentSettings, FileProperties

T = TypeVar("T")

_RANGE_BYTES: Final = 4 << 20  # the most that the service takes in one request


class ShareWriting(RenamedWriting["FileProperties"]):
    """Writes files of one share."""

    def __init__(self, requests: ShareRequests, url: str) -> None:
        super().__init__(url)
        self._requests = requests

    @property
    def _piece_bytes(self) -> int:
        return _RANGE_BYTES

    def _ask(self, path: str, attempt: Callable[[Timeouts], T], deadline_s: float = float("inf")) -> T:
        return self._requests.ask(self._url + path, attempt, within=Within(deadline_s))

    def _send(self, partial: str, stream: BinaryIO, size: int, path: str) -> bytes:
        file, ranges = self._requests.file(partial), pieces(stream, size, _RANGE_BYTES)
        first, digest = next(ranges, b""), hashlib.md5(usedforsecurity=False)
        whole = _settings(hashlib.md5(first, usedforsecurity=False).digest()) if len(first) == size else None
        self._create(path, lambda timeouts: file.create_file(size, content_settings=whole, **timeouts))
        offset = 0
        for data in chain([first] if first else [], ranges):
            digest.update(data)
            self._put(partial, data, offset, path)
            offset += len(data)
        if whole is None:
            settings = _settings(digest.digest())
            self._ask(path, lambda timeouts: file.set_http_headers(settings, **timeouts))
        return digest.digest()

    def _create(self, path: str, create: Callable[[Timeouts], object]) -> None:
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
                self._make_folder(path)
            except OtherKindError:
                raise DestinationExistsError(
                    f"{self._url}{path}: a file, and a folder is needed there; rename one"
                ) from None
            except DestinationExistsError:
                continue

    def _make_folder(self, path: str) -> None:
        directory = self._requests.directory(path)
        self._ask(path, lambda timeouts: directory.create_directory(**timeouts))

    def _put(self, partial: str, data: bytes, offset: int, path: str) -> None:
        file = self._requests.file(partial)
        self._ask(path, lambda timeouts: file.upload_range(data, offset, len(data), validate_content=True, **timeouts))

    def _rename(self, old: str, new: str, timeouts: Timeouts, *, overwrite: bool) -> None:
        self._requests.file(old).rename_file(new, overwrite=overwrite, **timeouts)

    def _remove(self, path: str, timeouts: Timeouts) -> None:
        self._requests.file(path).delete_file(**timeouts)

    def _stat(self, path: str) -> "FileProperties":
        file = self._requests.file(path)
        return self._ask(path, lambda timeouts: file.get_file_properties(**timeouts))


def _settings(md5: bytes) -> "ContentSettings":
    from azure.storage.fileshare import ContentSettings

    return ContentSettings(content_md5=bytearray(md5))
