"""OutputFileDatasetConfig: v1's face of a job's output.

Every method returns a copy, so that one output can be the start of several; the copies share which run produced them, which
is what lets a later job take the output as its input.
"""

import copy
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from runtime.api.consumption import DatasetConsumptionConfig
from runtime.api.registered import folder_in
from runtime.errors import UserErrorException
from runtime.outputs import DEFAULT_DATASTORE, DEFAULT_PATH, OutputSpec

if TYPE_CHECKING:
    from runtime.api.file_dataset import FileDataset
    from runtime.api.tabular_dataset import TabularDataset
    from runtime.api.tabular_output import NamedDatastore, OutputTabularDatasetConfig
    from runtime.workspace import WorkspaceFolder


class OutputFileDatasetConfig:
    """A folder that a job writes, and where its files go.

    `destination` is (datastore or its name, path), the path with {run-id} and {output-name} if wanted; `source` is a local
    folder to upload from instead of one that the job is given.
    """

    def __init__(
        self,
        name: str | None = None,
        destination: Sequence[Any] | None = None,
        source: str | None = None,
        partition_format: str | None = None,
    ) -> None:
        datastore, path = _destination(destination)
        name = name or f"output_{uuid.uuid4().hex[:8]}"
        self._spec = OutputSpec(name, datastore, path, mode="mount", source=source, partition_format=partition_format)
        self._home = folder_in(tuple(destination)) if destination else None
        self._producer: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The name of the output."""
        return self._spec.name

    @property
    def arg_val(self) -> str:
        """The token that stands for the output in a script's arguments."""
        return self._spec.token

    @property
    def spec(self) -> OutputSpec:
        """What the job is told."""
        return self._spec

    def spec_in(self, folder: "WorkspaceFolder") -> OutputSpec:
        """What a job of the workspace `folder` is told.

        Raises:
            UserErrorException: the datastore is one of another workspace; its name may mean another place here.
        """
        home = self._home
        if home is not None and home != folder:
            raise UserErrorException(
                f"output '{self.name}': its datastore '{self._spec.datastore}' is one of the workspace {home.path}, and the "
                f"job is of {folder.path}; give one of that"
            )
        return self._spec

    def as_mount(self, disable_metadata_cache: bool = False) -> Self:  # noqa: ARG002, FBT001, FBT002 # v1's signature
        """A folder that is mounted read-write; its files are stored as they are closed."""
        return self._changed(mode="mount")

    def as_upload(
        self,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        source_globs: str | Sequence[str] | None = None,
    ) -> Self:
        """Files that are uploaded when the job has succeeded; `source_globs` (`*`, `**`) say which, all if None."""
        globs = (source_globs,) if isinstance(source_globs, str) else tuple(source_globs or ())
        return self._changed(mode="upload", overwrite=overwrite, source_globs=globs)

    def register_on_complete(
        self, name: str, description: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Self:
        """Register what was uploaded as a new version of the dataset `name`, if the job succeeded.

        Raises:
            ValueError: the name is empty.
        """
        if not name:
            raise ValueError("register_on_complete needs the name of a dataset")
        return self._changed(register_as=name, description=description or "", tags=dict(tags or {}))

    def as_input(self, name: str | None = None) -> DatasetConsumptionConfig:
        """What this output will hold, as a mounted input of a job that is submitted after its own has completed."""
        return DatasetConsumptionConfig(name or f"input__{uuid.uuid4().hex[:8]}", self, "mount")

    def note_producer(self, run_id: str) -> None:
        """Remember the run that this output was last submitted with."""
        self._producer["run_id"] = run_id

    def note_step(self, step: object) -> None:
        """Remember the pipeline's step that this output is of."""
        self._producer["step"] = step

    @property
    def step(self) -> object:
        """The pipeline's step that this output is of; None outside of a pipeline."""
        return self._producer.get("step")

    def produced(self, folder: "WorkspaceFolder | None" = None) -> "FileDataset":  # noqa: ARG002 # rows need it
        """The files that the last run with this output left in the store, in the workspace `folder`.

        Raises:
            UserErrorException: no job with this output was submitted by this process.
        """
        from runtime.api.file_dataset import FileDataset
        from runtime.datasets.file import FileDefinition
        from runtime.datasets.paths import DatasetPath

        place = DatasetPath(self._spec.datastore, self._prefix())
        return FileDataset(FileDefinition((place,), self._spec.partition_format))

    def read_delimited_files(
        self,
        include_path: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        separator: str = ",",
        header: Any = None,
        partition_format: str | None = None,
        path_glob: str | None = None,
        set_column_types: Any = None,
    ) -> "OutputTabularDatasetConfig":
        """This output, read as rows of delimited text by a later job; `header` None means that all files have the same."""
        from runtime.api.tabular_output import OutputTabularDatasetConfig

        given = {} if header is None else {"header": header}

        def reading(place: "tuple[NamedDatastore, str]") -> "TabularDataset":
            from runtime.api.tabular_factory import TabularDatasetFactory

            return TabularDatasetFactory.from_delimited_files(
                place,
                validate=False,
                separator=separator,
                include_path=include_path,
                partition_format=partition_format,
                set_column_types=set_column_types,
                **given,
            )

        return OutputTabularDatasetConfig(self, reading, path_glob)

    def read_parquet_files(
        self,
        include_path: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        partition_format: str | None = None,
        path_glob: str | None = None,
        set_column_types: Any = None,
    ) -> "OutputTabularDatasetConfig":
        """This output, read as rows of Parquet by a later job."""
        from runtime.api.tabular_output import OutputTabularDatasetConfig

        def reading(place: "tuple[NamedDatastore, str]") -> "TabularDataset":
            from runtime.api.tabular_factory import TabularDatasetFactory

            return TabularDatasetFactory.from_parquet_files(
                place,
                validate=False,
                include_path=include_path,
                partition_format=partition_format,
                set_column_types=set_column_types,
            )

        return OutputTabularDatasetConfig(self, reading, path_glob)

    def _prefix(self) -> str:
        """Where the last run with this output put its files."""
        run_id: str | None = self._producer.get("run_id")
        if run_id is None:
            raise UserErrorException(f"output '{self.name}' was not produced yet; submit its job, and wait for its end")
        return self._spec.prefix(run_id)

    def _take(self, other: "OutputFileDatasetConfig") -> None:
        """Be the same output as `other`: what its job is told, and which run produced it."""
        self._spec, self._home, self._producer = other._spec, other._home, other._producer  # noqa: SLF001 # of this class

    def _changed(self, **changes: Any) -> Self:
        from dataclasses import replace

        changed = copy.copy(self)
        changed._spec = replace(self._spec, **changes)  # noqa: SLF001 # our own copy
        return changed

    def __repr__(self) -> str:
        mode = self._spec.mode
        return (
            f"OutputFileDatasetConfig(name={self.name!r}, to={self._spec.datastore}/{self._spec.path}, mode={mode!r})"
        )


def _destination(destination: Sequence[Any] | None) -> tuple[str, str]:
    if destination is None:
        return DEFAULT_DATASTORE, DEFAULT_PATH
    if isinstance(destination, str) or len(destination) != 2:
        raise UserErrorException(f"destination {destination!r}: give (datastore, 'path')")
    datastore, path = destination
    name = datastore if isinstance(datastore, str) else getattr(datastore, "name", None)
    if not name:
        raise UserErrorException(f"destination {destination!r}: {datastore!r} is no datastore")
    return str(name), str(path) if path else DEFAULT_PATH
