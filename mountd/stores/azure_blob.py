"""An Azure Blob container through Microsoft's SDK: listings, writes, deletes, and reads of names obstore cannot address.

Listings come page by page. A write puts small data in one request and larger data in blocks that a commit makes visible at
once; each request carries an MD5 that the service checks, and the whole object's MD5 is stored with it, so that a listing
tells later what was sent. The SDK's own retries are off: one deadline, in `retry`, covers a request.

Invariants: without `overwrite` the service itself refuses to replace an object (If-None-Match); a half-written object is
never visible; messages are made of statuses and service codes only, because the SDK's texts hold URLs and signatures.
"""

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient, BlobProperties, ContainerClient, ContentSettings

from mountd.errors import (
    DataChangedError,
    DestinationExistsError,
    NotFoundError,
)
from mountd.stores.azure_sdk import (
    NO_CONTAINER,
    Timeouts,
    checks_of,
    error_code,
    exists,
    sdk_credential,
    sdk_translated,
    timeouts_of,
    transport,
)
from mountd.stores.base import (
    REFUSED_UNCHANGED,
    Buffer,
    ObjectInfo,
    Page,
    Part,
    Within,
    changed,
    check_process,
    normal_etag,
)
from mountd.stores.blob.listing import BlobListing
from mountd.stores.blob.pages import BlobPage, read_page
from mountd.stores.blob.versions import Version
from mountd.stores.credentials import Credential, resolve
from mountd.stores.local_listing import translated
from mountd.stores.parts import gather
from mountd.stores.retry import NO_ANSWER, Deadline, TransientError, retry
from mountd.stores.source import Source
from mountd.stores.writing import moved, pieces

if TYPE_CHECKING:
    from azure.core.paging import ItemPaged

T = TypeVar("T")
_Answer = dict[str, Any]  # headers of an answer as the SDK names them

_LOOK_S = 5.0
_VERSIONS_PAGE = 100  # a page also brings blobs whose names only begin alike
_MOST_VERSIONS = 5000  # of one blob that are looked at
PIECE_BYTES = 8 << 20
_MOST_BLOCKS = 50_000  # the service's limit; blocks grow when a file needs more


class AzureBlobStore:
    """Lister, Writer and TimedReader of one container below a prefix; it knows versions and snapshots."""

    def __init__(
        self,
        source: Source,
        credential: Credential | None,
        *,
        deadline_s: float,
        verified: bool = False,
        on_retry: Callable[[], None] | None = None,
    ) -> None:
        """Contact nobody yet. `verified`: every range that is read is compared with its MD5, as the service computes it.

        Raises:
            AccessDeniedError: the credential is not for this account, or is malformed.
        """
        self._source, self._deadline_s, self._process_id = source, deadline_s, os.getpid()
        self._verified, self._on_retry = verified, on_retry
        self._anonymous = credential is None or credential.kind == "anonymous"
        self._listing = BlobListing(source, self._page)
        self._client = ContainerClient(
            source.endpoint,
            source.container,
            credential=sdk_credential(resolve(credential, source.account), source.account),
            transport=transport(),
            retry_total=0,
            logging_enable=False,
        )

    def __repr__(self) -> str:
        return f"AzureBlobStore({self.url!r})"

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._source.base_url

    @property
    def in_place(self) -> bool:
        """False: the bytes come over the network."""
        return False

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every blob whose key starts with `prefix`; several threads ask, and a failed page is asked for again."""
        for _, page in gather(self, [Part(prefix)]):
            yield from page.objects

    def list_part(self, part: Part, idle: int) -> Page:
        """The next page of `part`."""
        return self._listing.list_part(part, idle)

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        """Exactly `size` bytes at `offset` of the blob whose ETag is `etag`."""
        return self.read_within(key, offset, size, etag, Within(self._deadline_s))

    def read_within(
        self, key: str, offset: int, size: int, etag: str, within: Within, version: Version | None = None
    ) -> Buffer:
        """As `read`, in less time; with `version` of that one."""
        check_process(self._process_id)
        if not size:
            return b""
        name = f"{self.url}{key}{version or ''}"
        checks = checks_of(name, verified=self._verified)
        pin: dict[str, Any] = {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified} if etag else {}
        blob = self._blob(key, version)

        def attempt(timeouts: Timeouts) -> bytes:
            stream = blob.download_blob(offset=offset, length=size, **checks, **pin, **timeouts)
            data: bytes = stream.readall()
            found = normal_etag(stream.properties.etag)
            if etag and found != etag:
                raise changed(name, etag, found)
            if len(data) != size:
                held = f"holds {stream.properties.size} bytes, {offset + size} were frozen; freeze the source again"
                raise DataChangedError(f"{name}: {held}")
            return data

        def looked_at(timeouts: Timeouts) -> bytes:
            once = Deadline(sum(timeouts.values()))
            try:
                return attempt(timeouts)
            except HttpResponseError as error:
                if not etag or error.status_code not in {404, 412, 416} or error_code(error) == NO_CONTAINER:
                    raise
            raise self._what_is_there(blob, name, etag, offset + size, min(once.remaining_s, _LOOK_S))

        return self._ask(name, looked_at, pinned=bool(etag), within=within)

    def _what_is_there(self, blob: BlobClient, name: str, etag: str, end: int, limit_s: float) -> Exception:
        """The error with what is there in the place of what was frozen: a refusal does not say."""
        try:
            with sdk_translated(name, pinned=False, anonymous=self._anonymous):
                found = blob.get_blob_properties(**timeouts_of(limit_s))
        except NotFoundError:
            return changed(name, etag, "gone")
        except Exception:  # noqa: BLE001  # it was only for the text of an error
            return changed(name, etag, "another")
        if normal_etag(found.etag) != etag:
            return changed(name, etag, normal_etag(found.etag))
        if found.size < end:
            return DataChangedError(f"{name}: holds {found.size} bytes, {end} were frozen; freeze the source again")
        return TransientError(REFUSED_UNCHANGED)

    def kept(self, key: str, etag: str, within: Within | None = None) -> Version | None:
        """The version or snapshot of `key` that has the ETag `etag`; None if the service keeps none.

        It costs one request for each hundred that there are, and looks at 5,000.
        """
        name = self._full(key)
        asked: dict[str, Any] = {"include": ["versions", "snapshots"], "results_per_page": _VERSIONS_PAGE}

        def attempt(timeouts: Timeouts) -> Version | None:
            once = Deadline(sum(timeouts.values()))
            listing = self._client.list_blobs(name_starts_with=name, **asked, **timeouts)
            for blob in islice(takewhile(lambda each: each.name == name, listing), _MOST_VERSIONS):
                if not once.remaining_s:
                    raise TransientError(NO_ANSWER)
                if normal_etag(blob.etag) != etag:
                    continue
                if blob.version_id:
                    return Version("versionid", blob.version_id)
                if blob.snapshot:
                    return Version("snapshot", blob.snapshot)
            return None

        return self._ask(self.url + key, attempt, within=within)

    def stat(self, key: str, version: Version | None = None) -> ObjectInfo:
        """What the service says of the blob `key`, or of one version of it.

        Raises:
            NotFoundError: there is none.
        """
        blob = self._blob(key, version)
        name = f"{self.url}{key}{version or ''}"
        return self._info(self._ask(name, lambda timeouts: blob.get_blob_properties(**timeouts)))

    def ask_byte(self, key: str, offset: int, limit_s: float) -> None:
        """Ask once for one byte: a service that turns requests away says here how long to wait.

        Raises:
            TransientError: with what Retry-After says.
        """
        with sdk_translated(self.url + key, pinned=False, anonymous=self._anonymous):
            self._client.download_blob(self._full(key), offset=offset, length=1, **timeouts_of(limit_s))

    def write(self, key: str, source: Path | bytes, *, overwrite: bool = False) -> ObjectInfo:
        """Store a file or bytes under `key`, each part checked by the service; return what it answered."""
        check_process(self._process_id)
        if isinstance(source, bytes):
            return self._put(key, source, overwrite=overwrite)
        with translated(str(source)), source.open("rb") as stream:
            return self._write_file(key, stream, os.fstat(stream.fileno()).st_size, overwrite=overwrite)

    def delete(self, key: str) -> None:
        """Remove the blob and its snapshots, if it is there."""
        blob = self._client.get_blob_client(self._full(key))
        try:
            self._ask(self.url + key, lambda timeouts: blob.delete_blob(delete_snapshots="include", **timeouts))
        except NotFoundError:
            return

    def _page(self, part: Part, most: int) -> BlobPage:
        # The metadata tells directories of hierarchical accounts from empty files.
        asked: dict[str, Any] = {
            "name_starts_with": part.prefix or None,
            "include": ["metadata"],
            "results_per_page": most,
            "raw_response_hook": _take,
        }
        if part.start:
            asked["start_from"] = part.start

        def attempt(timeouts: Timeouts) -> BlobPage:
            options = asked | timeouts
            found: ItemPaged[Any] = (
                self._client.walk_blobs(delimiter="/", **options)
                if part.by_folder
                else self._client.list_blobs(**options)
            )
            try:
                next(found.by_page(part.marker or None))
            except _TakenError as taken:
                return read_page(taken.body, self.url)
            raise TransientError("an answer came that is no listing")

        return self._ask(self.url, attempt)

    def _blob(self, key: str, version: Version | None) -> BlobClient:
        if version is None:
            return self._client.get_blob_client(self._full(key))
        if version.kind == "snapshot":
            return self._client.get_blob_client(self._full(key), snapshot=version.moment)
        return self._client.get_blob_client(self._full(key), version_id=version.moment)

    def _write_file(self, key: str, stream: BinaryIO, size: int, *, overwrite: bool) -> ObjectInfo:
        if size > PIECE_BYTES:
            return self._put_blocks(key, stream, size, overwrite=overwrite)
        data = stream.read(size + 1)
        if len(data) != size:
            raise moved(stream)
        return self._put(key, data, overwrite=overwrite)

    def _put(self, key: str, data: bytes, *, overwrite: bool) -> ObjectInfo:
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        blob = self._client.get_blob_client(self._full(key))
        settings = ContentSettings(content_md5=bytearray(digest))

        def attempt(timeouts: Timeouts) -> _Answer:
            size = len(data)
            return blob.upload_blob(
                data, length=size, overwrite=overwrite, content_settings=settings, validate_content=True, **timeouts
            )

        return self._commit(key, attempt, len(data), digest)

    def _put_blocks(self, key: str, stream: BinaryIO, size: int, *, overwrite: bool) -> ObjectInfo:
        if not overwrite:
            self._refuse_existing(key)
        blob = self._client.get_blob_client(self._full(key))
        digest, blocks = hashlib.md5(usedforsecurity=False), []
        for number, data in enumerate(pieces(stream, size, _block_bytes(size))):
            digest.update(data)
            # Unlike anyone else's: two writers of one name must not commit each other's blocks. All of one length.
            blocks.append(BlobBlock(b64encode(uuid4().bytes + number.to_bytes(4)).decode()))

            def stage(timeouts: Timeouts, data: bytes = data, block: str = blocks[-1].id) -> object:
                return blob.stage_block(block, data, len(data), validate_content=True, **timeouts)

            self._ask(self.url + key, stage)
        settings = ContentSettings(content_md5=bytearray(digest.digest()))
        only_new: dict[str, Any] = {} if overwrite else {"match_condition": MatchConditions.IfMissing}
        return self._commit(
            key,
            lambda timeouts: blob.commit_block_list(blocks, content_settings=settings, **only_new, **timeouts),
            size,
            digest.digest(),
        )

    def _refuse_existing(self, key: str) -> None:
        """Fail before the bytes are sent, not after; the commit's own condition is what counts."""
        try:
            self.stat(key)
        except NotFoundError:
            return
        raise DestinationExistsError(exists(self.url + key))

    def _commit(self, key: str, attempt: Callable[[Timeouts], _Answer], size: int, digest: bytes) -> ObjectInfo:
        """Ask for what makes an object visible; if that is asked twice, the first answer may only have been lost."""
        attempts = 0

        def counted(timeouts: Timeouts) -> _Answer:
            nonlocal attempts
            attempts += 1
            return attempt(timeouts)

        try:
            told = self._ask(self.url + key, counted)
        except DestinationExistsError:
            if attempts == 1:
                raise
            info = self.stat(key)
            if (info.size, info.md5) != (size, digest):
                raise
            return info
        return ObjectInfo(key, size, normal_etag(told["etag"]), _nanoseconds(told["last_modified"]), md5=digest)

    def _ask(
        self, name: str, attempt: Callable[[Timeouts], T], *, pinned: bool = False, within: Within | None = None
    ) -> T:
        check_process(self._process_id)
        within = within or Within(self._deadline_s)
        deadline = Deadline(min(within.seconds, self._deadline_s))
        limit_s = min(within.attempt_s, max(1.0, self._deadline_s / 4))

        def translated(limit_s: float) -> T:
            with sdk_translated(name, pinned=pinned, anonymous=self._anonymous):
                return attempt(timeouts_of(limit_s))

        return retry(name, translated, deadline, attempt_limit_s=limit_s, on_retry=self._on_retry, took=within.took)

    def _full(self, key: str) -> str:
        return self._source.prefix + key

    def _info(self, blob: BlobProperties) -> ObjectInfo:
        metadata = {name.lower(): value for name, value in (blob.metadata or {}).items()}
        return ObjectInfo(
            key=blob.name.removeprefix(self._source.prefix),
            size=blob.size or 0,
            etag=normal_etag(blob.etag),
            mtime_ns=_nanoseconds(blob.last_modified),
            is_directory=metadata.get("hdi_isfolder", "").lower() == "true",
            md5=bytes(blob.content_settings.content_md5) if blob.content_settings.content_md5 else None,
        )


class _TakenError(Exception):
    """Carries the answer past the SDK's own parser, which costs five times as much as all else of a listing."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


def _take(response: Any) -> None:
    if response.http_response.status_code == HTTPStatus.OK:
        raise _TakenError(response.http_response.body())


def _block_bytes(size: int) -> int:
    return max(PIECE_BYTES, -(-size // _MOST_BLOCKS))


def _nanoseconds(modified: datetime) -> int:
    return int(modified.timestamp()) * 1_000_000_000  # the service tells whole seconds
