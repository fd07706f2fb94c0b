"""A reader of blobs that finds what was frozen also after it was overwritten or deleted, if the service keeps it.

A read goes to the blob itself, as ever. When that is another one by now, or gone, the service is asked once which of the
blob's versions and snapshots has the frozen ETag, and from then on this one is read (docs/decisions/0019). While nothing
changes this costs nothing.

Invariants: what is read of a version is pinned to the ETag, too; nothing is read of a version with another one. Where none
is kept, or none may be looked for, the error is what it would have been, and says which of both it is.
"""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from mountd.errors import AccessDeniedError, BadInputError, DataChangedError, NotFoundError
from mountd.stores.base import Buffer, TimedReader, Within
from mountd.stores.retry import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from mountd.stores.azure_blob import AzureBlobStore
    from mountd.stores.blob.versions import Version, Versions

_LOG = logging.getLogger(__name__)
_NONE: Final = "no version or snapshot of it is kept"
_REFUSED: Final = "whether a version of it is kept, this credential may not list"
_DENIED_S: Final = 60.0


class VersionReader(TimedReader, Protocol):
    """A reader that can be told which version of a blob to read."""

    def read_within(
        self, key: str, offset: int, size: int, etag: str, within: Within, version: "Version | None" = None
    ) -> Buffer:
        """As `read`, of `version`, the current one without; blocks for `within.seconds` at most."""


class VersionedReader:
    """A TimedReader of one container: `reader` as long as that finds what was frozen, then the versions behind it."""

    def __init__(
        self, reader: VersionReader, sdk: "Callable[[], AzureBlobStore]", versions: "Versions", deadline_s: float
    ) -> None:
        self._reader, self._sdk, self._versions, self._deadline_s = reader, sdk, versions, deadline_s
        self._denied: Deadline | None = None  # while it lasts nobody is asked; two threads may set it, to no harm
        self._is_told = False

    def __repr__(self) -> str:
        return f"VersionedReader({self._reader!r})"

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._reader.url

    @property
    def in_place(self) -> bool:
        """False: the bytes come over the network."""
        return False

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        """Exactly `size` bytes at `offset` of the blob whose ETag is `etag`."""
        return self.read_within(key, offset, size, etag, Within(self._deadline_s))

    def read_within(self, key: str, offset: int, size: int, etag: str, within: Within) -> Buffer:
        """As `read`, in less time."""
        deadline = Deadline(min(within.seconds, self._deadline_s))
        known = self._versions.known(key, etag) if etag and size else None
        if known is not None:
            try:
                return self._reader.read_within(key, offset, size, etag, within, known)
            except DataChangedError:  # its time is over, or the blob is what it was again
                self._versions.forget(key, etag)
        try:
            return self._reader.read_within(key, offset, size, etag, _left(within, deadline))
        except DataChangedError as error:
            if not etag:
                raise
            changed = error
        found = self._found(key, etag, changed, deadline)
        return self._reader.read_within(key, offset, size, etag, _left(within, deadline), found)

    def _found(self, key: str, etag: str, changed: DataChangedError, deadline: Deadline) -> "Version":
        """The version that was frozen; `changed` with the reason if there is none."""
        if self._denied is not None and self._denied.remaining_s:
            raise DataChangedError(f"{changed}; {_REFUSED}")
        limit_s = deadline.remaining_s
        try:
            found = self._versions.find(key, etag, lambda: self._look(key, etag, limit_s), limit_s)
        except AccessDeniedError:
            self._denied = Deadline(_DENIED_S)
            raise DataChangedError(f"{changed}; {_REFUSED}") from None
        if found is None:
            raise DataChangedError(f"{changed}; {_NONE}")
        if not self._is_told:
            self._is_told = True
            _LOG.info("%s%s: was overwritten or deleted; its frozen version is read (of others, too)", self.url, key)
        return found

    def _look(self, key: str, etag: str, limit_s: float) -> "Version | None":
        try:
            return self._sdk().kept(key, etag, Within(limit_s))
        except (BadInputError, NotFoundError):  # a service that knows no versions, or hides what it refuses
            return None


def _left(within: Within, deadline: Deadline) -> Within:
    return replace(within, seconds=deadline.remaining_s)
