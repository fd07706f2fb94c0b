"""An Azure Data Lake file system (ADLS Gen2) through Microsoft's SDK: listings by directory, writes, deletes.

Its directories are real, and are listed as such, the empty ones too. Reads are not here: they go to the account's endpoint
for blobs (docs/decisions/0013), which tells the same ETags. Requests are in `lake.requests`, the way of a file into the
store in `lake.writing`.

Invariants: nothing outside the prefix is listed; files that a writer has not finished are not listed.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from mountd.errors import BadInputError, HostilePathError, StoreUnreachableError
from mountd.stores.base import ObjectInfo, normal_etag
from mountd.stores.lake.requests import LakeRequests
from mountd.stores.lake.writing import LakeWriting
from mountd.stores.local_listing import is_unfinished, translated
from mountd.stores.writing import NotThereError, OtherKindError

if TYPE_CHECKING:
    from azure.storage.filedatalake import FileProperties, PathProperties

    from mountd.stores.credentials import Credential
    from mountd.stores.source import Source


class AzureDataLakeStore:
    """Lister and Writer of one file system below a prefix."""

    def __init__(self, source: "Source", credential: "Credential | None", *, deadline_s: float) -> None:
        """Contact nobody yet.

        Raises:
            AccessDeniedError: the credential is not for this account, or is malformed.
        """
        self._source = source
        self._requests = LakeRequests(source, credential, deadline_s)
        self._writing = LakeWriting(self._requests, source.store_url)

    def __repr__(self) -> str:
        return f"AzureDataLakeStore({self.url!r})"

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._source.base_url

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every file and directory whose key starts with `prefix`; what is named exactly comes first.

        Raises:
            NotFoundError: there is no such file system.
            BadInputError: the base URL is a file's.
        """
        full = self._source.prefix + prefix
        folder, _, start = full.rpartition("/")
        if not all(_is_name(name) for name in folder.split("/") if folder):
            return  # no such path can be
        if not start:
            yield from self._paths(folder, recursive=True)
            return
        exact = self._exact(full) if _is_name(start) else None
        if exact is not None:
            yield from self._with_all_below(exact)
        for info in self._paths(folder, recursive=False):
            name = info.key.rpartition("/")[2]
            if name.startswith(start) and name != start:
                yield from self._with_all_below(info)

    def write(self, key: str, source: Path | bytes, *, overwrite: bool = False) -> ObjectInfo:
        """Store a file or bytes under `key`, each part checked by the service; return what it says of the file."""
        path = self._path(key)
        if isinstance(source, bytes):
            told = self._writing.write(path, BytesIO(source), len(source), overwrite=overwrite)
        else:
            with translated(str(source)), source.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                told = self._writing.write(path, stream, size, overwrite=overwrite)
        return self._told(path, told)

    def delete(self, key: str) -> None:
        """Remove the file, if it is there."""
        self._requests.delete(self._path(key))

    def _with_all_below(self, info: ObjectInfo) -> Iterator[ObjectInfo]:
        yield info
        if info.is_directory:
            yield from self._paths(self._source.prefix + info.key, recursive=True)

    def _paths(self, folder: str, *, recursive: bool) -> Iterator[ObjectInfo]:
        """What a listing tells, page by page; nothing for a directory that is not there."""
        try:
            page, token = self._requests.page(folder, "", recursive=recursive)
        except (NotThereError, OtherKindError):
            if f"{folder}/" == self._source.prefix:
                self._refuse_file(folder)
            return
        seen = set[str]()
        while True:
            yield from (self._listed(each) for each in page if not is_unfinished(each.name))
            if not token:
                return
            if token in seen:
                name = f"{self._source.store_url}{folder}"
                raise StoreUnreachableError(f"{name}: the pages of the service's listing lead in a circle; try later")
            seen.add(token)
            page, token = self._requests.page(folder, token, recursive=recursive)

    def _refuse_file(self, path: str) -> None:
        """Say it if the base URL is a file's."""
        found = self._exact(path)
        if found is not None and not found.is_directory:
            raise BadInputError(
                f"{self._source.store_url}{path}: is a file, not a folder; name it without '/' at the end"
            )

    def _exact(self, path: str) -> ObjectInfo | None:
        try:
            return self._told(path, self._requests.stat(path))
        except NotThereError:
            return None

    def _path(self, key: str) -> str:
        if not all(_is_name(name) for name in key.split("/")):
            raise HostilePathError(f"{key!r}: not a path below {self.url}")
        try:
            key.encode()
        except UnicodeEncodeError:
            raise BadInputError(f"{self.url}: {key!r} is not UTF-8, as names in a Data Lake are; rename it") from None
        return self._source.prefix + key

    def _listed(self, path: "PathProperties") -> ObjectInfo:
        return ObjectInfo(
            key=path.name.removeprefix(self._source.prefix),
            size=path.content_length or 0,
            etag=normal_etag(path.etag),
            mtime_ns=_nanoseconds(path.last_modified),
            is_directory=path.is_directory,
        )

    def _told(self, path: str, told: "FileProperties") -> ObjectInfo:
        md5, metadata = told.content_settings.content_md5, told.metadata or {}
        return ObjectInfo(
            key=path.removeprefix(self._source.prefix),
            size=told.size or 0,
            etag=normal_etag(told.etag),
            mtime_ns=_nanoseconds(told.last_modified),
            is_directory=metadata.get("hdi_isfolder", "").lower() == "true",
            md5=bytes(md5) if md5 else None,
        )


def _is_name(name: str) -> bool:
    return name not in {"", ".", ".."}


def _nanoseconds(modified: datetime) -> int:
    # Of a listing the SDK tells the time in UTC without saying so; the service tells whole seconds.
    return int((modified if modified.tzinfo else modified.replace(tzinfo=UTC)).timestamp()) * 1_000_000_000
