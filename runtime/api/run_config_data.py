"""The data of a run configuration: v1's plain classes for inputs and outputs, as its files and older scripts have them.

    Data, DataLocation, Dataset, DataPath, Uri        an input          OutputData, OutputOptions, ...    an output
    DataReferenceConfiguration                        a path below a datastore

`input_spec` and `output_spec` say what the job is told of one of these, or of the objects that are put in their place:
a DatasetConsumptionConfig, an OutputFileDatasetConfig, a DataReference.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast, runtime_checkable

from runtime.api.consumption import DatasetConsumptionConfig
from runtime.api.output import OutputFileDatasetConfig
from runtime.consumption import InputSpec
from runtime.errors import UserErrorException
from runtime.outputs import DEFAULT_DATASTORE, DEFAULT_PATH, OutputSpec
from runtime.workspace import WorkspaceFolder


@dataclass(slots=True)
class Dataset:
    """A dataset by its id, or by its name and version."""

    dataset_id: str | None = None
    dataset_name: str | None = None
    dataset_version: str | None = None


@dataclass(slots=True)
class DataPath:
    """A path below a datastore, by names."""

    datastore_name: str | None = None
    relative_path: str | None = None


@dataclass(slots=True)
class Uri:
    """An address."""

    path: str | None = None
    is_file: bool = False


@dataclass(slots=True)
class DataLocation:
    """Where data lies: one of the three."""

    dataset: Dataset | None = None
    data_path: DataPath | None = None
    uri: Uri | None = None


@dataclass(slots=True)
class Data:
    """An input of a job."""

    data_location: DataLocation | None = None
    create_output_directories: bool = False
    mechanism: str | None = "direct"
    environment_variable_name: str | None = None
    path_on_compute: str | None = None
    overwrite: bool = False
    options: dict[str, str] | None = None


@dataclass(slots=True)
class DataReferenceConfiguration:
    """A path below a datastore as an input (mount, download) or an output (upload)."""

    datastore_name: str | None = None
    mode: str = "mount"
    path_on_datastore: str | None = None
    path_on_compute: str | None = None
    overwrite: bool = False


@dataclass(slots=True)
class GlobsOptions:
    """Which files of an output are stored."""

    globs: Sequence[str] | str | None = None


@dataclass(slots=True)
class UploadOptions:
    """How an output is stored."""

    overwrite: bool = False
    source_globs: GlobsOptions | None = None


@dataclass(slots=True)
class RegistrationOptions:
    """The name that an output is registered under."""

    name: str | None = None
    description: str | None = None
    tags: dict[str, str] | None = None
    properties: dict[str, str] | None = None
    dataset_registration: Any = None


@dataclass(slots=True)
class OutputOptions:
    """Where an output is written, and what happens to it."""

    path_on_compute: str | None = None
    registration_options: RegistrationOptions | None = None
    upload_options: UploadOptions | None = None
    mount_options: object = None


@dataclass(slots=True)
class OutputData:
    """An output of a job."""

    output_location: DataLocation | None = None
    mechanism: str = "mount"
    additional_options: OutputOptions = field(default_factory=OutputOptions)
    environment_variable_name: str | None = None


@runtime_checkable
class Reference(Protocol):
    """v1's DataReference: an input, or with the mode upload an output."""

    data_reference_name: str
    mode: str

    def to_config(self) -> Any:
        """Its DataReferenceConfiguration, or the same as a dictionary."""


def input_spec(name: str, given: object, folder: WorkspaceFolder) -> InputSpec:
    """What a job in the workspace `folder` is told of `given`, its input `name`.

    Raises:
        UserErrorException: it is no input, or names nothing; MountdError as freezing raises it.
    """
    if isinstance(given, DatasetConsumptionConfig):
        return replace(given.spec_in(folder), name=name)
    if isinstance(given, DataReferenceConfiguration):
        place = DataLocation(data_path=DataPath(given.datastore_name, given.path_on_datastore))
        return _located(name, place, given.mode, given.path_on_compute, folder)
    if isinstance(given, Data):
        return _located(name, given.data_location, given.mechanism or "direct", given.path_on_compute, folder)
    raise UserErrorException(f"run_config.data[{name!r}]: {type(given).__name__} is no input; give a Data")


def output_spec(name: str, given: object, folder: WorkspaceFolder) -> OutputSpec:
    """What a job of the workspace `folder` is told of `given`, its output `name`.

    Raises:
        UserErrorException: it is no output, or names no place of this workspace.
    """
    if isinstance(given, OutputFileDatasetConfig):
        return replace(given.spec_in(folder), name=name)
    if isinstance(given, DataReferenceConfiguration):
        datastore, path = given.datastore_name or DEFAULT_DATASTORE, given.path_on_datastore or DEFAULT_PATH
        return OutputSpec(name, datastore, path, overwrite=given.overwrite, source=given.path_on_compute)
    if isinstance(given, OutputData):
        return _stored(name, given)
    raise UserErrorException(
        f"run_config.output_data[{name!r}]: {type(given).__name__} is no output; give an OutputData"
    )


def reference(given: object, name: str) -> DataReferenceConfiguration:
    """`given`, a reference, its configuration or that as a dictionary, as a configuration.

    Raises:
        UserErrorException: it is none of these.
    """
    found = given.to_config() if isinstance(given, Reference) else given
    if isinstance(found, Mapping):
        with contextlib.suppress(TypeError):  # a key that a reference does not have
            found = DataReferenceConfiguration(**found)
    if isinstance(found, DataReferenceConfiguration):
        return found
    raise UserErrorException(
        f"run_config.data_references[{name!r}]: {type(given).__name__} is no reference; give datastore.path(...)"
    )


def _located(
    name: str, location: DataLocation | None, mode: str, path_on_compute: str | None, folder: WorkspaceFolder
) -> InputSpec:
    config = DatasetConsumptionConfig(name, _dataset(name, location, folder), mode.lower(), path_on_compute)
    if isinstance(config.dataset, str):
        return InputSpec(name, config.dataset, cast("Any", config.mode), path_on_compute)
    return config.spec_in(folder)


def _dataset(name: str, location: DataLocation | None, folder: WorkspaceFolder) -> object:
    """The dataset at `location`: one that is made of a path, or the reference to one in the catalog, as text."""
    place = location or DataLocation()
    if place.dataset is not None and place.dataset.dataset_id:
        return place.dataset.dataset_id
    if place.dataset is not None and place.dataset.dataset_name:
        version = place.dataset.dataset_version
        return place.dataset.dataset_name + ("" if version in {None, "", "latest"} else f"@{version}")
    from runtime.api.data_path import DataPath as DatastorePath
    from runtime.api.dataset import Dataset as Datasets
    from runtime.api.datastore import Datastore
    from runtime.api.workspace import Workspace

    if place.data_path is not None and place.data_path.datastore_name:
        datastore = Datastore(Workspace.of(folder), place.data_path.datastore_name)
        return Datasets.File.from_files(DatastorePath(datastore, place.data_path.relative_path))
    if place.uri is not None and place.uri.path:
        return Datasets.File.from_files(place.uri.path, is_file=place.uri.is_file)
    raise UserErrorException(f"input '{name}' has no data_location; give a dataset, a data_path or a uri")


def _stored(name: str, given: OutputData) -> OutputSpec:
    options = given.additional_options
    upload = options.upload_options or UploadOptions()
    registration = options.registration_options or RegistrationOptions()
    globs = upload.source_globs.globs if upload.source_globs is not None else None
    place = (given.output_location or DataLocation()).data_path or DataPath()
    mode = given.mechanism.lower()
    return OutputSpec(
        name,
        place.datastore_name or DEFAULT_DATASTORE,
        place.relative_path or DEFAULT_PATH,
        cast("Any", mode),
        overwrite=upload.overwrite,
        register_as=registration.name,
        description=registration.description or "",
        tags=dict(registration.tags or {}),
        source=options.path_on_compute,
        source_globs=(globs,) if isinstance(globs, str) else tuple(globs or ()),
    )
