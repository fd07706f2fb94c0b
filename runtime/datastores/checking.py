"""Whether a datastore can be used as it is kept: lists it, and reads a byte of one object.

`probe` is the first step alone, for a registration: what cannot be listed is not registered.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.datastores import DatastoreRecord

if TYPE_CHECKING:
    from mountd.stores.base import ObjectInfo

DEADLINE_S = 15.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. `warning` is a line on what will not last, or ''."""

    text: str
    warning: str = ""


def probe(record: DatastoreRecord) -> None:
    """Ask for the first page of the listing.

    Raises:
        MountdError: it is not given.
    """
    from mountd.stores import registry
    from mountd.stores.credentials import sas

    sas.check(record.credential)
    next(iter(registry.open_lister(record.url, record.credential, deadline_s=DEADLINE_S).list()), None)


def check(record: DatastoreRecord) -> Verdict:
    """List the datastore and read of one object; `record` has its credential.

    Raises:
        MountdError: it cannot be used, and why.
    """
    from mountd.stores import registry
    from mountd.stores.credentials import sas

    warning = sas.check(record.credential) or ""
    how = f"with {record.credential.kind}" if record.credential is not None else "without a credential"
    if registry.parse_source(record.url).kind == "https":
        return Verdict(f"{record.url}: a web server has no listing to check; files of it are asked for by name")
    found = _first_with_bytes(record)
    if found is None:
        return Verdict(f"{record.url}: can be listed {how}; there is nothing to read in it", warning)
    reader = registry.open_reader(record.url, record.credential, deadline_s=DEADLINE_S)
    reader.read(found.key, 0, 1, found.etag)
    return Verdict(f"{record.url}: can be listed and read {how}", warning)


def _first_with_bytes(record: DatastoreRecord) -> "ObjectInfo | None":
    from mountd.stores import registry

    listing = registry.open_lister(record.url, record.credential, deadline_s=DEADLINE_S).list()
    most = 1000  # a place may begin with any number of markers and empty files
    return next((info for _, info in zip(range(most), listing, strict=False) if info.size), None)
