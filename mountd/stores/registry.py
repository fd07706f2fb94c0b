"""The way from a URL to a store.

`open_reader`, `open_lister` and `open_writer` take a *base URL* (a store's URL plus a prefix, ending in `/`; keys are
relative to it) and import a service's SDK only when that service is asked for. What takes credentials stands behind a store
of `renewing`, which looks them up again; whoever replaces them by hand gives the provider. What a URL means is `source`'s to
say; its names are here too, for callers who need nothing else of the stores.
"""

from functools import cache
from typing import TYPE_CHECKING

from mountd.errors import AccessDeniedError, BadInputError, NotFoundError
from mountd.stores.base import Lister, RangeReader, Writer
from mountd.stores.credentials import refuse_plain_login
from mountd.stores.source import Source, as_blobs, file_url, local_path, parse_source, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mountd.stores.azure_blob import AzureBlobStore
    from mountd.stores.azure_datalake import AzureDataLakeStore
    from mountd.stores.azure_files import AzureFilesStore
    from mountd.stores.base import TimedReader
    from mountd.stores.blob.versions import Version
    from mountd.stores.credentials import Credential
    from mountd.stores.credentials.renewing import CredentialProvider
    from mountd.stores.local import LocalStore
    from mountd.stores.memory import MemoryStore

__all__ = [
    "Source",
    "check_credential",
    "create_place",
    "file_url",
    "folding",
    "local_path",
    "open_keeping",
    "open_lister",
    "open_reader",
    "open_version",
    "open_writer",
    "parse_source",
    "require_verifiable",
    "takes_credentials",
]


def open_reader(
    url: str,
    credential: "Credential | CredentialProvider | None",
    *,
    deadline_s: float = 60,
    on_retry: "Callable[[], None] | None" = None,
    verified: bool = False,
) -> RangeReader:
    """A reader of the objects below the base URL `url`; each read ends within `deadline_s`.

    `on_retry` is called, by any thread, whenever a request is asked again. `verified`: each range of an Azure blob or file
    is compared with its MD5, which the service computes; web servers have none, see `require_verifiable`.
    """
    source = _base(url)
    if source.kind in {"file", "memory"}:
        return _local_or_memory(source)
    if source.kind == "https":
        from mountd.stores import web

        return web.open_https(source, deadline_s=deadline_s, on_retry=on_retry)
    from mountd.stores.credentials.renewing import RenewingReader

    if source.kind == "datalake":
        source = as_blobs(source)  # docs/decisions/0013
    open_store = _opener(source, deadline_s, on_retry, verified=verified)
    return RenewingReader(_provider(credential), open_store, deadline_s)


def _opener(
    source: Source, deadline_s: float, on_retry: "Callable[[], None] | None", *, verified: bool
) -> "Callable[[Credential | None], TimedReader]":
    """How a reader of the service of `source` is opened; what is known of versions outlives the credential."""
    if source.kind == "blob":
        return _blob_opener(source, deadline_s, on_retry, verified=verified)

    def open_store(credential: "Credential | None") -> "TimedReader":
        refuse_plain_login(credential, source.base_url, source.endpoint)
        if verified:
            from mountd.stores import azure_files

            return azure_files.AzureFilesStore(
                source, credential, deadline_s=deadline_s, verified=True, on_retry=on_retry
            )
        from mountd.stores import objects

        return objects.open_blob(source, credential, deadline_s=deadline_s, on_retry=on_retry)

    return open_store


def _blob_opener(
    source: Source, deadline_s: float, on_retry: "Callable[[], None] | None", *, verified: bool
) -> "Callable[[Credential | None], TimedReader]":
    from mountd.stores.blob.versioned import VersionedReader
    from mountd.stores.blob.versions import Versions

    versions = Versions()

    def open_store(credential: "Credential | None") -> "TimedReader":
        refuse_plain_login(credential, source.base_url, source.endpoint)

        @cache
        def by_the_sdk() -> "AzureBlobStore":
            from mountd.stores.azure_blob import AzureBlobStore

            return AzureBlobStore(source, credential, deadline_s=deadline_s, verified=verified, on_retry=on_retry)

        if verified:
            return VersionedReader(by_the_sdk(), by_the_sdk, versions, deadline_s)
        from mountd.stores import objects

        reader = objects.open_blob(source, credential, deadline_s=deadline_s, on_retry=on_retry)
        return VersionedReader(reader, by_the_sdk, versions, deadline_s)

    return open_store


def _provider(credential: "Credential | CredentialProvider | None") -> "CredentialProvider":
    from mountd.stores.credentials.renewing import CredentialProvider

    return credential if isinstance(credential, CredentialProvider) else CredentialProvider(credential)


def takes_credentials(url: str) -> bool:
    """Whether a credential is of any use for the source `url`."""
    return parse_source(url).kind not in {"file", "memory", "https"}


def check_credential(url: str, credential: "Credential") -> None:
    """See that a credential is for the account of `url`; nobody is asked.

    Raises:
        AccessDeniedError: it is for another one, or is malformed.
    """
    from mountd.stores.credentials import resolve

    resolve(credential, parse_source(url).account)


def create_place(url: str, credential: "Credential | None", *, deadline_s: float = 60) -> None:
    """Make the container or file share of the base URL `url`, if it is not there.

    Raises:
        BadInputError: it is none of the two.
        MountdError: the account is out of reach, or refuses.
    """
    from mountd.stores import azure_places

    azure_places.create(_base(url), credential, deadline_s=deadline_s)


def require_verifiable(urls: "Sequence[str]") -> None:
    """Refuse to promise checksums that nobody has; what is read on this machine needs none.

    Raises:
        BadInputError: some of `urls` are asked over a network, and none of these has checksums.
    """
    far = [url for url in urls if parse_source(url).kind not in {"file", "memory"}]
    if far and not any(takes_credentials(url) for url in far):
        raise BadInputError(f"--verify-wire: {far[0]}: a web server tells no checksums; leave it out")


def folding(url: str) -> "Callable[[str], str]":
    """How the store of the base URL `url` compares keys: those that are equal afterwards are one object."""
    if parse_source(url).kind != "share":
        return str
    from mountd.stores.share.names import folded

    return folded


def open_lister(url: str, credential: "Credential | None", *, deadline_s: float = 60) -> Lister:
    """A lister of what is below the base URL `url`; each page comes within `deadline_s`."""
    source = _base(url)
    if source.kind in {"file", "memory"}:
        return _local_or_memory(source)
    if source.kind == "https":
        from mountd.stores import web

        return web.HttpsLister(source, deadline_s=deadline_s)
    from mountd.stores.credentials.renewing import RenewingLister, RenewingPartLister

    if source.kind == "blob":
        return RenewingPartLister(_provider(credential), lambda found: _blob_store(source, found, deadline_s))
    return RenewingLister(_provider(credential), lambda found: _sdk_store(source, found, deadline_s))


def open_version(url: str, credential: "Credential | None", version: "Version", *, deadline_s: float = 60) -> Lister:
    """A lister that knows one version of a blob below the base URL `url`: the one whose key it is asked for."""
    from mountd.stores.blob.named import VersionLister
    from mountd.stores.credentials.renewing import RenewingLister

    source = _base(url)

    def open_store(found: "Credential | None") -> Lister:
        return VersionLister(_blob_store(source, found, deadline_s), version)

    return RenewingLister(_provider(credential), open_store)


def open_keeping(
    url: str, credential: "Credential | None", *, deadline_s: float = 60
) -> "Callable[[str, str], bool] | None":
    """What tells whether the store of the base URL `url` keeps the version of a key with an ETag; None if none does.

    What the credential may not list counts as not kept.
    """
    source = _base(url)
    if source.kind != "blob":
        return None
    store = _blob_store(source, credential, deadline_s)

    def keeps(key: str, etag: str) -> bool:
        try:
            return store.kept(key, etag) is not None
        except (AccessDeniedError, BadInputError, NotFoundError):
            return False

    return keeps


def open_writer(url: str, credential: "Credential | None", *, deadline_s: float = 60) -> Writer:
    """A writer below the base URL `url`; each request of it ends within `deadline_s`.

    Raises:
        BadInputError: the URL is a web server's, which cannot be written to.
    """
    source = _base(url)
    if source.kind in {"file", "memory"}:
        return _local_or_memory(source)
    if source.kind == "https":
        raise BadInputError(
            f"{source.store_url}: a web server cannot be written to; use a folder or an Azure container"
        )
    from mountd.stores.credentials.renewing import RenewingWriter

    return RenewingWriter(_provider(credential), lambda found: _sdk_store(source, found, deadline_s))


def _sdk_store(
    source: Source, credential: "Credential | None", deadline_s: float
) -> "AzureBlobStore | AzureDataLakeStore | AzureFilesStore":
    refuse_plain_login(credential, source.base_url, source.endpoint)
    if source.kind == "datalake":
        from mountd.stores import azure_datalake

        return azure_datalake.AzureDataLakeStore(source, credential, deadline_s=deadline_s)
    if source.kind == "share":
        from mountd.stores import azure_files

        return azure_files.AzureFilesStore(source, credential, deadline_s=deadline_s)
    return _blob_store(source, credential, deadline_s)


def _blob_store(source: Source, credential: "Credential | None", deadline_s: float) -> "AzureBlobStore":
    refuse_plain_login(credential, source.base_url, source.endpoint)
    from mountd.stores import azure_blob

    return azure_blob.AzureBlobStore(source, credential, deadline_s=deadline_s)


def _local_or_memory(source: Source) -> "LocalStore | MemoryStore":
    if source.kind == "file":
        from mountd.stores.local import LocalStore

        return LocalStore(local_path(source), source.store_url)
    from mountd.stores.memory import MemoryStore

    return MemoryStore(source.store_url.removeprefix("memory://").removesuffix("/"), source.prefix)


def _base(url: str) -> Source:
    if not url.endswith("/"):
        raise BadInputError(f"{shown(url)}: a base URL ends in '/'")
    return parse_source(url)
