"""What goes between the steps of a pipeline: v1's PipelineData and its kin, each an output of one step.

A PipelineData is an OutputFileDatasetConfig under another name. Where a step lists it among its outputs, the step writes
it; everywhere else a step reads it. The files lie at `azureml/RUN-ID/NAME` in its datastore, as v1 has them.
"""

from dataclasses import dataclass, replace
from typing import Any, Never, Self, cast

from runtime.api.consumption import DatasetConsumptionConfig
from runtime.api.output import OutputFileDatasetConfig
from runtime.consumption import InputSpec, Mode, check_name
from runtime.errors import UserErrorException
from runtime.outputs import DEFAULT_DATASTORE
from runtime.workspace import WorkspaceFolder

_PATH = "azureml/{run-id}/{output-name}"
_READ_MODES = ("mount", "download")


@dataclass(frozen=True, slots=True)
class PipelineParameter:
    """A value that each submission of a pipeline may replace: text, a number, a dataset or a path in a datastore."""

    name: str
    default_value: Any = None

    def __post_init__(self) -> None:
        check_name(self.name, "pipeline parameter")


@dataclass(frozen=True, slots=True)
class InputPortBinding:
    """What one step wrote, as another reads it: `mode` is mount or download."""

    name: str
    output: OutputFileDatasetConfig
    mode: str = "mount"
    path_on_compute: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "input")
        if self.mode not in _READ_MODES:
            raise UserErrorException(
                f"input '{self.name}': no mode {self.mode!r}; a step's output is mounted or downloaded"
            )

    def as_mount(self, path_on_compute: str | None = None) -> Self:
        """The same, mounted; a new object."""
        return replace(self, mode="mount", path_on_compute=path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> Self:
        """The same, downloaded; a new object."""
        return replace(self, mode="download", path_on_compute=path_on_compute)


class PipelineOutputFileDataset(InputPortBinding):
    """A step's output as a File dataset: among a step's outputs it is written, elsewhere read."""

    __slots__ = ()

    def as_named_input(self, name: str) -> Self:
        """The same under another name; a new object."""
        return replace(self, name=name)

    def as_direct(self) -> Never:
        """Not here: the dataset has no id before the step has run."""
        raise UserErrorException(f"'{self.name}' has no id before its step has run; use as_mount() or as_download()")

    def register(self, name: str, create_new_version: bool = True) -> Self:  # noqa: ARG002, FBT001, FBT002 # v1's signature
        """The same, registered as a new version of `name` when its step has succeeded; a new object, for `outputs`."""
        return replace(self, output=self.output.register_on_complete(name))

    def parse_delimited_files(self, *_: object, **__: object) -> Never:
        """Not here: see the text."""
        raise UserErrorException(
            f"'{self.name}' cannot be a table before its step has run; mount it, and read its files"
        )

    parse_parquet_files = parse_delimited_files


class PipelineData:
    """A folder that one step writes and others read; `datastore` None is the default one."""

    def __init__(  # noqa: PLR0917 # v1's signature
        self,
        name: str,
        datastore: Any = None,
        output_name: str | None = None,
        output_mode: str = "mount",
        output_path_on_compute: str | None = None,
        output_overwrite: bool | None = None,  # noqa: FBT001 # v1's signature
        data_type: object = None,  # noqa: ARG002 # v1's, for its designer
        is_directory: bool | None = None,  # noqa: ARG002, FBT001 # always one here
        pipeline_output_name: str | None = None,
        training_output: object = None,
    ) -> None:
        if training_output is not None:
            raise UserErrorException(f"PipelineData '{name}': training_output belongs to automated ML; leave it out")
        if output_mode not in {"mount", "upload"}:
            raise UserErrorException(f"PipelineData '{name}': no output_mode {output_mode!r}; use mount or upload")
        self.name = name
        self.pipeline_output_name = pipeline_output_name
        place = (datastore or DEFAULT_DATASTORE, _PATH)
        made = OutputFileDatasetConfig(output_name or name, place, source=output_path_on_compute)
        self.output = made.as_upload(overwrite=bool(output_overwrite)) if output_mode == "upload" else made

    @property
    def datastore_name(self) -> str:
        """The datastore that it lies in."""
        return self.output.spec.datastore

    def as_input(self, input_name: str) -> InputPortBinding:
        """What its step wrote, under the name `input_name`."""
        return InputPortBinding(input_name, self.output)

    def as_mount(self) -> InputPortBinding:
        """What its step wrote, mounted."""
        return InputPortBinding(self.name, self.output)

    def as_download(
        self,
        input_name: str | None = None,
        path_on_compute: str | None = None,
        overwrite: bool | None = None,  # noqa: ARG002, FBT001 # v1's; a job's own folder is always new
    ) -> InputPortBinding:
        """What its step wrote, downloaded."""
        return InputPortBinding(input_name or self.name, self.output, "download", path_on_compute)

    def create_input_binding(
        self,
        input_name: str | None = None,
        mode: str | None = None,
        path_on_compute: str | None = None,
        overwrite: bool | None = None,  # noqa: ARG002, FBT001 # as above
    ) -> InputPortBinding:
        """What its step wrote, in the way that is asked for."""
        return InputPortBinding(input_name or self.name, self.output, mode or "mount", path_on_compute)

    def as_dataset(self) -> PipelineOutputFileDataset:
        """The same as a File dataset."""
        return PipelineOutputFileDataset(self.name, self.output)

    def __repr__(self) -> str:
        return f"PipelineData(name={self.name!r}, datastore={self.datastore_name!r})"


class FedInput(DatasetConsumptionConfig):
    """An input whose dataset another step makes: until that has run, its reference says so in words."""

    def spec_in(self, folder: WorkspaceFolder) -> InputSpec:  # noqa: ARG002 # nothing is there yet
        """What the job is told; the conductor puts the dataset's id in its place."""
        return InputSpec(self.name, str(self.dataset), cast("Mode", self.mode), self.path_on_compute)
