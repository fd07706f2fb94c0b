"""Dataset: v1's face of a workspace's datasets, and the factories of new ones."""

import fnmatch
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.api.file_dataset import FileDataset
from runtime.api.registered import folder_in, folder_of, validating
from runtime.api.tabular_dataset import TabularDataset
from runtime.api.tabular_factory import TabularDatasetFactory
from runtime.catalog import DatasetRecord, open_catalog
from runtime.datasets import contents
from runtime.datasets.file import FileDefinition
from runtime.datasets.partition import parse_partition_format
from runtime.datasets.paths import PathArgument, parse_all
from runtime.datasets.tabular.definition import TabularDefinition, is_tabular
from runtime.errors import DatasetValidationError, UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from runtime.api.data_path import DataReference
    from runtime.api.datastore import Datastore
    from runtime.api.workspace import Workspace

__all__ = ["Dataset", "FileDataset", "FileDatasetFactory"]


class FileDatasetFactory:
    """`Dataset.File`."""

    @staticmethod
    def from_files(
        path: "PathArgument | Sequence[PathArgument]",
        validate: bool = True,  # noqa: FBT001, FBT002 # v1's signature
        partition_format: str | None = None,
        is_file: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> FileDataset:
        """A dataset of the files at `path`: a URL, a DataPath, (datastore, 'path'), a local path, or a list of these.

        As in v1 nothing is contacted without a `partition_format`; with one, `validate` freezes the files and sees that it
        fits the first of them. `is_file` says that no path is a folder; it need not be said, the store knows.

        Raises:
            UserErrorException: a path breaks the grammar; the message names it.
            DatasetValidationError: the partition format does, or does not fit.
        """
        paths = parse_all(path)
        if is_file and (folders := [each for each in paths if str(each).endswith("/") or "*" in str(each)]):
            raise UserErrorException(
                f"{folders[0]} is no single file, and is_file=True says so; leave one of the two out"
            )
        if partition_format is not None:
            parse_partition_format(partition_format)
        dataset = FileDataset(FileDefinition(paths, partition_format), folder_in(path))
        if validate and partition_format is not None:
            with validating():
                _check_partition(dataset)
        return dataset

    @staticmethod
    def upload_directory(
        src_dir: str | os.PathLike[str],
        target: object,
        pattern: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        show_progress: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> FileDataset:
        """Store the files below `src_dir` at `target` (DataPath, datastore, or (datastore, 'path')); a dataset of them.

        `pattern` is matched, as `fnmatch` does, with each file's absolute path.

        Raises:
            UserErrorException: no such folder, nothing matches, `target` is no place, or as `Datastore.upload`.
        """
        return FileDatasetFactory.from_files(_upload_directory(src_dir, target, pattern, overwrite, show_progress))


class Dataset:
    """The datasets of a workspace, and the factories of new ones; what is got is a FileDataset or a TabularDataset."""

    File = FileDatasetFactory
    Tabular = TabularDatasetFactory

    @staticmethod
    def get_by_name(workspace: "Workspace", name: str, version: int | str = "latest") -> Any:
        """A registered dataset, of files or tabular; `version` is a number or 'latest'.

        Raises:
            UnknownNameError: there is no such dataset or version.
        """
        folder = folder_of(workspace)
        if not name or type(name) is not str:
            raise UserErrorException(f"{name!r} is no name of a dataset; see Dataset.get_all(workspace)")
        with open_catalog(folder) as catalog:
            return _registered(folder, catalog.get(name, version))

    @staticmethod
    def get_by_id(workspace: "Workspace", id: str) -> Any:  # noqa: A002 # v1's name
        """The dataset with this GUID."""
        folder = folder_of(workspace)
        with open_catalog(folder) as catalog:
            return _registered(folder, catalog.get_by_id(str(id)))

    @staticmethod
    def get_all(workspace: "Workspace") -> Mapping[str, Any]:
        """The latest version of every dataset by name; read when asked for."""
        folder_of(workspace)
        return workspace.datasets

    @staticmethod
    def get(workspace: "Workspace", name: str | None = None, id: str | None = None) -> Any:  # noqa: A002 # v1's name
        """The dataset of this name, or of this id; the form of v1 that `get_by_name` replaced."""
        return Dataset.get_by_id(workspace, id) if id is not None else Dataset.get_by_name(workspace, str(name or ""))

    @staticmethod
    def list(workspace: "Workspace") -> Sequence[Any]:
        """The latest version of every dataset; the form of v1 that `get_all` replaced."""
        return [*Dataset.get_all(workspace).values()]


def _upload_directory(
    src_dir: str | os.PathLike[str],
    target: object,
    pattern: str | None,
    overwrite: bool,  # noqa: FBT001 # as v1's
    show_progress: bool,  # noqa: FBT001 # as v1's
) -> "DataReference":
    """What `Dataset.File.upload_directory` stores; where it is."""
    datastore, path = target_of(target)
    if pattern is None:
        return datastore.upload(src_dir, path, overwrite, show_progress)
    root = Path(src_dir).absolute()
    if not root.is_dir():
        raise UserErrorException(f"{src_dir}: no such folder to upload")
    files = sorted(each for each in root.rglob("*") if each.is_file() and fnmatch.fnmatch(each.as_posix(), pattern))
    if not files:
        raise UserErrorException(f"{src_dir}: no file's absolute path matches {pattern!r}; begin the pattern with '*'")
    return datastore.upload_files(files, root, path, overwrite, show_progress)


def target_of(target: object) -> "tuple[Datastore, str]":
    """The datastore and the path that an upload's target names."""
    from runtime.api.data_path import DataPath, DataReference
    from runtime.api.datastore import Datastore

    if isinstance(target, Datastore):
        return target, ""
    if isinstance(target, tuple) and len(target) == 2 and isinstance(target[0], Datastore):
        return target[0], str(target[1] or "")
    if isinstance(target, DataPath | DataReference):
        return target.datastore, target.path_on_datastore or ""
    raise UserErrorException(
        f"{type(target).__name__} is no target; give a DataPath, a datastore, or (datastore, 'path')"
    )


def _check_partition(dataset: FileDataset) -> None:
    partition = dataset.definition.partition
    first = contents.first(dataset.frozen().manifest)
    if partition is not None and first is not None and not partition.matches(first.place):
        raise DatasetValidationError(
            f"partition_format {partition.text!r} does not fit {first.place!r}; mend it, or use validate=False"
        )


def _registered(folder: WorkspaceFolder, record: DatasetRecord) -> "FileDataset | TabularDataset":
    if is_tabular(record.definition):
        return TabularDataset(TabularDefinition.from_json(record.definition), folder, record)
    return FileDataset(FileDefinition.from_json(record.definition), folder, record)
