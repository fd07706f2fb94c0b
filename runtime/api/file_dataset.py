"""FileDataset: v1's face of what lies in `runtime.datasets` and the catalog.

One that is made by `Dataset.File.from_files` is a definition; nothing is contacted for it. It is frozen when its files are
asked for, registered, or used by a job, and one FileDataset stays with what it first saw. A registered one is a version, and
has that version's frozen files for ever. What `take`, `filter` and their like give is picked from what their dataset saw, so
the halves of a split fit together, and a part of a version is a part of its frozen files.
"""

import dataclasses
import datetime as dt
import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.api.mount_context import MountContext
from runtime.api.registered import RegisteredDataset, folder_of
from runtime.catalog import DatasetRecord
from runtime.datasets import contents, expressions, file, steps
from runtime.datasets.expressions import Expression
from runtime.datasets.file import FileDefinition, FrozenDataset
from runtime.datasets.steps import Step
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder, find

if TYPE_CHECKING:
    from runtime.api.consumption import DatasetConsumptionConfig
    from runtime.api.mount_options import MountOptions
    from runtime.api.workspace import Workspace


class FileDataset(RegisteredDataset):
    """Files, frozen when first asked for."""

    def __init__(
        self,
        definition: FileDefinition,
        folder: WorkspaceFolder | None = None,
        record: DatasetRecord | None = None,
        whole: "FileDataset | None" = None,
    ) -> None:
        super().__init__(folder, record)
        self.definition = definition
        self._whole = whole  # whose files these are a part of
        self._frozen: FrozenDataset | None = None

    @property
    def partition_keys(self) -> list[str]:
        """The parts of the partition format; none if there is none."""
        return list(self.definition.partition.names) if self.definition.partition else []

    @property
    def data_changed_time(self) -> dt.datetime | None:
        """When the newest of its frozen files was changed, in UTC; None if their store tells no time."""
        return contents.newest(self.frozen().manifest)

    def get_partition_key_values(self, partition_keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The different values of these parts (None: of all) that its files have; files without bytes do not count.

        Raises:
            UserErrorException: a key is no part of the partition format, or there is none.
        """
        partition = self.definition.partition
        keys = self.partition_keys if partition_keys is None else list(partition_keys)
        for key in keys or [""]:
            steps.check_column(key, partition)
        return contents.partition_values(self.frozen().manifest, self.definition, keys)

    def register(
        self,
        workspace: "Workspace",
        name: str,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        create_new_version: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> "FileDataset":
        """Freeze what is there now, and register it; returns the registered version, this object stays as it is.

        A version is registered as it is, and part of another dataset as what that one has seen.

        Raises:
            UserErrorException: `name` exists and `create_new_version` is False, a version of it is exactly this, or this
                dataset belongs to another workspace.
            MountdError: nothing is there, or a store refuses or cannot be reached.
        """
        folder = folder_of(workspace)
        self._check_home(folder)
        record = file.register(
            folder,
            name,
            self.definition,
            description=description,
            tags=tags,
            create_new_version=create_new_version,
            frozen=self.frozen() if self._whole or self.name else None,
        )
        return FileDataset(self.definition, folder, record)

    def to_path(self) -> list[str]:
        """The files' paths in the tree, each with a leading '/', in lexicographic order."""
        return contents.paths(self.frozen().manifest)

    def download(
        self,
        target_path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        ignore_not_found: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> list[str]:
        """Fetch every file into `target_path` (a new temporary folder if None); return their absolute paths.

        With `ignore_not_found` a file that is gone from its store is left out; one that changed is an error all the same.

        Raises:
            UserErrorException: a different file is there already and `overwrite` is False; nothing was copied.
        """
        from mountd.errors import DestinationExistsError

        target = Path(target_path or tempfile.mkdtemp(prefix="moorage-")).absolute()
        try:
            found = contents.fetch(
                self.folder, self.frozen(), target, overwrite=overwrite, ignore_not_found=ignore_not_found
            )
        except DestinationExistsError as error:
            raise UserErrorException(f"{error} (overwrite=True)") from None
        return [f"{target}{path}" for path in found]

    def mount(
        self,
        mount_point: str | os.PathLike[str] | None = None,
        *,
        mount_options: "MountOptions | None" = None,
        skip_validate: bool = False,  # noqa: ARG002 # v1's; what is frozen has been looked at
    ) -> MountContext:
        """A context in which the files are at `mount_point` (a new temporary folder if None)."""
        place = Path(mount_point).absolute() if mount_point else None
        return MountContext(self.frozen(), place, self._label(), mount_options)

    def skip(self, count: int) -> "FileDataset":
        """All files but the first `count`, in lexicographic order of their paths."""
        return self._then(steps.Skip(steps.check_count(count)))

    def take(self, count: int) -> "FileDataset":
        """The first `count` files, in lexicographic order of their paths."""
        return self._then(steps.Take(steps.check_count(count)))

    def take_sample(self, probability: float, seed: int | None = None) -> "FileDataset":
        """Each file with this probability; the same `seed` gives the same files, None draws one.

        Raises:
            ValueError: `probability` is not between 0 and 1.
        """
        return self._then(steps.Sample(steps.check_share(probability, "probability"), steps.settled_seed(seed)))

    def random_split(self, percentage: float, seed: int | None = None) -> "tuple[FileDataset, FileDataset]":
        """About `percentage` (0 to 1) of the files, and all the others; `seed` as in `take_sample`.

        Raises:
            ValueError: `percentage` is not between 0 and 1.
        """
        share, drawn = steps.check_share(percentage, "percentage"), steps.settled_seed(seed)
        first, second = (self._then(steps.Split(share, drawn, rest)) for rest in (False, True))
        return first, second

    def filter(self, expression: Expression) -> "FileDataset":
        """The files for which `expression` is true, such as `ds.file_metadata('Size') > 1000` or `ds['year'] == '2020'`.

        Raises:
            UserErrorException: it is no expression, or names what the files do not have.
        """
        return self._then(steps.Filter(steps.check_filter(expression, self.definition.partition)))

    def file_metadata(self, col: str) -> Expression:
        """What is known of each file, for `filter`: Size, LastModifiedTime, Extension ('.csv') or CanSeek."""
        return expressions.file_property(steps.check_property(col))

    def __getitem__(self, key: str) -> Expression:
        """A part of the partition format, for `filter`."""
        return expressions.column(steps.check_column(key, self.definition.partition))

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

    def as_hdfs(self) -> "DatasetConsumptionConfig":
        """Not here: there is no Spark cluster's file system.

        Raises:
            UserErrorException: always; says what to use.
        """
        return self.as_named_input(f"input__{uuid.uuid4().hex[:8]}").as_hdfs()

    def as_cache(self, datacache_store: object) -> "FileDataset":
        """Not here: v1's preview of caches for datasets.

        Raises:
            UserErrorException: always; says what to use.
        """
        raise UserErrorException(
            f"{type(datacache_store).__name__}: no datacache stores here; every mount has a cache (`mountd cache status`)"
        )

    def hydrate(self, datacache_store: object, replica_count: int | None = None) -> "FileDataset":  # noqa: ARG002 # v1's signature
        """As `as_cache`."""
        return self.as_cache(datacache_store)

    def frozen(self) -> FrozenDataset:
        """The manifest behind this dataset; made on first use."""
        if self._frozen is None:
            self._frozen = self._freeze()
        return self._frozen

    def _freeze(self) -> FrozenDataset:
        if self._whole is not None and self._record is None:
            above = self._whole
            while above._whole is not None and above._frozen is None and above._record is None:  # noqa: SLF001 # our own kind
                above = above._whole  # noqa: SLF001 # nobody asked for what lies between
            self._folder = self._folder or above.folder
            done = len(above.definition.steps)
            return file.freeze_definition(self.folder, self.definition, whole=above.frozen().manifest, done=done)
        if self._record is None:
            return file.freeze_definition(self.folder, self.definition)
        return file.open_record(self.folder, self._record)

    @property
    def folder(self) -> WorkspaceFolder:
        """The workspace folder that it belongs to: its datastore's, or the one that this process finds."""
        self._folder = self._folder or find()
        return self._folder

    def saved_in(self, folder: WorkspaceFolder) -> DatasetRecord:
        """The catalog's record of this dataset in the workspace `folder`; saved there without a name if it has none.

        Raises:
            UserErrorException: it belongs to another workspace.
        """
        if self._record is not None and self._folder == folder:
            return self._record
        self._check_home(folder)
        record = file.save(folder, self.definition, frozen=self.frozen() if self._whole else None)
        self._folder, self._record, self._frozen = folder, record, None
        return record

    def _check_home(self, folder: WorkspaceFolder) -> None:
        """A datastore's name may mean another place in another workspace."""
        if self._folder not in {None, folder} and (self.name or any(path.datastore for path in self.definition.paths)):
            raise UserErrorException(
                f"{self._label()} is a dataset of the workspace {self.folder.path}, and is wanted in {folder.path}; use it "
                "there, or make it from a datastore of this one"
            )

    def _then(self, step: Step) -> "FileDataset":
        definition = dataclasses.replace(self.definition, steps=(*self.definition.steps, step))
        return FileDataset(definition, self._folder, whole=self)

    def __repr__(self) -> str:
        paths = ", ".join(str(path) for path in self.definition.paths)
        taken = "".join(f", {step}" for step in self.definition.steps)
        return f"FileDataset(id={self.id!r}, name={self.name!r}, version={self.version!r}, paths=[{paths}]{taken})"

    def _label(self) -> str:
        return f"{self.name}-{self.version}" if self.name else "dataset"
