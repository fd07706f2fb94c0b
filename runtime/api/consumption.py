"""DatasetConsumptionConfig: v1's face of a job's input."""

from typing import Protocol, cast, runtime_checkable

from runtime.catalog import DatasetRecord
from runtime.consumption import TOKEN, InputSpec, Mode, check_name
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder

_LATEST = "latest"


@runtime_checkable
class Saved(Protocol):
    """What can be kept in a catalog and referred to by id: a dataset of any kind."""

    def saved_in(self, folder: WorkspaceFolder) -> DatasetRecord:
        """Its record in the workspace `folder`."""


@runtime_checkable
class HasRows(Protocol):
    """A dataset of rows."""

    def to_pandas_dataframe(self) -> object:
        """Its rows."""


class DatasetConsumptionConfig:
    """A dataset as the input `name` of a job.

    `dataset` is a dataset; (workspace, 'name'[, version]) for what the catalog says when the job starts; the output of a job
    that was submitted before; or a pipeline's parameter whose default is one of these. `mode` is direct, mount or download.
    """

    def __init__(
        self,
        name: str,
        dataset: object,
        mode: str = "direct",
        path_on_compute: str | None = None,
    ) -> None:
        if mode == "hdfs":
            raise UserErrorException(
                f"input '{name}': mode hdfs is for a Spark cluster's file system, and there is none; use mount or download"
            )
        if mode not in {"direct", "mount", "download"}:
            raise UserErrorException(f"input '{name}': no mode {mode!r}; use direct, mount or download")
        if mode != "direct" and isinstance(dataset, HasRows):
            raise UserErrorException(
                f"input '{name}': a tabular dataset has rows and no files to {mode}; leave the mode out, and read "
                f"run.input_datasets['{name}'] in the job"
            )
        self.name = check_name(name, "input")
        self.dataset = dataset
        self.mode = mode
        self.path_on_compute = path_on_compute

    @property
    def arg_val(self) -> str:
        """The token that stands for the input in a script's arguments."""
        return f"{TOKEN}:{self.name}"

    def as_mount(self, path_on_compute: str | None = None) -> "DatasetConsumptionConfig":
        """The same input, mounted; a new object."""
        return DatasetConsumptionConfig(self.name, self.dataset, "mount", path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> "DatasetConsumptionConfig":
        """The same input, downloaded; a new object."""
        return DatasetConsumptionConfig(self.name, self.dataset, "download", path_on_compute)

    def as_hdfs(self) -> "DatasetConsumptionConfig":
        """Not here.

        Raises:
            UserErrorException: always; says what to use.
        """
        return DatasetConsumptionConfig(self.name, self.dataset, "hdfs")

    def spec_in(self, folder: WorkspaceFolder) -> InputSpec:
        """What the job is told; a dataset without a name is frozen and kept in the workspace `folder`.

        Raises:
            UserErrorException: what was given as a dataset is none, or of another workspace; MountdError as freezing
                raises it.
        """
        return InputSpec(self.name, self._reference(folder), cast("Mode", self.mode), self.path_on_compute)

    def _reference(self, folder: WorkspaceFolder) -> str:
        from runtime.api.output import OutputFileDatasetConfig

        dataset = getattr(self.dataset, "default_value", self.dataset)  # a pipeline's parameter has one
        if isinstance(dataset, Saved):
            return dataset.saved_in(folder).id
        if isinstance(dataset, OutputFileDatasetConfig):
            return dataset.produced(folder).saved_in(folder).id
        if isinstance(dataset, tuple) and len(dataset) in {2, 3}:
            return self._named(folder, *dataset)
        raise UserErrorException(
            f"input '{self.name}': {type(dataset).__name__} is no dataset; give a FileDataset or (workspace, 'name')"
        )

    def _named(self, folder: WorkspaceFolder, workspace: object, name: object, version: object = _LATEST) -> str:
        """NAME or NAME@VERSION; the latest version is looked up when the job starts."""
        from runtime.api.registered import folder_of

        of = folder_of(workspace)
        if of != folder:
            raise UserErrorException(
                f"input '{self.name}': {name!r} is a dataset of the workspace {of.path}, and the job is of {folder.path}; "
                "submit the job there, or register the dataset here"
            )
        if version in {None, _LATEST}:
            return str(name)
        if not str(version).isdigit():
            raise UserErrorException(f"input '{self.name}': {version!r} is no version; give a number or 'latest'")
        return f"{name}@{version}"

    def __repr__(self) -> str:
        return f"DatasetConsumptionConfig(name={self.name!r}, dataset={self.dataset!r}, mode={self.mode!r})"
