"""An Azure file share through Microsoft's SDK: listings, writes, deletes, and reads that obstore cannot make.

A share has real directories, so a listing is a walk: several directories are asked at once, page by page. Most reads go
through obstore (`objects`; docs/decisions/0014 says why); here are those of names with a dot at the end, and verified ones.
How a file is written is in `share.writing`.

Invariants: a target is visible whole or not at all; without `overwrite` the rename itself refuses to replace a file; the
service minds no conditions (If-Match is an error there), so what was read is compared with the ETag that came with it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mountd.errors import BadInputError, DataChangedError, HostilePathError, NotFoundError, StoreUnreachableError
from mountd.stores.azure_sdk import MALFORMED, Timeouts, checks_of
from mountd.stores.base import Buffer, ObjectInfo, Within, changed, normal_etag
from mountd.stores.local_listing import CONTROL_FOLDER, is_unfinished, translated
from mountd.stores.retry import TransientError
from mountd.stores.share import names as share_names
from mountd.stores.share.requests import ShareRequests
from mountd.stores.share.writing import ShareWriting
from mountd.stores.writing import NotThereError, OtherKindError

if TYPE_CHECKING:
    from azure.storage.fileshare import DirectoryProperties, FileProperties

    from mountd.stores.credentials import Credential
    from mountd.stores.source import Source

    _Told = FileProperties | DirectoryProperties

_LISTERS: Final = 8
_INCLUDE: Final = ["Timestamps", "Etag"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A page of a directory's listing.

    `path` is from the root of the share, '' or ending in `/`; `start` is what the names begin with; `seen` are the tokens
    of the pages up to this one; `mtime_ns` is the directory's, None for the one that the walk begins with.
    """

    path: str
    start: str = ""
    token: str = ""
    seen: frozenset[str] = frozenset()
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Page:
    """What came: files (and the directory itself, if it is empty), and the pages to ask for because of it."""

    found: list[ObjectInfo]
    further: list[_Asked]


class AzureFilesStore:
    """Lister, Writer and TimedReader of one file share below a prefix."""

    def __init__(
        self,
        source: "Source",
        credential: "Credential | None",
        *,
        deadline_s: float,
        verified: bool = False,
        on_retry: Callable[[], None] | None = None,
    ) -> None:
        """Contact nobody yet. `verified`: every range that is read is compared with its MD5, as the service computes it.

        Raises:
            AccessDeniedError: there is no credential, or it is for another account.
            BadInputError: the SDK is not installed.
        """
        self._source, self._deadline_s, self._verified = source, deadline_s, verified
        self._requests = ShareRequests(source, credential, deadline_s, on_retry)
        self._writing = ShareWriting(self._requests, source.store_url)

    def __repr__(self) -> str:
        return f"AzureFilesStore({self.url!r})"

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._source.base_url

    @property
    def in_place(self) -> bool:
        """False: the bytes come over the network."""
        return False

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every file, and every empty directory, whose key starts with `prefix`.

        Raises:
            BadInputError: a file lies where the URL means a folder.
            HostilePathError: a name that leads elsewhere.
        """
        folder, _, start = (self._source.prefix + prefix).rpartition("/")
        waiting = [_Asked(f"{folder}/" if folder else "", start)]
        running: set[Future[_Page]] = set()
        pool = ThreadPoolExecutor(_LISTERS, "list")
        try:
            while waiting or running:
                while waiting and len(running) < _LISTERS:
                    running.add(pool.submit(self._page, waiting.pop()))
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    running.discard(future)
                    page = future.result()
                    yield from page.found
                    waiting += page.further
        finally:
            pool.shutdown(cancel_futures=True)

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        """Exactly `size` bytes at `offset` of the file whose ETag is `etag`."""
        return self.read_within(key, offset, size, etag, Within(self._deadline_s))

    def read_within(self, key: str, offset: int, size: int, etag: str, within: Within) -> Buffer:
        """As `read`, in less time."""
        if not size:
            return b""
        name = self.url + key

        def attempt(timeouts: Timeouts) -> bytes:
            stream = self._requests.file(self._full(key)).download_file(
                offset=offset, length=size, **checks_of(name, verified=self._verified), **timeouts
            )
            data: bytes = stream.readall()
            found = normal_etag(stream.properties.etag)
            if etag and found != etag:
                raise changed(name, etag, found)
            if len(data) != size:
                held = f"holds {offset + len(data)} bytes, {offset + size} were frozen; freeze the source again"
                raise DataChangedError(f"{name}: {held}")
            return data

        try:
            return self._requests.ask(name, attempt, within=within)
        except (NotThereError, OtherKindError) as error:
            raise changed(name, etag, "gone") if etag else NotFoundError(str(error)) from None

    def ask_byte(self, key: str, offset: int, limit_s: float) -> None:
        """Ask once for one byte: a service that turns requests away says here how long to wait.

        Raises:
            TransientError: with what Retry-After says.
        """
        file = self._requests.file(self._full(key))
        self._requests.ask_once(
            self.url + key, lambda timeouts: file.download_file(offset=offset, length=1, **timeouts), limit_s
        )

    def write(self, key: str, source: Path | bytes, *, overwrite: bool = False) -> ObjectInfo:
        """Store a file or bytes under `key`, each range checked by the service; return what it then says of it."""
        path = self._full(key)
        share_names.check(path, self._source.store_url)
        if isinstance(source, bytes):
            told = self._writing.write(path, BytesIO(source), len(source), overwrite=overwrite)
        else:
            with translated(str(source)), source.open("rb") as stream:
                told = self._writing.write(path, stream, os.fstat(stream.fileno()).st_size, overwrite=overwrite)
        return self._info(path, told)

    def delete(self, key: str) -> None:
        """Remove the file, if it is there; its directory stays."""
        file = self._requests.file(self._full(key))
        with suppress(NotThereError):
            self._requests.ask(self.url + key, lambda timeouts: file.delete_file(**timeouts))

    def _page(self, asked: _Asked) -> _Page:
        directory = self._requests.directory(asked.path.rstrip("/"))
        name = self._source.store_url + asked.path

        def attempt(timeouts: Timeouts) -> "tuple[Sequence[_Told], str]":
            # Extended information makes the length of a file true that a Windows client holds open.
            pages: Any = directory.list_directories_and_files(
                asked.start or None, include=_INCLUDE, include_extended_info=True, **timeouts
            ).by_page(asked.token or None)
            try:
                return list(next(pages)), pages.continuation_token or ""
            except (AttributeError, TypeError):  # how the SDK says that the XML is of something else
                raise TransientError(MALFORMED) from None

        try:
            entries, token = self._requests.ask(name, attempt)
        except NotThereError:
            return _Page([], [])
        except OtherKindError:
            if asked.path != self._source.prefix:
                return _Page([], [])
            remedy = "write it without a '/' at its end, and in upper and lower case as the share has it"
            raise BadInputError(f"{name}: a file, and no folder; {remedy}") from None
        if token in asked.seen:
            raise StoreUnreachableError(f"{name}: the pages of the service's listing lead in a circle; try later")
        return self._sorted(asked, entries, token)

    def _sorted(self, asked: _Asked, entries: "Sequence[_Told]", token: str) -> _Page:
        from azure.storage.fileshare import FileProperties

        page = _Page([], [replace(asked, token=token, seen=asked.seen | {token})] if token else [])
        for entry in entries:
            if not entry.name or "/" in entry.name or entry.name in {".", ".."}:
                raise HostilePathError(f"{self._source.store_url}{asked.path}: lists {entry.name!r}, which is no name")
            path = asked.path + entry.name
            # The service finds names in any case; a key is what it is.
            if not entry.name.startswith(asked.start) or path == CONTROL_FOLDER or is_unfinished(entry.name):
                continue
            if not isinstance(entry, FileProperties):
                page.further.append(_Asked(f"{path}/", mtime_ns=_nanoseconds(entry)))
            else:
                page.found.append(self._info(path, entry if entry.etag else self._stat(path)))
        page.found.sort(key=lambda info: info.key)  # so that the file whose name was asked for comes first
        if asked.mtime_ns is not None and not (page.found or page.further or asked.token):
            page.found.append(ObjectInfo(self._key(asked.path[:-1]), 0, "", asked.mtime_ns, is_directory=True))
        return page

    def _stat(self, path: str) -> "FileProperties":
        file = self._requests.file(path)
        return self._requests.ask(self._source.store_url + path, lambda timeouts: file.get_file_properties(**timeouts))

    def _info(self, path: str, told: "FileProperties") -> ObjectInfo:
        digest = told.content_settings.content_md5  # listings tell none
        md5 = bytes(digest) if digest else None
        return ObjectInfo(self._key(path), told.size or 0, normal_etag(told.etag), _nanoseconds(told), md5=md5)

    def _full(self, key: str) -> str:
        return self._source.prefix + key

    def _key(self, path: str) -> str:
        return path.removeprefix(self._source.prefix)


def _nanoseconds(told: "_Told") -> int:
    """When it was last written, in whole microseconds: the SDK gives text in listings, and elsewhere cuts the rest off."""
    moment: Any = told.last_write_time or told.last_modified
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    microseconds: int = (moment - _EPOCH) // timedelta(microseconds=1)
    return microseconds * 1000
