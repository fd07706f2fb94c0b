"""Reads of Azure blobs and of web servers' files through obstore (Rust; it leaves the GIL while it waits).

One GET a read, with the range and, where the ETag allows, an If-Match; then what came is compared with what was asked:
ETag, range, length. Clients, timeouts and the translation of exceptions are in `clients`, asking again is in `retry`.

Traps met here, each with a test: names such as `a//b` or `d/` are mended in silence or refused by obstore (so the Azure SDK
reads those); a server that ignores Range answers with the whole file (so it is cut, within a bound); a web server may tell
no ETag (so Last-Modified and length stand in for it, see `_identity`).

Invariant: what is returned is `size` bytes long and of the object whose ETag was asked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import AzureStore, HTTPStore

from mountd.errors import BadInputError, DataChangedError, HostilePathError, NotFoundError
from mountd.stores.base import Buffer, ObjectInfo, TimedReader, Within, normal_etag
from mountd.stores.clients import NO_RETRIES, Clients, RangeIgnoredError, Translated
from mountd.stores.credentials import REMEDY, Credential, refuse_anonymous, resolve
from mountd.stores.retry import Deadline, TransientError, retry
from mountd.stores.source import Source

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import AzureConfig, AzureCredential, ClientConfig, ObjectStore

_LOOK_S = 5.0
_IS = ", is "
_WHOLE_LIMIT_BYTES = 64 << 20  # what may be read and thrown away of a server that ignores Range
_CHUNK_BYTES = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # what obstore says when there is no Last-Modified


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One read: for the errors as much as for the request."""

    name: str  # the object's full address, without credential
    key: str  # within the client
    offset: int
    size: int
    etag: str


class ObjectReader:
    """A TimedReader of one container or web server below a prefix."""

    def __init__(
        self,
        source: Source,
        clients: Clients,
        *,
        deadline_s: float,
        remedy: str,
        on_retry: Callable[[], None] | None,
        fallback: Callable[[], TimedReader] | None = None,
    ) -> None:
        self._source, self._clients, self._deadline_s = source, clients, deadline_s
        self._remedy, self._fallback, self._on_retry = remedy, fallback, on_retry
        self._is_share = source.kind == "share"

    def __repr__(self) -> str:
        return f"ObjectReader({self.url!r})"

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._source.base_url

    @property
    def in_place(self) -> bool:
        """False: the bytes come over the network."""
        return False

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        """Exactly `size` bytes at `offset` of the object whose ETag is `etag`."""
        return self.read_within(key, offset, size, etag, Within(self._deadline_s))

    def read_within(self, key: str, offset: int, size: int, etag: str, within: Within) -> Buffer:
        """As `read`, in less time."""
        self._clients.check_process()
        if not size:
            return b""
        wanted = _Wanted(self.url + key, self._source.prefix + key, offset, size, etag)
        if not _addressable(wanted.key) or (self._is_share and _has_final_dot(wanted.key)):
            return self._read_odd(key, wanted, within)
        deadline, least_s = Deadline(min(within.seconds, self._deadline_s)), self._clients.least_s
        return retry(
            wanted.name,
            lambda limit_s: self._attempt(wanted, limit_s),
            deadline,
            attempt_limit_s=within.attempt_s,
            least_s=least_s,
            on_retry=self._on_retry,
            took=within.took,
        )

    def _attempt(self, wanted: _Wanted, limit_s: float) -> Buffer:
        within = Deadline(limit_s)
        try:
            try:
                return self._get(wanted, within.remaining_s)
            except RangeIgnoredError:
                return self._get_whole(wanted, within.remaining_s)
        except DataChangedError as error:
            if not wanted.etag or _IS in str(error):
                raise
            found = self._found(wanted, min(within.remaining_s, _LOOK_S))
            raise _changed(wanted, found) from None

    def _found(self, wanted: _Wanted, limit_s: float) -> str:
        """What is there in the place of what was frozen: a service that refuses a range does not say."""
        try:
            client = self._clients.within(limit_s)
            with Translated(wanted.name, self._remedy, pinned=False):
                return _identity(wanted.etag, obstore.head(client, wanted.key))
        except NotFoundError:
            return "gone"
        except Exception:  # noqa: BLE001  # it was only for the text of an error
            return "another"

    def _get(self, wanted: _Wanted, limit_s: float) -> Buffer:
        end = wanted.offset + wanted.size
        options: GetOptions = {"range": (wanted.offset, end)}
        if _may_be_matched(wanted.etag) and not self._is_share:  # file shares refuse conditions
            options["if_match"] = f'"{wanted.etag}"'
        client = self._clients.within(limit_s)
        with Translated(wanted.name, self._remedy, pinned=bool(wanted.etag)):
            result = obstore.get(client, wanted.key, options=options)
            _check_identity(wanted, result.meta)
            if tuple(result.range) != (wanted.offset, end):
                raise _too_short(wanted, result.meta["size"])
            return _exactly(memoryview(result.bytes()), wanted.size)

    def _get_whole(self, wanted: _Wanted, limit_s: float) -> Buffer:
        """Read a file from its start up to the end of the range: for servers that know no ranges."""
        end = wanted.offset + wanted.size
        if end > _WHOLE_LIMIT_BYTES:
            limit = f"{_WHOLE_LIMIT_BYTES >> 20} MiB"
            raise BadInputError(
                f"{wanted.name}: the server ignores ranges, and the file is above {limit}; copy it first"
            )
        client = self._clients.within(limit_s)
        with Translated(wanted.name, self._remedy, pinned=bool(wanted.etag)):
            result = obstore.get(client, wanted.key)
            _check_identity(wanted, result.meta)
            if result.meta["size"] < end:
                raise _too_short(wanted, result.meta["size"])
            if end > _WHOLE_LIMIT_BYTES:
                limit = f"{_WHOLE_LIMIT_BYTES >> 20} MiB"
                raise BadInputError(
                    f"{wanted.name}: the server ignores ranges, and reads end beyond {limit}; copy it first"
                )
            return _exactly(memoryview(_first(result, end))[wanted.offset : end], wanted.size)

    def _read_odd(self, key: str, wanted: _Wanted, within: Within) -> Buffer:
        if any(segment in {".", ".."} for segment in wanted.key.split("/")):
            raise HostilePathError(f"{wanted.name!r}: a name with a segment '.' or '..' cannot be asked for over http")
        if self._fallback is None:
            raise BadInputError(
                f"{wanted.name!r}: names with '//', a final '/' or control characters are not supported"
            )
        return self._fallback().read_within(key, wanted.offset, wanted.size, wanted.etag, within)


class HttpsLister:
    """A Lister of a web server, which has no listings: it answers for one exact file, by HEAD."""

    def __init__(self, source: Source, *, deadline_s: float) -> None:
        self._source, self._deadline_s = source, deadline_s
        self._clients = _https_clients(source, deadline_s)

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._source.base_url

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the file whose key is exactly `prefix`.

        Raises:
            BadInputError: no exact key was given; a web server cannot be listed.
            NotFoundError: there is no such file.
        """
        self._clients.check_process()
        if not prefix or not _addressable(prefix):
            raise BadInputError(
                f"{self.url}{prefix}: a web server cannot be listed; name one file, without '/' at the end"
            )
        name = self.url + prefix
        deadline, least_s = Deadline(self._deadline_s), self._clients.least_s
        meta = retry(name, lambda limit_s: self._head(name, prefix, limit_s), deadline, least_s=least_s)
        modified_ns = int(meta["last_modified"].timestamp()) * 1_000_000_000
        yield ObjectInfo(prefix, meta["size"], _identity("", meta), modified_ns)

    def _head(self, name: str, key: str, limit_s: float) -> "ObjectMeta":
        client = self._clients.within(limit_s)
        with Translated(name, _WEB_REMEDY, pinned=False):
            return obstore.head(client, key)


_WEB_REMEDY = "Moorage sends no credential to web servers; use a public address or an Azure container"


def open_blob(
    source: Source, credential: Credential | None, *, deadline_s: float, on_retry: Callable[[], None] | None = None
) -> ObjectReader:
    """A reader of the blobs, or of the files of a share, below `source` (decision 14: both services sign alike).

    Raises:
        AccessDeniedError: the credential is not for this account, or is malformed.
    """
    found, shares = resolve(credential, source.account), source.kind == "share"
    if shares:
        refuse_anonymous(source.base_url, found)
    config: AzureConfig = {
        # obstore reads AZURE_* variables by itself; whatever decides where to go and as whom is set here.
        "account_name": source.account,
        "container_name": source.container,
        "endpoint": source.endpoint,
        "use_emulator": False,
        "use_fabric_endpoint": False,
        "skip_signature": found.kind == "anonymous",
    }
    provider = None
    if found.kind == "key":
        config |= {"account_key": found.secret, "credential_type": "access_key"}
    elif found.kind == "sas":
        config |= {"sas_key": found.secret, "credential_type": "sas_token"}
    elif found.kind == "azure_default":
        provider = _token_provider()

    def make(options: "ClientConfig") -> "ObjectStore":
        if source.endpoint.startswith("http:"):
            options["allow_http"] = True
        if shares and provider:
            options["default_headers"] = {"x-ms-file-request-intent": "backup"}  # as `share_requests` has it
        return AzureStore(config=config, client_options=options, retry_config=NO_RETRIES, credential_provider=provider)

    def fallback() -> TimedReader:
        if shares:
            from mountd.stores.azure_files import AzureFilesStore

            return AzureFilesStore(source, credential, deadline_s=deadline_s)
        from mountd.stores.azure_blob import AzureBlobStore

        return AzureBlobStore(source, credential, deadline_s=deadline_s)

    return ObjectReader(
        source, Clients(make, deadline_s), deadline_s=deadline_s, remedy=REMEDY, on_retry=on_retry, fallback=fallback
    )


def open_https(source: Source, *, deadline_s: float, on_retry: Callable[[], None] | None = None) -> ObjectReader:
    """A reader of a web server's files below `source`."""
    clients = _https_clients(source, deadline_s)
    return ObjectReader(source, clients, deadline_s=deadline_s, remedy=_WEB_REMEDY, on_retry=on_retry)


def _https_clients(source: Source, deadline_s: float) -> Clients:
    # obstore quotes the path itself, and would double a '/' at the end.
    parts = urlsplit(source.store_url)
    address = f"{parts.scheme}://{parts.netloc}{unquote(parts.path)}".rstrip("/")

    def make(options: "ClientConfig") -> "ObjectStore":
        if parts.scheme == "http":
            options["allow_http"] = True
        return HTTPStore(address, client_options=options, retry_config=NO_RETRIES)

    return Clients(make, deadline_s)


def _token_provider() -> "Callable[[], AzureCredential]":
    from mountd.stores.azure_blob import default_credential

    identity = default_credential()

    def provide() -> "AzureCredential":
        token = identity.get_token("https://storage.azure.com/.default")
        return {"token": token.token, "expires_at": datetime.fromtimestamp(token.expires_on, UTC)}

    return provide


def _addressable(key: str) -> bool:
    """True if obstore asks for exactly this name (tried for every character; see the tests)."""
    control = any(character < " " or character == "\x7f" for character in key)
    return not control and all(segment not in {"", ".", ".."} for segment in key.split("/"))


def _has_final_dot(key: str) -> bool:
    """True for names that a file share cuts short, unless a header says not to, which obstore would not sign."""
    return any(segment.endswith(".") for segment in key.split("/"))


def _may_be_matched(etag: str) -> bool:
    """False for what If-Match cannot carry: nothing, weak ETags (they never match) and our own stand-ins."""
    return bool(etag) and not etag.startswith(("W/", "lm:", "len:"))


def _identity(wanted: str, meta: "ObjectMeta") -> str:
    """What the answer is, in the terms of `wanted`; with an empty `wanted`, in the best terms the answer allows.

    A real ETag first; else `lm:SECONDS-LENGTH` from Last-Modified; else `len:LENGTH`.
    """
    etag, modified = normal_etag(meta.get("e_tag")), meta["last_modified"]
    if wanted.startswith("len:") or (not wanted and not etag and modified == _EPOCH):
        return f"len:{meta['size']}"
    if wanted.startswith("lm:") or (not wanted and not etag):
        return f"lm:{int(modified.timestamp())}-{meta['size']}"
    return etag


def _check_identity(wanted: _Wanted, meta: "ObjectMeta") -> None:
    found = _identity(wanted.etag, meta)
    if wanted.etag and not found:
        # Not the server that was listed: a proxy's or balancer's page, or one node of many; another attempt may tell.
        raise TransientError("an answer came without the ETag that pins it")
    if wanted.etag and found != wanted.etag:
        raise _changed(wanted, found)


def _changed(wanted: _Wanted, found: str) -> DataChangedError:
    return DataChangedError(
        f"{wanted.name}: was {wanted.etag}{_IS}{found}; freeze the source again to read the new one"
    )


def _too_short(wanted: _Wanted, length: int) -> DataChangedError:
    end = wanted.offset + wanted.size
    return DataChangedError(f"{wanted.name}: holds {length} bytes, {end} were frozen; freeze the source again")


def _first(result: "GetResult", end: int) -> bytearray:
    data = bytearray()
    for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
        data += memoryview(chunk)[: end - len(data)]
        if len(data) == end:
            break
    return data


def _exactly(data: memoryview, size: int) -> memoryview:
    if data.nbytes != size:
        raise TransientError(f"{data.nbytes} bytes came, {size} were asked for")
    return data
