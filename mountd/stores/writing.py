"""What writers of several stores have in common: a file in pieces, and a file that is renamed when it is whole.

Where a service shows a file from its creation on, it is written beside its target, under a name that listings leave out
(`.moorage-*.partial`), and renamed; its length and MD5 are then read back under its own name. How bytes are sent and what a
rename is, is the store's.

Invariants: a target is visible whole or not at all; without `overwrite` the rename itself refuses to replace a file; what
failed leaves no file behind, but for one whose writer was killed; errors name the target.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, Final, Generic, TypeVar
from uuid import uuid4

from mountd.errors import CorruptDataError, DestinationExistsError, MountdError, NotFoundError
from mountd.stores.azure_sdk import Timeouts, exists
from mountd.stores.local_listing import UNFINISHED

T = TypeVar("T")
Told = TypeVar("Told")  # an SDK's properties of a file

_CLEANING_S: Final = 5.0  # for taking away what could not be finished: whoever waits has waited for the write already


class NotThereError(NotFoundError):
    """No such path; the file system or share is there."""


class OtherKindError(DestinationExistsError):
    """A file lies where a folder is meant, or the reverse."""


class RenamedWriting(ABC, Generic[Told]):
    """Writes files of one place; thread-safe. Paths are from its root, `url` is its address for errors."""

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, path: str, stream: BinaryIO, size: int, *, overwrite: bool) -> Told:
        """Store `size` bytes of `stream`, which must be all of it; return what the service says of the file.

        Raises:
            DestinationExistsError: `path` exists and `overwrite` is False, or a folder and a file are in each other's way.
            CorruptDataError: the stream is longer or shorter, or the service holds something else.
        """
        if size > self._piece_bytes and not overwrite:
            self._refuse_existing(path)  # before the bytes are sent, not after; what counts is the rename
        folder, slash, _ = path.rpartition("/")
        partial = folder + slash + uuid4().hex.join(UNFINISHED)
        try:
            digest = self._send(partial, stream, size, path)
            self._give_name(partial, path, (size, digest), overwrite=overwrite)
        except BaseException:
            with suppress(MountdError):
                self._ask(path, lambda timeouts: self._remove(partial, timeouts), _CLEANING_S)
            raise
        told = self._stat(path)
        if _identity(told) != (size, digest):
            raise CorruptDataError(
                f"{self._url}{path}: the store holds another file than the one written; write it again"
            )
        return told

    def _give_name(self, old: str, new: str, expected: tuple[int, bytes], *, overwrite: bool) -> None:
        """Rename; if that is asked twice, the first answer may only have been lost."""
        attempts = 0

        def rename(timeouts: Timeouts) -> None:
            nonlocal attempts
            attempts += 1
            self._rename(old, new, timeouts, overwrite=overwrite)

        try:
            self._ask(new, rename)
        except OtherKindError:
            raise
        except (DestinationExistsError, NotThereError):
            if attempts == 1 or _identity(self._stat(new)) != expected:
                raise

    def _refuse_existing(self, path: str) -> None:
        with suppress(NotThereError):
            self._stat(path)
            raise DestinationExistsError(exists(self._url + path))

    @property
    @abstractmethod
    def _piece_bytes(self) -> int:
        """The most that one request sends."""

    @abstractmethod
    def _ask(self, path: str, attempt: Callable[[Timeouts], T], deadline_s: float = float("inf")) -> T:
        """What `attempt` gives, asked again while that may help; errors call it by `path`."""

    @abstractmethod
    def _send(self, partial: str, stream: BinaryIO, size: int, path: str) -> bytes:
        """Make the file `partial` and fill it, for the target `path`; the MD5 of all of it, which the service keeps."""

    @abstractmethod
    def _rename(self, old: str, new: str, timeouts: Timeouts, *, overwrite: bool) -> None:
        """Ask once for another name."""

    @abstractmethod
    def _remove(self, path: str, timeouts: Timeouts) -> None:
        """Ask once for the end of a file."""

    @abstractmethod
    def _stat(self, path: str) -> Told:
        """What the service says of a file."""


def pieces(stream: BinaryIO, size: int, piece_bytes: int) -> Iterator[bytes]:
    """The file in pieces of equal length; it must be as long at the end as it was at the start."""
    remaining = size
    while remaining:
        data = stream.read(min(piece_bytes, remaining))
        if not data:
            raise moved(stream)
        remaining -= len(data)
        yield data
    if stream.read(1):
        raise moved(stream)


def moved(stream: BinaryIO) -> CorruptDataError:
    """The error for a file that is another length than it was."""
    return CorruptDataError(f"{stream.name}: changed its length while it was sent; send it when nobody writes to it")


def _identity(told: Any) -> tuple[int, bytes]:
    return told.size, bytes(told.content_settings.content_md5 or b"")
