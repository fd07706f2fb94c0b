"""Reads through obstore (Rust; it leaves the GIL while it waits): Azure blobs here, web servers' files in `web`.

One GET a read, with the range and, where the ETag allows, an If-Match; then what came is compared with what was asked:
ETag, range, length. Clients, timeouts and the translation of exceptions are in `clients`, asking again is in `retry`.

Traps met here, each with a test: names such as `a//b` or `d/` are mended in silence or refused by obstore (so the Azure SDK
reads those); a server that ignores Range answers with the whole file (so it is cut, within a bound); a web server may tell
no ETag (so Last-Modified and length stand in for it, see `identity`); of an answer that is an error obstore shows no header
(so a service that turned a read away, by 429 or 503, is asked for one byte by a client that hears Retry-After).

Invariant: what is returned is `size` bytes long and of the object whose ETag was asked for.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, cast

import obstore
from obstore.store import AzureStore

from mountd.errors import BadInputError, DataChangedError, HostilePathError, MountdError, NotFoundError
from mountd.stores.base import REFUSED_UNCHANGED, Buffer, TimedReader, Within, changed, is_told, normal_etag
from mountd.stores.blob.versions import Version
from mountd.stores.clients import NO_RETRIES, Clients, RangeIgnoredError, Translated
from mountd.stores.credentials import IDENTITIES, REMEDY, Credential, resolve
from mountd.stores.credentials.identity import identity_of
from mountd.stores.retry import Deadline, TransientError, TurnedAwayError, retry
from mountd.stores.share.access import resolve_for_share
from mountd.stores.source import Source

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import AzureConfig, AzureCredential, ClientConfig, ObjectStore

    from mountd.stores.azure_blob import AzureBlobStore
    from mountd.stores.azure_files import AzureFilesStore
    from mountd.stores.blob.versioned import VersionReader

_LOOK_S = 5.0
_WHOLE_LIMIT_BYTES = 64 << 20  # what may be read and thrown away of a server that ignores Range
_CHUNK_BYTES = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # what obstore says when there is no Last-Modified


#: Asks once for one byte, `(key, offset, seconds it may take)`, and raises `TransientError` with what Retry-After says.
AskByte = Callable[[str, int, float], None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One read: for the errors as much as for the request."""

    name: str  # the object's full address, without credential
    key: str  # within the client
    offset: int
    size: int
    etag: str
    moment: str = ""  # of a version


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
        ask_byte: AskByte,
        fallback: Callable[[], TimedReader] | None = None,
    ) -> None:
        self._source, self._clients, self._deadline_s = source, clients, deadline_s
        self._remedy, self._fallback, self._on_retry = remedy, fallback, on_retry
        self._ask_byte, self._is_share = ask_byte, source.kind == "share"

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

    def read_within(
        self, key: str, offset: int, size: int, etag: str, within: Within, version: Version | None = None
    ) -> Buffer:
        """As `read`, in less time; with `version` of that one, which only blobs have."""
        self._clients.check_process()
        if not size:
            return b""
        moment = version.moment if version else ""
        wanted = _Wanted(f"{self.url}{key}{version or ''}", self._source.prefix + key, offset, size, etag, moment)
        if not is_addressable(wanted.key) or (self._is_share and _has_final_dot(wanted.key)):
            return self._read_odd(key, wanted, within, version)
        if version is not None and version.kind == "snapshot":  # obstore has no word for it
            return self._read_odd(key, wanted, within, version)
        deadline, least_s = Deadline(min(within.seconds, self._deadline_s)), self._clients.least_s
        was_turned_away = False

        def attempt(limit_s: float) -> Buffer:
            nonlocal was_turned_away
            once = Deadline(limit_s)
            if was_turned_away:
                with suppress(MountdError):  # the read hears it too, and knows that it is pinned
                    self._ask_byte(key, offset, limit_s)
            was_turned_away = False
            try:
                return self._attempt(wanted, once.remaining_s)
            except TurnedAwayError:
                was_turned_away = True
                raise

        return retry(
            wanted.name,
            attempt,
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
                if wanted.offset + wanted.size > _WHOLE_LIMIT_BYTES:
                    return self._get_far(wanted, within)
                return self._get_whole(wanted, within.remaining_s)
        except DataChangedError as error:
            if not wanted.etag or is_told(error) or wanted.moment:  # of a version obstore cannot ask what it is
                raise
            raise self._what_is_there(wanted, min(within.remaining_s, _LOOK_S)) from None

    def _what_is_there(self, wanted: _Wanted, limit_s: float) -> Exception:
        """The error with what is there in the place of what was frozen: a service that refuses a range does not say."""
        try:
            client = self._clients.within(limit_s)
            with Translated(wanted.name, self._remedy, pinned=False):
                meta = obstore.head(client, wanted.key)
        except NotFoundError:
            return changed(wanted.name, wanted.etag, "gone")
        except Exception:  # noqa: BLE001  # it was only for the text of an error
            return changed(wanted.name, wanted.etag, "another")
        found = identity(wanted.etag, meta)
        if found != wanted.etag:
            return changed(wanted.name, wanted.etag, found)
        if meta["size"] < wanted.offset + wanted.size:
            return _too_short(wanted, meta["size"])
        return TransientError(REFUSED_UNCHANGED)

    def _get(self, wanted: _Wanted, limit_s: float) -> Buffer:
        end = wanted.offset + wanted.size
        options: GetOptions = {"range": (wanted.offset, end), **self._pin(wanted)}
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
        client = self._clients.within(limit_s)
        with Translated(wanted.name, self._remedy, pinned=bool(wanted.etag)):
            result = obstore.get(client, wanted.key, options=self._pin(wanted))
            _check_identity(wanted, result.meta)
            if result.meta["size"] < end:
                raise _too_short(wanted, result.meta["size"])
            return _exactly(memoryview(_first(result, end))[wanted.offset : end], wanted.size)

    def _pin(self, wanted: _Wanted) -> "GetOptions":
        """What pins a request; nothing for a file share, which refuses conditions: its answers are compared all the same."""
        pin = {} if self._is_share else _pin(wanted.etag)
        return {**pin, "version": wanted.moment} if wanted.moment else pin

    def _get_far(self, wanted: _Wanted, within: Deadline) -> Buffer:
        """Ask again for a range that is too far from the start to read up to: what came may have been some page."""
        client = self._clients.within(within.remaining_s)
        with Translated(wanted.name, self._remedy, pinned=bool(wanted.etag)):
            _check_identity(wanted, obstore.get(client, wanted.key, options=self._pin(wanted)).meta)
        try:
            return self._get(wanted, within.remaining_s)
        except RangeIgnoredError:
            limit = f"{_WHOLE_LIMIT_BYTES >> 20} MiB"
            raise BadInputError(
                f"{wanted.name}: the server ignores ranges, and the file is above {limit}; copy it first"
            ) from None

    def _read_odd(self, key: str, wanted: _Wanted, within: Within, version: Version | None) -> Buffer:
        if any(segment in {".", ".."} for segment in wanted.key.split("/")):
            raise HostilePathError(f"{wanted.name!r}: a name with a segment '.' or '..' cannot be asked for over http")
        if self._fallback is None:
            raise BadInputError(
                f"{wanted.name!r}: names with '//', a final '/' or control characters are not supported"
            )
        by_the_sdk = self._fallback()
        if version is None:
            return by_the_sdk.read_within(key, wanted.offset, wanted.size, wanted.etag, within)
        return cast("VersionReader", by_the_sdk).read_within(
            key, wanted.offset, wanted.size, wanted.etag, within, version
        )


def open_blob(
    source: Source, credential: Credential | None, *, deadline_s: float, on_retry: Callable[[], None] | None = None
) -> ObjectReader:
    """A reader of the blobs, or of the files of a share, below `source` (both services sign alike: docs/decisions/0014).

    Raises:
        AccessDeniedError: the credential is not for this account, or is malformed.
    """
    shares = source.kind == "share"
    found = resolve_for_share(source, credential) if shares else resolve(credential, source.account)
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
    elif found.kind in IDENTITIES:
        provider = _token_provider(found)

    def make(options: "ClientConfig") -> "ObjectStore":
        if source.endpoint.startswith("http:"):
            options["allow_http"] = True
        if shares and provider:
            options["default_headers"] = {"x-ms-file-request-intent": "backup"}  # as `share_requests` has it
        return AzureStore(config=config, client_options=options, retry_config=NO_RETRIES, credential_provider=provider)

    @cache
    def by_the_sdk() -> "AzureBlobStore | AzureFilesStore":
        if shares:
            from mountd.stores.azure_files import AzureFilesStore

            return AzureFilesStore(source, credential, deadline_s=deadline_s, on_retry=on_retry)
        from mountd.stores.azure_blob import AzureBlobStore

        return AzureBlobStore(source, credential, deadline_s=deadline_s, on_retry=on_retry)

    return ObjectReader(
        source,
        Clients(make, deadline_s),
        deadline_s=deadline_s,
        remedy=REMEDY,
        on_retry=on_retry,
        ask_byte=lambda key, offset, limit_s: by_the_sdk().ask_byte(key, offset, limit_s),
        fallback=by_the_sdk,
    )


def _token_provider(credential: Credential) -> "Callable[[], AzureCredential]":
    asked = identity_of(credential)

    def provide() -> "AzureCredential":
        token = asked.token()
        return {"token": token.token, "expires_at": datetime.fromtimestamp(token.expires_on, UTC)}

    return provide


def is_addressable(key: str) -> bool:
    """True if obstore asks for exactly this name (tried for every character; see the tests)."""
    control = any(character < " " or character == "\x7f" for character in key)
    return not control and all(segment not in {"", ".", ".."} for segment in key.split("/"))


def _has_final_dot(key: str) -> bool:
    """True for names that a file share cuts short, unless a header says not to, which obstore would not sign."""
    return any(segment.endswith(".") for segment in key.split("/"))


def _pin(etag: str) -> "GetOptions":
    """The If-Match of a request; without one where it cannot be: nothing, weak ETags (they never match), our stand-ins."""
    return {"if_match": f'"{etag}"'} if etag and not etag.startswith(("W/", "lm:", "len:")) else {}


def identity(wanted: str, meta: "ObjectMeta") -> str:
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
    found = identity(wanted.etag, meta)
    if wanted.etag and not found:
        # Not the server that was listed: a proxy's or balancer's page, or one node of many; another attempt may tell.
        raise TransientError("an answer came without the ETag that pins it")
    if wanted.etag and found != wanted.etag:
        raise changed(wanted.name, wanted.etag, found)


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
