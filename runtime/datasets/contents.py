"""The contents of a frozen dataset: its paths, its newest time, its partitions' values, and its files as a folder.

Everything is read from the manifest, as a stream; only `fetch` asks the stores.
"""

import datetime as dt
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.datasets import picking, tuning
from runtime.datasets.partition import Value
from runtime.datasets.steps import Candidate
from runtime.datastores import reaching
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from runtime.datasets.file import FileDefinition, FrozenDataset


def paths(manifest: Path) -> list[str]:
    """The files' paths, each with a leading '/', in the order that `take` and `skip` count in."""
    from mountd.dataset.manifest import Manifest

    with Manifest.open(manifest) as opened:
        return sorted((f"/{path}" for path, _ in opened.files()), key=picking.sort_key)


def first(manifest: Path) -> Candidate | None:
    """The first file in the order of the tree; None if there is none."""
    from mountd.dataset.manifest import Manifest

    with Manifest.open(manifest) as opened:
        return next(picking.candidates(opened), None)


def newest(manifest: Path) -> dt.datetime | None:
    """When the newest file was changed; None if no time is known."""
    from mountd.dataset.manifest import Manifest

    with Manifest.open(manifest) as opened:
        latest_ns = max((entry.mtime_ns for _, entry in opened.files()), default=0)
    return dt.datetime.fromtimestamp(latest_ns / 1e9, dt.UTC) if latest_ns else None


def partition_values(manifest: Path, definition: "FileDefinition", keys: Sequence[str]) -> list[dict[str, Value]]:
    """The different values of the parts `keys`, in the order of the tree; files without bytes do not count."""
    from mountd.dataset.manifest import Manifest

    found: dict[tuple[Value, ...], None] = {}
    partition = definition.partition
    with Manifest.open(manifest) as opened:
        for each in picking.candidates(opened) if partition else ():
            if each.size_bytes and partition:
                values = partition.values(each.place)
                found.setdefault(tuple(values[key] for key in keys))
    return [dict(zip(keys, values, strict=True)) for values in found]


def fetch(
    workspace: WorkspaceFolder, frozen: "FrozenDataset", target: Path, *, overwrite: bool, ignore_not_found: bool
) -> list[str]:
    """Download every file, with `ignore_not_found` those that are still there; their paths as `paths` gives them.

    Raises:
        DestinationExistsError: another file is in the way and `overwrite` is False; nothing was written.
        MountdError: as `mountd.download` raises it.
    """
    from mountd.diff import diff
    from mountd.download import download

    if not ignore_not_found:
        reaching.download(workspace, frozen, target, overwrite=overwrite, settings=tuning.download())
        return paths(frozen.manifest)
    gone = {drift.path for drift in diff(frozen.manifest, frozen.credentials) if drift.kind == "gone"}
    with tempfile.TemporaryDirectory(prefix="moorage-") as scratch:
        left = Path(scratch) / "manifest"
        picking.without(frozen.manifest, left, gone)
        download(left, target, credentials=frozen.credentials, overwrite=overwrite, **tuning.download())
        return paths(left)
