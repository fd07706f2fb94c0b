"""What a store can do, one Protocol a verb.

A *store* is a place bytes come from, addressed by a URL; a *key* is the rest of an object's name below that URL, with `/`
between segments and no leading `/` (for a store that is one file or one object, the key is the file's own name). Stores
are synchronous and thread-safe: any number of threads may call one object.

The error contract, which callers rely on and which the conformance suite checks on every store:

- a key that is not there raises `NotFoundError`; a refused or missing credential `AccessDeniedError`;
- `read` is pinned: the ETag is the one a listing told; the empty string pins nothing. A read of 0 bytes asks nobody;
- bytes whose ETag is not the one asked for raise `DataChangedError`, whether the service noticed or we did. An object that
  is gone although an ETag was asked for is a changed one, not a missing one;
- a store that cannot be reached, or still fails with 5xx, 429 or a broken body when the deadline is over, raises
  `StoreUnreachableError` and names the attempts made;
- a body of another length than asked for is never returned: it is retried, and at the deadline `StoreUnreachableError`;
- a store that keeps connections belongs to the process that opened it: after a fork it raises `DefectError` at once;
- nothing else leaves a store: a service's own exceptions are translated, and no message holds a credential.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from mountd.errors import DataChangedError, DefectError

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as a listing tells it.

    `key` may hold anything the service allows: nothing here is validated, `dataset.manifest` does that. `etag` is opaque
    and without surrounding quotes. `md5` is the service's own digest of the whole object (16 bytes), where it has one.
    """

    key: str
    size: int
    etag: str
    mtime_ns: int
    is_directory: bool = False
    md5: bytes | None = None


def normal_etag(header: str | None) -> str:
    """An ETag as Moorage keeps it: without quotes (services send them in headers and omit them in listings).

    A weak one keeps its `W/`, because it must never be sent in an If-Match.
    """
    text = (header or "").strip()
    weak, opaque = ("W/", text[2:]) if text.startswith("W/") else ("", text)
    return weak + opaque.removeprefix('"').removesuffix('"')


_IS = ", is "

#: A reason to ask again: a service that refuses what is pinned, and then tells the very ETag, contradicts itself.
REFUSED_UNCHANGED: Final = "refused as changed, although its ETag is the frozen one"


def changed(name: str, frozen: str, found: str) -> DataChangedError:
    """The error for an object that is another than was frozen, with both ETags; `found` may also be 'gone'."""
    return DataChangedError(f"{name}: was {frozen}{_IS}{found}; freeze the source again to read the new one")


def is_told(error: DataChangedError) -> bool:
    """True if the error says what is there now, so that nobody need look."""
    return _IS in str(error)


def check_process(opened_by: int) -> None:
    """Refuse a store in a forked child: its connections, or its SDK's threads, are the parent's.

    Raises:
        DefectError: this process is not `opened_by`.
    """
    if os.getpid() != opened_by:
        raise DefectError(
            f"a store opened by process {opened_by} is used by process {os.getpid()}, a fork; open it there"
        )


@runtime_checkable
class RangeReader(Protocol):
    """Reads a range of one frozen object."""

    @property
    def url(self) -> str:
        """The store's own address, without credentials: part of every cache key."""

    @property
    def in_place(self) -> bool:
        """True if a read costs no more than a local file's: such bytes are neither cached nor prefetched."""

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        """Return exactly `size` bytes at `offset` of the object whose ETag is `etag`; blocks up to the store's deadline."""


@dataclass(frozen=True, slots=True)
class Within:
    """The time that one read may take: `seconds` with all its attempts, `attempt_s` for the first of them.

    An attempt that ran out of time gives the next one twice as much: the link may have become slower than was learnt.
    `took` is told how many seconds the attempt took that succeeded.
    """

    seconds: float
    attempt_s: float = float("inf")
    took: Callable[[float], None] | None = None


@runtime_checkable
class TimedReader(RangeReader, Protocol):
    """A reader that can be told how long a read may take, below its own deadline."""

    def read_within(self, key: str, offset: int, size: int, etag: str, within: Within) -> Buffer:
        """As `read`; blocks for `within.seconds` at most."""


@runtime_checkable
class ReadyReader(RangeReader, Protocol):
    """A reader that can tell what it can give without waiting (local files in the page cache)."""

    def read_ready(self, key: str, offset: int, size: int, etag: str) -> Buffer | None:
        """As `read`, but None instead of waiting."""


@runtime_checkable
class Lister(Protocol):
    """Lists what is there now."""

    @property
    def url(self) -> str:
        """The store's own address, without credentials."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix`, recursively, in no promised order; lazily, page by page."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a listing that is still to come: the keys that start with `prefix`, or those of them in a range.

    With a range it is those from `start` on and before `end` (either may be '' for no limit). `marker` is where a page
    goes on, `after` the last name before it, `empty_pages` how many there were without any key. `by_folder`: only what lies
    directly below `prefix`; each folder there becomes a part of its own. Only `prefix` is a key's; the others are the
    store's own words, and all outlive the process.
    """

    prefix: str
    start: str = ""
    end: str = ""
    marker: str = ""
    after: str = ""
    by_folder: bool = False
    empty_pages: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """What one request for a `Part` brought, and the parts that the rest of it is."""

    objects: Sequence[ObjectInfo]
    rest: Sequence[Part] = ()


@runtime_checkable
class PartLister(Lister, Protocol):
    """A lister that can be asked for a part at a time, by many threads, and go on where another process stopped."""

    def list_part(self, part: Part, idle: int) -> Page:
        """The next page of `part`; all pages of all parts that follow from it are the listing, each key once.

        `idle` is how many threads have nothing to ask for: that many more parts are welcome.
        """


@runtime_checkable
class Writer(Protocol):
    """Puts whole objects: visible complete or not at all."""

    @property
    def url(self) -> str:
        """The store's own address, without credentials."""

    def write(self, key: str, source: Path | bytes, *, overwrite: bool = False) -> ObjectInfo:
        """Store a file or bytes under `key`, verified by length and checksum; return what the store now says of it.

        Raises:
            DestinationExistsError: `key` exists and `overwrite` is False; nothing was changed.
        """

    def delete(self, key: str) -> None:
        """Remove `key`; a key that is not there is no error."""
