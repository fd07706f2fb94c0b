"""The way from a URL to a store.

`open_reader`, `open_lister` and `open_writer` take a *base URL* (a store's URL plus a prefix, ending in `/`; keys are
relative to it) and import a service's SDK only when that service is asked for. What a URL means is `source`'s to say;
its names are here too, for callers who need nothing else of the stores.
"""

from typing import TYPE_CHECKING

from mountd.errors import BadInputError
from mountd.stores.base import Lister, RangeReader, Writer
from mountd.stores.source import Source, as_blobs, file_url, local_path, parse_source, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mountd.stores.credentials import Credential
    from mountd.stores.local import LocalStore
    from mountd.stores.memory import MemoryStore

__all__ = [
    "Source",
    "file_url",
    "folding",
    "local_path",
    "open_lister",
    "open_reader",
    "open_writer",
    "parse_source",
    "require_verifiable",
]


def open_reader(
    url: str,
    credential: "Credential | None",
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
    if source.kind == "datalake":
        source = as_blobs(source)  # docs/decisions/0013
    if source.kind == "blob" and verified:
        from mountd.stores import azure_blob

        return azure_blob.AzureBlobStore(source, credential, deadline_s=deadline_s, verified=True, on_retry=on_retry)
    if source.kind == "share" and verified:
        from mountd.stores import azure_files

        return azure_files.AzureFilesStore(source, credential, deadline_s=deadline_s, verified=True, on_retry=on_retry)
    if source.kind in {"blob", "share"}:
        from mountd.stores import objects

        return objects.open_blob(source, credential, deadline_s=deadline_s, on_retry=on_retry)
    from mountd.stores import web

    return web.open_https(source, deadline_s=deadline_s, on_retry=on_retry)


def require_verifiable(urls: "Sequence[str]") -> None:
    """Refuse to promise checksums that nobody has; what is read on this machine needs none.

    Raises:
        BadInputError: some of `urls` are asked over a network, and none of these has checksums.
    """
    far = [url for url in urls if parse_source(url).kind not in {"file", "memory"}]
    if far and not any(parse_source(url).kind in {"blob", "datalake", "share"} for url in far):
        raise BadInputError(f"--verify-wire: {far[0]}: a web server tells no checksums; leave it out")


def folding(url: str) -> "Callable[[str], str]":
    """How the store of the base URL `url` compares keys: those that are equal afterwards are one object."""
    if parse_source(url).kind != "share":
        return str
    from mountd.stores.share_names import folded

    return folded


def open_lister(url: str, credential: "Credential | None", *, deadline_s: float = 60) -> Lister:
    """A lister of what is below the base URL `url`; each page comes within `deadline_s`."""
    source = _base(url)
    if source.kind in {"file", "memory"}:
        return _local_or_memory(source)
    if source.kind == "blob":
        from mountd.stores import azure_blob

        return azure_blob.AzureBlobStore(source, credential, deadline_s=deadline_s)
    if source.kind == "datalake":
        from mountd.stores import azure_datalake

        return azure_datalake.AzureDataLakeStore(source, credential, deadline_s=deadline_s)
    if source.kind == "share":
        from mountd.stores import azure_files

        return azure_files.AzureFilesStore(source, credential, deadline_s=deadline_s)
    from mountd.stores import web

    return web.HttpsLister(source, deadline_s=deadline_s)


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
    if source.kind == "datalake":
        from mountd.stores import azure_datalake

        return azure_datalake.AzureDataLakeStore(source, credential, deadline_s=deadline_s)
    if source.kind == "share":
        from mountd.stores import azure_files

        return azure_files.AzureFilesStore(source, credential, deadline_s=deadline_s)
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
