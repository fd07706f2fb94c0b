"""A source that names one version or snapshot of a blob: `https://…/CONTAINER/BLOB?versionid=…`, or `?snapshot=…`.

It is frozen as the blob itself with the ETag that this version has; by that ETag the reads find it again (`versioned`). So
what is frozen does not depend on how it was named, and a manifest looks as it always did.

Invariants: nobody is contacted here; any other query is left where it is, for `source` to refuse.
"""

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from mountd.errors import BadInputError
from mountd.stores.blob.versions import Version
from mountd.stores.source import parse_source, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.stores.azure_blob import AzureBlobStore
    from mountd.stores.base import ObjectInfo

_MOMENT: Final = re.compile(r"\d{4}[0-9TZ:.+-]{1,40}")
_FORM: Final = "2026-01-31T12:00:00.0000000Z"


def named_version(text: str) -> tuple[str, Version | None]:
    """What a user typed without the version that it names, and that version; `text` as it is if it names none.

    Raises:
        BadInputError: it names one where there can be none.
    """
    bare, _, query = text.partition("?")
    name, _, value = query.partition("=")
    if text[:5].lower() == "file:" or name.lower() not in {"versionid", "snapshot"} or {"&", "#"} & set(value):
        return text, None
    source = parse_source(bare)
    if source.kind != "blob":
        raise BadInputError(
            f"{shown(bare)}: only Azure blobs have versions and snapshots; leave out the '?' and the rest"
        )
    if not source.prefix or not source.open_ended:
        raise BadInputError(f"{shown(bare)}: a version or snapshot is of one blob; name that, without a '/' at its end")
    moment = unquote(value)
    if not _MOMENT.fullmatch(moment):
        raise BadInputError(f"{shown(bare)}: its {name.lower()} is no moment; write it as the service does: {_FORM}")
    return bare, Version("snapshot" if name.lower() == "snapshot" else "versionid", moment)


class VersionLister:
    """A Lister of one version of one blob."""

    def __init__(self, store: "AzureBlobStore", version: Version) -> None:
        self._store, self._version = store, version

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._store.url

    def list(self, prefix: str = "") -> "Iterator[ObjectInfo]":
        """Yield the version of the blob `prefix`.

        Raises:
            NotFoundError: there is none.
        """
        yield self._store.stat(prefix, self._version)
