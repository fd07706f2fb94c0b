"""A File dataset: what a user defined, and the manifest that it was frozen into.

    definition   a small JSON document, kept in the catalog: paths, a partition format, and steps on the files
    freezing     asks each store what lies at its paths, and writes manifests/<digest>.sqlite in the workspace
    picking      what the steps leave of that, as a manifest of its own; of a version, it is made from the version's manifest
    resolving    from a name or an id back to that manifest, with the credentials its sources need today

The manifest is named by its digest, so it is written once and never changes. If the file is gone (a workspace that shares
a team's catalog, a cleaned folder) it is frozen again, and used only if the digest is still the registered one.
Credentials are never part of a definition or a manifest: they are looked up by datastore, or, for a bare Azure URL, in
the environment.
"""

import contextlib
import json
import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runtime import datastores
from runtime.catalog import DatasetRecord, Made, check_name, open_catalog
from runtime.catalog.rows import checked_description, checked_tags
from runtime.datasets import picking, steps
from runtime.datasets.granting import credential_for, granted, settled
from runtime.datasets.partition import PartitionFormat, parse_partition_format
from runtime.datasets.paths import DatasetPath, Place, arrange
from runtime.datasets.steps import Step
from runtime.datastores import reaching
from runtime.errors import DatasetValidationError
from runtime.workspace import WorkspaceFolder
from runtime.workspace.files import sync_folder

if TYPE_CHECKING:
    from mountd.stores.credentials import Credential

_LOG = logging.getLogger(__name__)
Progress = Callable[[int], None]
_FORMAT = 1


class Definition(Protocol):
    """A dataset's definition of whatever kind: the paths of its files, and the text that the catalog keeps."""

    @property
    def paths(self) -> tuple[DatasetPath, ...]:
        """Where its files lie."""

    def to_json(self) -> str:
        """The document."""


@dataclass(frozen=True, slots=True)
class FileDefinition:
    """What files a dataset consists of, as its user said it."""

    paths: tuple[DatasetPath, ...]
    partition_format: str | None = None
    steps: tuple[Step, ...] = ()

    @property
    def partition(self) -> PartitionFormat | None:
        """The partition format, parsed."""
        return parse_partition_format(self.partition_format) if self.partition_format is not None else None

    def to_json(self) -> str:
        """The document; equal definitions give equal text."""
        paths = [path.to_document() for path in self.paths]
        # A key that is new stands there only where it says something, so that the text of a definition never changes.
        partition = {} if self.partition_format is None else {"partition_format": self.partition_format}
        taken = [step.to_json() for step in self.steps]
        return json.dumps({"version": _FORMAT, "type": "file", "paths": paths, "steps": taken} | partition)

    @classmethod
    def from_json(cls, text: str) -> "FileDefinition":
        """The inverse of `to_json`.

        Raises:
            DatasetValidationError: another kind of dataset, or one of a newer version of Moorage.
        """
        try:
            document = json.loads(text)
            kind, taken = (document["version"], document["type"]), list(document["steps"])
            paths = tuple(DatasetPath(**path) for path in document["paths"])
        except (ValueError, TypeError, KeyError):
            raise DatasetValidationError(
                "the dataset's definition in the catalog is damaged; register it again"
            ) from None
        if kind != (_FORMAT, "file") or document.keys() - {"version", "type", "paths", "steps", "partition_format"}:
            raise DatasetValidationError(
                "the dataset was registered by a newer Moorage; install that version to read it"
            )
        return cls(paths, document.get("partition_format"), tuple(map(steps.from_json, taken)))


def files_of(text: str) -> FileDefinition:
    """The files that a definition of whatever kind is about; errors as `FileDefinition.from_json`."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        document = json.loads(text)
        if (document["version"], document["type"]) in {(_FORMAT, "tabular"), (_FORMAT, "labelled")}:
            return FileDefinition(tuple(DatasetPath(**path) for path in document["paths"]))
    return FileDefinition.from_json(text)


@dataclass(frozen=True, slots=True)
class FrozenDataset:
    """A dataset ready to be read: its manifest, and the credentials for `Manifest.sources` by URL.

    `single_file` is the file's path in the tree if the dataset was defined as exactly one file, else None. `withheld` are
    the environment variables that no process which reads it may have.
    """

    manifest: Path
    digest: str
    credentials: "Mapping[str, Credential]"
    single_file: str | None
    files: int
    size_bytes: int
    withheld: frozenset[str]


def freeze_definition(
    workspace: WorkspaceFolder,
    definition: FileDefinition,
    progress: Progress | None = None,
    whole: Path | None = None,
    done: int = 0,
) -> FrozenDataset:
    """List what lies at the paths now, and keep the manifest; `progress` gets the number of files seen so far.

    With `whole`, a manifest of these paths after the first `done` steps, nobody is asked: what is left is picked from it.

    Raises:
        UnknownNameError: a datastore is not there.
        MountdError: nothing lies at a path, or a store refuses, cannot be reached, or lists what no tree can hold.
    """
    openers = granted(workspace, definition.paths)
    with _draft_of(workspace) as draft:
        made = draft
        if whole is None:
            digest = _list(workspace, definition, openers, draft, progress)
        if whole is not None or definition.steps:
            made = draft.with_name("picked")
            digest = picking.pick(whole or draft, made, definition.steps, done, definition.partition).digest
        target = _kept(workspace, made, digest)
    return _frozen(workspace, target, openers)


def adopt(workspace: WorkspaceFolder, definition: Definition, frozen: FrozenDataset) -> FrozenDataset:
    """`frozen`, which `definition` was frozen into in whatever workspace, as a dataset of this one."""
    target = _manifest_path(workspace, frozen.digest)
    if not target.exists():
        with _draft_of(workspace) as draft:
            shutil.copyfile(frozen.manifest, draft)
            _kept(workspace, draft, frozen.digest)
    return _frozen(workspace, target, granted(workspace, definition.paths))


def freeze_files(workspace: WorkspaceFolder, definition: FileDefinition, only: Mapping[str, str]) -> FrozenDataset:
    """As `freeze_definition`, of the files below its one path that an output's commit lists, each with its ETag.

    Raises:
        DataChangedError: one of them is gone or another.
    """
    openers = granted(workspace, definition.paths)
    with _draft_of(workspace) as draft:
        frozen = _frozen(
            workspace, _kept(workspace, draft, _list(workspace, definition, openers, draft, None, only)), openers
        )
    if frozen.files != len(only):
        from mountd.errors import DataChangedError

        where, found = openers[0][0].base_url, frozen.files
        raise DataChangedError(
            f"{where}: {len(only)} files were committed, and {found} of them are there; run the job again"
        )
    return frozen


def _list(
    workspace: WorkspaceFolder,
    definition: Definition,
    openers: "list[tuple[Place, Credential | None]]",
    target: Path,
    progress: Progress | None,
    only: Mapping[str, str] | None = None,
) -> str:
    """Freeze all that lies at these places, or `only` these files; the digest."""
    from mountd.freeze import FreezeSource, freeze

    places = [settled(workspace, path, *each) for path, each in zip(definition.paths, openers, strict=True)]
    sources = [
        FreezeSource(place.base_url, credential, place.pattern, under, only=only)
        for place, (_, credential), under in zip(places, openers, arrange(places), strict=True)
    ]
    of_helper = reaching.freeze(workspace, sources, target) if only is None else None
    return of_helper or freeze(sources, target, progress=progress).digest


def _kept(workspace: WorkspaceFolder, draft: Path, digest: str) -> Path:
    """The manifest of this digest in the workspace; `draft` is it if it is not there yet."""
    target = _manifest_path(workspace, digest)
    if not target.exists():
        draft.replace(target)
        sync_folder(target.parent)
    return target


@contextlib.contextmanager
def _draft_of(workspace: WorkspaceFolder) -> Iterator[Path]:
    """A place for a manifest whose digest nobody knows yet; what the disk refuses is told of the folder it is to be in."""
    folder = workspace.manifests_path
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as within:
            yield Path(within) / "manifest"
    except OSError as error:
        if str(error.filename).startswith(f"{folder}/."):
            raise OSError(error.errno, error.strerror, str(folder)) from error
        raise


def register(
    workspace: WorkspaceFolder,
    name: str,
    definition: Definition,
    *,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    create_new_version: bool = False,
    progress: Progress | None = None,
    made: Made | None = None,
    frozen: FrozenDataset | None = None,
) -> DatasetRecord:
    """Freeze `definition` (unless it is `frozen` already) and give it a name, `made` by a run's output or by nobody.

    Errors as `freeze_definition` and `Catalog.register`.
    """
    check_name(name)
    checked_description(description or "")  # now, and not after a listing of an hour
    checked_tags(tags or {})
    found = _found(workspace, definition, frozen, progress)
    with open_catalog(workspace) as catalog:
        return catalog.register(
            name,
            definition.to_json(),
            found.digest,
            found.files,
            found.size_bytes,
            description,
            tags,
            create_new_version=create_new_version,
            made=made,
        )


def save(
    workspace: WorkspaceFolder,
    definition: Definition,
    progress: Progress | None = None,
    frozen: FrozenDataset | None = None,
) -> DatasetRecord:
    """Freeze `definition`, unless it is `frozen`, and keep it without a name, so that a job can refer to it by id."""
    found = _found(workspace, definition, frozen, progress)
    with open_catalog(workspace) as catalog:
        return catalog.save(definition.to_json(), found.digest, found.files, found.size_bytes)


def _found(
    workspace: WorkspaceFolder, definition: Definition, frozen: FrozenDataset | None, progress: Progress | None
) -> FrozenDataset:
    if frozen is not None:
        return adopt(workspace, definition, frozen)
    files = definition if isinstance(definition, FileDefinition) else FileDefinition(definition.paths)
    return freeze_definition(workspace, files, progress)


def find_record(workspace: WorkspaceFolder, reference: str) -> DatasetRecord:
    """The version that `reference` names: NAME, NAME@VERSION, NAME@latest, or an id.

    Raises:
        UnknownNameError: there is no such dataset or version.
    """
    name, _, version = reference.partition("@")
    with open_catalog(workspace) as catalog:
        if _is_id(reference):
            return catalog.get_by_id(reference.lower())
        return catalog.get(name, version or "latest")


def resolve(workspace: WorkspaceFolder, reference: str, progress: Progress | None = None) -> FrozenDataset:
    """The frozen dataset that `reference` names; `progress` is told of a freeze where the manifest is gone.

    Raises:
        UnknownNameError: there is no such dataset, version or datastore.
        DataChangedError: the manifest is gone, and what is in the stores now is something else.
    """
    return open_record(workspace, find_record(workspace, reference), progress)


def open_record(workspace: WorkspaceFolder, record: DatasetRecord, progress: Progress | None = None) -> FrozenDataset:
    """The frozen dataset of one version; errors as `resolve`."""
    definition = files_of(record.definition)
    manifest = _manifest_path(workspace, record.digest)
    if manifest.exists():
        return _frozen(workspace, manifest, granted(workspace, definition.paths))
    again = freeze_definition(workspace, definition, progress)
    if again.digest != record.digest:
        from mountd.errors import DataChangedError

        shown = f"'{record.name}' version {record.version}" if record.name else record.id
        raise DataChangedError(
            f"dataset {shown}: its manifest {manifest} is gone, and the files have changed since; register a new version"
        )
    return again


def _frozen(
    workspace: WorkspaceFolder, manifest: Path, openers: "list[tuple[Place, Credential | None]]"
) -> FrozenDataset:
    from mountd.dataset.manifest import Manifest

    with Manifest.open(manifest) as opened:
        credentials = {url: found for url in opened.sources if (found := credential_for(url, openers))}
        single_file = None
        if len(openers) == 1 and opened.file_count == 1 and opened.sources == (openers[0][0].base_url,):
            place = openers[0][0]
            named_one = not place.has_glob and bool(place.path) and not place.path.endswith("/")
            single_file = next(path for path, _ in opened.files()) if named_one else None
        withheld = datastores.secret_variables(workspace)
        return FrozenDataset(
            manifest, opened.digest, credentials, single_file, opened.file_count, opened.size_bytes, withheld
        )


def _manifest_path(workspace: WorkspaceFolder, digest: str) -> Path:
    return workspace.manifests_path / f"{digest}.sqlite"


def _is_id(reference: str) -> bool:
    try:
        return str(uuid.UUID(reference)) == reference.lower()
    except ValueError:
        return False
