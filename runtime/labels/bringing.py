"""The images of labelled rows on this machine: downloaded or mounted, below a folder for each datastore.

The images of a datastore are frozen as the folder that they have in common, and a download picks those that are labelled. A
label whose image is not there is an error before anything is fetched.
"""

import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from runtime.datasets import file, picking, tuning
from runtime.datasets.file import FileDefinition
from runtime.datasets.paths import below_datastore
from runtime.datastores import reaching
from runtime.errors import DatasetValidationError, UserErrorException
from runtime.labels import places
from runtime.labels.values import BadItem
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from runtime.datasets.file import FrozenDataset


@dataclass(frozen=True, slots=True)
class Images:
    """Images of one datastore: the `folder` that they have in common, frozen, and their `paths` below it."""

    datastore: str
    folder: str
    paths: frozenset[str]
    frozen: "FrozenDataset"

    def below(self, target: Path) -> Path:
        """Where the folder is to be."""
        return target / self.datastore / self.folder


def find(workspace: WorkspaceFolder, names: Iterable[str]) -> list[Images]:
    """Where the images `names` lie.

    Raises:
        UserErrorException: a name is of no datastore.
        DatasetValidationError: an image is not there.
    """
    by_store: dict[str, set[str]] = {}
    for name in names:
        store, path = place(name)
        by_store.setdefault(store, set()).add(path)
    return [_found(workspace, store, by_store[store]) for store in sorted(by_store)]


def local(target: Path, name: str) -> str:
    """Where an image is below `target`, once it is there."""
    store, path = place(name)
    return str(target / store / path)


def place(name: str) -> tuple[str, str]:
    """The datastore of an image, and its path there."""
    found = places.on_datastore(name)
    if found is None:
        raise UserErrorException(f"{name!r} is on no datastore; `moorage labels convert --datastore NAME` says which")
    try:
        return found[0].lower(), places.path_of(name)
    except BadItem as bad:
        raise UserErrorException(str(bad)) from None


def _found(workspace: WorkspaceFolder, store: str, paths: set[str]) -> Images:
    from mountd.dataset.manifest import Manifest

    common = os.path.commonpath([str(PurePosixPath(path).parent) for path in paths])
    folder = "" if common == "." else common
    below = frozenset(str(PurePosixPath(path).relative_to(folder)) if folder else path for path in paths)
    definition = FileDefinition((below_datastore(store, f"{folder}/" if folder else ""),))
    frozen = file.freeze_definition(workspace, definition)
    with Manifest.open(frozen.manifest) as manifest:
        gone = [path for path in below if (entry := manifest.find(path)) is None or entry.is_directory]
    if gone:
        shown = PurePosixPath(folder) / min(gone)
        more = f", and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise DatasetValidationError(f"datastore '{store}' has no file '{shown}', which has a label{more}")
    return Images(store, folder, below, frozen)


def download(workspace: WorkspaceFolder, images: Images, target: Path, *, overwrite: bool) -> None:
    """Fetch the images to where `images.below(target)` says.

    Raises:
        UserErrorException: another file is there, and `overwrite` is False.
    """
    from mountd.errors import DestinationExistsError

    with _picked(images) as frozen:
        try:
            reaching.download(workspace, frozen, images.below(target), overwrite=overwrite, settings=tuning.download())
        except DestinationExistsError as error:
            raise UserErrorException(f"{error} (overwrite_download=True)") from None


@contextmanager
def _picked(images: Images) -> "Iterator[FrozenDataset]":
    with tempfile.TemporaryDirectory(prefix="moorage-") as scratch:
        manifest = Path(scratch) / "manifest"
        picking.without(images.frozen.manifest, manifest, _AllBut(images.paths))
        yield dataclasses.replace(images.frozen, manifest=manifest)


@dataclass(frozen=True, slots=True)
class _AllBut:
    """The container of every path but these."""

    paths: frozenset[str]

    def __contains__(self, path: object) -> bool:
        return path not in self.paths
