"""Uploads to a datastore: v1's `upload`, which leaves out what is there already, and is honest about it.

v1 skips every name that exists, whatever is in it. Here a name is left out only if its bytes are the same, and a line says
how many were; a name with other bytes is an error before anything is written. So a notebook may run twice, and what is in
the store afterwards is what the caller has.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.datastores import DatastoreRecord

if TYPE_CHECKING:
    from mountd.stores.base import ObjectInfo, RangeReader
    from mountd.stores.credentials import Credential

_LOG = logging.getLogger(__name__)
_COMPARE_BYTES: Final = 8 << 20


def upload(
    record: DatastoreRecord,
    credential: "Credential | None",
    files: Sequence[tuple[Path, str]],
    prefix: str,
    *,
    overwrite: bool,
) -> None:
    """Store each (file, key) below `prefix`, verified: all of them or none.

    Raises:
        DestinationExistsError: a name is there with other bytes, and `overwrite` is False; nothing was written.
        MountdError: as the store raises it.
    """
    from mountd.stores import registry
    from mountd.uploading import uploader

    writer, lister = registry.open_writer(record.url, credential), registry.open_lister(record.url, credential)
    pending = files
    if not overwrite:
        wanted = {prefix + key for _, key in files}
        there = {info.key: info for info in lister.list(prefix) if info.key in wanted}
        if there:
            reader = registry.open_reader(record.url, credential)
            pending = [(path, key) for path, key in files if not _is_same(path, there.get(prefix + key), reader)]
    uploader.upload(pending, writer, lister, prefix=prefix, overwrite=overwrite)
    if len(pending) < len(files):
        told = (len(files) - len(pending), len(files), f"{record.name}/{prefix}")
        _LOG.warning("%d of %d files are in %s already with the same bytes, and were left as they are", *told)


def _is_same(path: Path, stored: "ObjectInfo | None", reader: "RangeReader") -> bool:
    """Whether the store has exactly these bytes: by its own MD5, else by reading them."""
    if stored is None or stored.is_directory or not path.is_file() or stored.size != path.stat().st_size:
        return False
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for offset in range(0, stored.size, _COMPARE_BYTES):
            block = file.read(_COMPARE_BYTES)
            digest.update(block)
            if stored.md5 is None and reader.read(stored.key, offset, len(block), stored.etag) != block:
                return False
    return stored.md5 is None or stored.md5 == digest.digest()
