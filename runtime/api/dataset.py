"""Dataset and FileDataset: v1's faces of what lies in `runtime.datasets` and the catalog.

A FileDataset made by `Dataset.File.from_files` is a definition; nothing is contacted for it. It is frozen when its files are
asked for, registered, or used by a job, and one FileDataset stays with what it first saw. A registered one is a version, and
has that version's frozen files for ever.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.api.mount_context import MountContext
from runtime.catalog import DatasetRecord, open_catalog
from runtime.datasets import file
from runtime.datasets.file import FileDefinition, FrozenDataset
from runtime.datasets.paths import NamesPath, PathArgument, parse_all
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder, find

if TYPE_CHECKING:
    from runtime.api.consumption import DatasetConsumptionConfig
    from runtime.api.workspace import Workspace


class FileDataset:
    """Files, frozen when first asked for."""

    def __init__(
        self, definition: FileDefinition, folder: WorkspaceFolder | None = None, record: DatasetRecord | None = None
    ) -> None:
        self.definition = definition
        self._folder = folder
        self._record = record
        self._frozen: FrozenDataset | None = None

    @property
    def id(self) -> str | None:
        """The GUID; None until it is registered, or used by a job."""
        return self._record.id if self._record else None

    @property
    def name(self) -> str | None:
        """The name; None until it is registered."""
        return (self._record.name or None) if self._record else None

    @property
    def version(self) -> int | None:
        """The version; None until it is registered."""
        return (self._record.version or None) if self._record else None

    @property
    def description(self) -> str | None:
        """What is said of it: when it was registered, or by `update` since."""
        return (self._record.description or None) if self._record else None

    @property
    def tags(self) -> dict[str, str]:
        """What it is tagged with; a copy, `add_tags` and its like change it."""
        return dict(self._record.tags) if self._record else {}

    def register(
        self,
        workspace: "Workspace",
        name: str,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        create_new_version: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> "FileDataset":
        """Freeze what is there now, and register it; returns the registered version, this object stays as it is.

        Raises:
            UserErrorException: `name` exists and `create_new_version` is False, or a version of it is exactly this.
            MountdError: nothing is there, or a store refuses or cannot be reached.
        """
        record = file.register(
            workspace.folder,
            name,
            self.definition,
            description=description,
            tags=tags,
            create_new_version=create_new_version,
        )
        return FileDataset(self.definition, workspace.folder, record)

    def update(self, description: str | None = None, tags: Mapping[str, str] | None = None) -> "FileDataset":
        """Replace the description, the tags, or both, of this version; what is None stays. Returns this object.

        Raises:
            UserErrorException: it is not registered, or a text cannot be kept.
        """
        return self._changed(description, None if tags is None else lambda _: tags)

    def add_tags(self, tags: Mapping[str, str]) -> "FileDataset":
        """Add tags to this version; all of them or none. Returns this object.

        Raises:
            UserErrorException: it is not registered, or a tag is there with another value.
        """
        return self._changed(None, lambda there: _with_added(there, tags))

    def remove_tags(self, tags: "Sequence[str] | Mapping[str, str]") -> "FileDataset":
        """Remove the tags of these names from this version; names that are not there are no error. Returns this object."""
        return self._changed(None, lambda there: {key: there[key] for key in there if key not in tags})

    def unregister_all_versions(self) -> None:
        """Take the name from all versions of this dataset's name; no data is touched, and ids stay valid.

        Raises:
            UserErrorException: it is not registered.
        """
        folder, record = self._registered()
        with open_catalog(folder) as catalog:
            catalog.unregister(record.name)
            self._record = catalog.get_by_id(record.id)

    def to_path(self) -> list[str]:
        """The files' paths in the tree, each with a leading '/', in lexicographic order."""
        from mountd.dataset.manifest import Manifest

        with Manifest.open(self.frozen().manifest) as manifest:
            return sorted(f"/{path}" for path, _ in manifest.files())

    def download(
        self,
        target_path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> list[str]:
        """Fetch every file into `target_path` (a new temporary folder if None); return their absolute paths.

        Raises:
            UserErrorException: a different file is there already and `overwrite` is False; nothing was copied.
        """
        from mountd.errors import DestinationExistsError
        from runtime.datastores import reaching

        frozen = self.frozen()
        target = Path(target_path or tempfile.mkdtemp(prefix="moorage-")).absolute()
        try:
            reaching.download(self._folder or find(), frozen, target, overwrite=overwrite)
        except DestinationExistsError as error:
            raise UserErrorException(f"{error} (overwrite=True)") from None
        return [f"{target}{path}" for path in self.to_path()]

    def mount(self, mount_point: str | os.PathLike[str] | None = None) -> MountContext:
        """A context in which the files are at `mount_point` (a new temporary folder if None)."""
        return MountContext(self.frozen(), Path(mount_point).absolute() if mount_point else None, self._label())

    def as_named_input(self, name: str) -> "DatasetConsumptionConfig":
        """This dataset as the input `name` of a job; `.as_mount()` and `.as_download()` say how."""
        from runtime.api.consumption import DatasetConsumptionConfig

        return DatasetConsumptionConfig(name, self)

    def as_mount(self, path_on_compute: str | None = None) -> "DatasetConsumptionConfig":
        """As an input without a name of yours, mounted."""
        return self.as_named_input(f"input__{uuid.uuid4().hex[:8]}").as_mount(path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> "DatasetConsumptionConfig":
        """As an input without a name of yours, downloaded."""
        return self.as_named_input(f"input__{uuid.uuid4().hex[:8]}").as_download(path_on_compute)

    def frozen(self) -> FrozenDataset:
        """The manifest behind this dataset; made on first use."""
        if self._frozen is None:
            self._folder = self._folder or find()
            if self._record is None:
                self._frozen = file.freeze_definition(self._folder, self.definition)
            else:
                self._frozen = file.open_record(self._folder, self._record)
        return self._frozen

    def saved_in(self, folder: WorkspaceFolder) -> DatasetRecord:
        """The catalog's record of this dataset in the workspace `folder`; saved there without a name if it has none."""
        if self._record is None or (self._folder is not None and self._folder != folder):
            record = file.save(folder, self.definition)
            self._folder, self._record, self._frozen = folder, record, None
        return self._record

    def _registered(self) -> tuple[WorkspaceFolder, DatasetRecord]:
        if self._folder is None or self._record is None or not self._record.name:
            raise UserErrorException(
                "this dataset has no name in a workspace; register() returns one that has, as does Dataset.get_by_name()"
            )
        return self._folder, self._record

    def _changed(
        self, description: str | None, tags: "Callable[[Mapping[str, str]], Mapping[str, str]] | None"
    ) -> "FileDataset":
        folder, record = self._registered()
        with open_catalog(folder) as catalog:
            self._record = catalog.change(record.id, description, tags)
        return self

    def __repr__(self) -> str:
        paths = ", ".join(str(path) for path in self.definition.paths)
        return f"FileDataset(id={self.id!r}, name={self.name!r}, version={self.version!r}, paths=[{paths}])"

    def _label(self) -> str:
        return f"{self.name}-{self.version}" if self.name else "dataset"


class FileDatasetFactory:
    """`Dataset.File`."""

    @staticmethod
    def from_files(
        path: "PathArgument | Sequence[PathArgument]",
        validate: bool = True,  # noqa: ARG004, FBT001, FBT002 # v1's; like v1 without a partition format, contacts nothing
        partition_format: str | None = None,
        is_file: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> FileDataset:
        """A dataset of the files at `path`: a URL, a DataPath, (datastore, 'path'), a local path, or a list of these.

        `is_file` says that no path is a folder; it need not be said, the store knows.

        Raises:
            UserErrorException: a path breaks the grammar; the message names it.
        """
        if partition_format is not None:
            raise UserErrorException("partition_format comes with a later version; leave it out")
        paths = parse_all(path)
        if is_file and (folders := [each for each in paths if str(each).endswith("/") or "*" in str(each)]):
            raise UserErrorException(
                f"{folders[0]} is no single file, and is_file=True says so; leave one of the two out"
            )
        return FileDataset(FileDefinition(paths), _folder_of(path))


class Dataset:
    """The datasets of a workspace, and the factories of new ones."""

    File = FileDatasetFactory

    @staticmethod
    def get_by_name(workspace: "Workspace", name: str, version: int | str = "latest") -> FileDataset:
        """A registered dataset; `version` is a number or 'latest'.

        Raises:
            UnknownNameError: there is no such dataset or version.
        """
        with open_catalog(workspace.folder) as catalog:
            return _registered(workspace.folder, catalog.get(name, version))

    @staticmethod
    def get_by_id(workspace: "Workspace", id: str) -> FileDataset:  # noqa: A002 # v1's name
        """The dataset with this GUID."""
        with open_catalog(workspace.folder) as catalog:
            return _registered(workspace.folder, catalog.get_by_id(id))

    @staticmethod
    def get_all(workspace: "Workspace") -> Mapping[str, FileDataset]:
        """The latest version of every dataset by name; read when asked for."""
        return workspace.datasets


def _with_added(there: Mapping[str, str], tags: Mapping[str, str]) -> Mapping[str, str]:
    for key, value in tags.items():
        if there.get(key, value) != value:
            raise UserErrorException(
                f"the tag {key!r} is {there[key]!r} already; remove_tags([{key!r}]) first, or update(tags=...)"
            )
    return {**there, **tags}


def _registered(folder: WorkspaceFolder, record: DatasetRecord) -> FileDataset:
    return FileDataset(FileDefinition.from_json(record.definition), folder, record)


def _folder_of(path: object) -> WorkspaceFolder | None:
    """The workspace of the datastore that a path names, if it names one."""
    first = path[0] if isinstance(path, list) and path else path
    datastore = first.datastore if isinstance(first, NamesPath) else first[0] if isinstance(first, tuple) else None
    workspace = getattr(datastore, "workspace", None)
    folder = getattr(workspace, "folder", None)
    return folder if isinstance(folder, WorkspaceFolder) else None
