"""DatasetConsumptionConfig: v1's face of a job's input."""

from typing import cast

from runtime.consumption import TOKEN, InputSpec, Mode, check_name
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder


class DatasetConsumptionConfig:
    """A dataset as the input `name` of a job.

    `dataset` is a FileDataset, (workspace, 'name'[, version]) for what the catalog says when the job is submitted, or the
    output of a job that was submitted before. `mode` is direct, mount or download.
    """

    def __init__(
        self,
        name: str,
        dataset: object,
        mode: str = "direct",
        path_on_compute: str | None = None,
    ) -> None:
        if mode == "hdfs":
            raise UserErrorException(f"input '{name}': mode hdfs comes with a later version; use mount or download")
        if mode not in {"direct", "mount", "download"}:
            raise UserErrorException(f"input '{name}': no mode {mode!r}; use direct, mount or download")
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

    def spec_in(self, folder: WorkspaceFolder) -> InputSpec:
        """What the job is told; a dataset without a name is frozen and kept in the workspace `folder`.

        Raises:
            UserErrorException: what was given as a dataset is none; MountdError as freezing raises it.
        """
        return InputSpec(self.name, self._reference(folder), cast("Mode", self.mode), self.path_on_compute)

    def _reference(self, folder: WorkspaceFolder) -> str:
        from runtime.api.dataset import FileDataset
        from runtime.api.output import OutputFileDatasetConfig

        if isinstance(self.dataset, FileDataset):
            return self.dataset.saved_in(folder).id
        if isinstance(self.dataset, OutputFileDatasetConfig):
            return self.dataset.produced().saved_in(folder).id
        if isinstance(self.dataset, tuple) and len(self.dataset) in {2, 3}:
            _, name, *version = self.dataset
            return f"{name}@{version[0]}" if version else str(name)
        raise UserErrorException(
            f"input '{self.name}': {type(self.dataset).__name__} is no dataset; give a FileDataset or (workspace, 'name')"
        )

    def __repr__(self) -> str:
        return f"DatasetConsumptionConfig(name={self.name!r}, dataset={self.dataset!r}, mode={self.mode!r})"
