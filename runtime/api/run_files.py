"""RunFiles: the part of v1's Run that keeps files, gives them back, and registers models from them."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from runtime.errors import UnknownNameError, UserErrorException
from runtime.tracking import files

if TYPE_CHECKING:
    from runtime.api.model import Model
    from runtime.api.workspace import Workspace


class RunFiles:
    """A run that has files; whoever derives from it says in which folder they lie."""

    id: str

    @property
    def _folder(self) -> Path:
        raise NotImplementedError

    def _before_writing(self) -> None:
        """Called before anything is kept with the run."""

    def _logs(self) -> dict[str, Path]:
        """The run's logs by the name that v1 gives them."""
        raise NotImplementedError

    def _model_workspace(self) -> "Workspace":
        raise NotImplementedError

    def upload_file(self, name: str, path_or_stream: Any, datastore_name: str | None = None) -> None:
        """Keep a copy of a file or stream with the run, as `name`.

        Raises:
            UserErrorException: the name is taken, or none; there is no such file.
        """
        _refuse_datastore(datastore_name)
        source = path_or_stream if hasattr(path_or_stream, "read") else Path(path_or_stream)
        if isinstance(source, Path) and not source.is_file():
            raise UserErrorException(f"upload_file {name!r}: no file {str(source)!r} here ({Path.cwd()})")
        self._before_writing()
        files.add(self._folder, name, source)

    def upload_files(
        self,
        names: Sequence[str],
        paths: Sequence[Any],
        return_artifacts: bool = False,  # noqa: ARG002, FBT001, FBT002 # v1's signature
        timeout_seconds: int | None = None,  # noqa: ARG002 # as above
        datastore_name: str | None = None,
    ) -> None:
        """As `upload_file`, for each name and path."""
        if len(names) != len(paths):
            raise UserErrorException(
                f"upload_files: {len(names)} names and {len(paths)} paths; give a path for each name"
            )
        for name, path in zip(names, paths, strict=True):
            self.upload_file(name, path, datastore_name)

    def upload_folder(self, name: str, path: Any, datastore_name: str | None = None) -> None:
        """Keep a copy of every file below the folder `path`, below `name`."""
        _refuse_datastore(datastore_name)
        folder = Path(path)
        if not folder.is_dir():
            raise UserErrorException(f"upload_folder {name!r}: no folder {str(path)!r} here ({Path.cwd()})")
        self._before_writing()
        for each in sorted(found for found in folder.rglob("*") if found.is_file()):
            files.add(self._folder, f"{name}/{each.relative_to(folder).as_posix()}", each)

    def get_file_names(self) -> list[str]:
        """The run's files, its logs included, in order."""
        return sorted({*files.names(self._folder), *self._logs()})

    def download_file(
        self,
        name: str,
        output_file_path: Any = None,
        _validate_checksum: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> None:
        """Copy a file of the run to `output_file_path`: a file, or a folder that is there; by default the current one."""
        target = Path(output_file_path or ".")
        if target.is_dir() or str(output_file_path or "").endswith("/"):
            target /= Path(str(name)).name
        _copy(self._find(name), target)

    def download_files(
        self,
        prefix: str | None = None,
        output_directory: Any = None,
        output_paths: Sequence[Any] | None = None,
        batch_size: int = 100,  # noqa: ARG002 # v1's signature
        append_prefix: bool | None = None,  # noqa: FBT001 # as above
        timeout_seconds: int | None = None,  # noqa: ARG002 # as above
    ) -> None:
        """Copy the files whose names begin with `prefix` into `output_directory`, or each to its own of `output_paths`."""
        found = [name for name in self.get_file_names() if name.startswith(prefix or "")]
        if output_paths is not None:
            if len(output_paths) != len(found):
                raise UserErrorException(f"download_files: {len(output_paths)} output_paths for {len(found)} files")
            targets = [Path(path) for path in output_paths]
        else:
            cut = prefix if prefix and append_prefix is False else ""
            targets = [
                Path(output_directory or ".") / (name.removeprefix(cut).lstrip("/") or Path(name).name)
                for name in found
            ]
        for name, target in zip(found, targets, strict=True):
            _copy(self._find(name), target)

    def register_model(  # noqa: PLR0917 # v1's signature
        self,
        model_name: str,
        model_path: str | None = None,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        description: str | None = None,
        datasets: Sequence[tuple[str, Any]] | None = None,
        sample_input_dataset: Any = None,  # noqa: ARG002 # v1's signature
        sample_output_dataset: Any = None,  # noqa: ARG002 # as above
        resource_configuration: Any = None,  # noqa: ARG002 # as above
        **kwargs: Any,  # noqa: ARG002 # as above
    ) -> "Model":
        """Register a file or folder of the run as the next version of a model; `model_path` None is its name.

        In a job, a file that the script has written and not uploaded yet is taken from where it lies.

        Raises:
            UnknownNameError: the run has no such file.
        """
        from runtime.api.model import Model

        return Model.keep(
            self._model_workspace(),
            self._model_source(model_path or model_name),
            model_name,
            tags=tags,
            properties=properties,
            description=description,
            datasets=datasets,
            framework=(model_framework, model_framework_version),
            run_id=self.id,
        )

    def _model_source(self, name: str) -> Path:
        try:
            return files.find(self._folder, name)
        except UnknownNameError:
            if os.environ.get("AZUREML_RUN_ID") == self.id and Path(name).exists():
                return Path(name)
            raise

    def _find(self, name: str) -> Path:
        return self._logs().get(str(name)) or files.find(self._folder, name)


def _refuse_datastore(name: str | None) -> None:
    if name is not None:
        raise UserErrorException("files of a run lie in the workspace's folder; leave datastore_name out")


def _copy(source: "Path | BinaryIO", target: Path) -> None:
    if isinstance(source, Path) and source.is_dir():
        raise UserErrorException(f"{source.name} is a folder of files; use download_files(prefix=...)")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)  # type: ignore[arg-type] # a path, as checked
