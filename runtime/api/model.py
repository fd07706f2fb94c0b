"""Model: v1's face of a model in the workspace's folder. Nothing here serves one."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import models
from runtime.errors import UnknownNameError, UserErrorException
from runtime.models import ModelRecord
from runtime.tracking import marks

if TYPE_CHECKING:
    from runtime.api.file_dataset import FileDataset
    from runtime.api.workspace import Workspace

_NO_SERVICE = "Moorage keeps models and serves none; load the files at Model.get_model_path(name) in a server of yours"


class Model:
    """One version of a model; without `version` the newest."""

    def __init__(  # noqa: PLR0917 # v1's signature
        self,
        workspace: "Workspace",
        name: str | None = None,
        id: str | None = None,  # noqa: A002 # v1's name
        tags: Sequence[Any] | None = None,
        properties: Sequence[Any] | None = None,
        version: int | None = None,
        run_id: str | None = None,
        model_framework: str | None = None,
        expand: bool = True,  # noqa: ARG002, FBT001, FBT002 # v1's signature
        **kwargs: Any,  # noqa: ARG002 # as above
    ) -> None:
        if id is not None:
            name, _, number = id.rpartition(":")
            version = int(number) if number.isdecimal() else version
        if name is None:
            raise UserErrorException("Model(workspace, name): say which model")
        self.workspace = workspace
        if version is not None or not (tags or properties or run_id or model_framework):
            self._record = models.get(workspace.folder, name, version)
            return
        found = Model.list(workspace, name, tags, properties, run_id, model_framework=model_framework)
        if not found:
            raise UnknownNameError(
                f"no version of model '{name}' is what was asked for; Model.list(ws, '{name}') has all"
            )
        self._record = found[0]._record  # noqa: SLF001 # our own

    @classmethod
    def keep(
        cls,
        workspace: "Workspace",
        source: Path,
        name: str,
        *,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        description: str | None = None,
        datasets: Sequence[tuple[str, Any]] | None = None,
        framework: tuple[str | None, str | None] = (None, None),
        run_id: str | None = None,
    ) -> "Model":
        """Register `source` as the next version of the model `name`; what `register` and `Run.register_model` do."""
        record = ModelRecord(
            name,
            0,
            "",
            "",
            description,
            marks.texts("tag", tags or {}),
            marks.texts("property", properties or {}),
            framework[0],
            framework[1],
            run_id,
            [_dataset_link(workspace, each) for each in datasets or ()],
        )
        return cls._of(workspace, models.register(workspace.folder, source, record))

    @classmethod
    def _of(cls, workspace: "Workspace", record: ModelRecord) -> "Model":
        made = cls.__new__(cls)
        made.workspace, made._record = workspace, record  # noqa: SLF001 # our own
        return made

    @staticmethod
    def register(  # noqa: PLR0917 # v1's signature
        workspace: "Workspace",
        model_path: str | os.PathLike[str],
        model_name: str,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        description: str | None = None,
        datasets: Sequence[tuple[str, Any]] | None = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        child_paths: Sequence[str] | None = None,
        sample_input_dataset: Any = None,  # noqa: ARG004 # v1's signature
        sample_output_dataset: Any = None,  # noqa: ARG004 # as above
        resource_configuration: Any = None,  # noqa: ARG004 # as above
        **kwargs: Any,  # noqa: ARG004 # as above
    ) -> "Model":
        """Register a local file or folder as the next version of `model_name`."""
        if child_paths is not None:
            raise UserErrorException("child_paths is not there; register the folder that holds just these files")
        return Model.keep(
            workspace,
            Path(model_path),
            model_name,
            tags=tags,
            properties=properties,
            description=description,
            datasets=datasets,
            framework=(model_framework, model_framework_version),
        )

    @staticmethod
    def list(  # noqa: PLR0917 # v1's signature
        workspace: "Workspace",
        name: str | None = None,
        tags: Sequence[Any] | None = None,
        properties: Sequence[Any] | None = None,
        run_id: str | None = None,
        latest: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        dataset_id: str | None = None,
        expand: bool = True,  # noqa: ARG004, FBT001, FBT002 # as above
        page_count: int = 255,  # noqa: ARG004 # as above
        model_framework: str | None = None,
    ) -> "list[Model]":
        """The versions that every filter lets through; a tag is its key, or [key, value]."""
        found = [
            record
            for record in models.list_all(workspace.folder, name)
            if _has_all(record.tags, tags)
            and _has_all(record.properties, properties)
            and run_id in {None, record.run_id}
            and model_framework in {None, record.framework}
            and (dataset_id is None or dataset_id in {link[1] for link in record.datasets})
        ]
        if latest:
            found = [record for at, record in enumerate(found) if at == 0 or found[at - 1].name != record.name]
        return [Model._of(workspace, record) for record in found]

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: "Workspace | None" = None) -> str:
        """Where the file or folder of a model lies; it is read-only."""
        from runtime.workspace import find

        folder = find() if _workspace is None else _workspace.folder
        return str(models.path_of(folder, models.get(folder, model_name, version)))

    def download(self, target_dir: str | os.PathLike[str] = ".", exist_ok: bool = False, exists_ok: Any = None) -> str:  # noqa: FBT001, FBT002 # v1's signature
        """Copy the file or folder into `target_dir`; return where it is.

        Raises:
            UserErrorException: it is there already, and `exist_ok` is False.
        """
        source = models.path_of(self.workspace.folder, self._record)
        target = Path(target_dir) / source.name
        if target.exists() and not (exist_ok or exists_ok):
            raise UserErrorException(f"{target} is there already; give exist_ok=True to write over it")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target)
        return str(target)

    def add_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""
        self._change(marks.texts("tag", tags))

    def remove_tags(self, tags: Sequence[str]) -> None:
        """Take tags away."""
        self._change(dict.fromkeys(tags))

    def _change(self, tags: Mapping[str, str | None]) -> None:
        self._record = models.change(self.workspace.folder, self.name, self.version, tags)

    @staticmethod
    def deploy(*args: Any, **kwargs: Any) -> None:  # noqa: ARG004 # v1's signature
        """Not there: see the error."""
        raise UserErrorException(_NO_SERVICE)

    @staticmethod
    def package(*args: Any, **kwargs: Any) -> None:  # noqa: ARG004 # v1's signature
        """Not there: see the error."""
        raise UserErrorException(_NO_SERVICE)

    @property
    def datasets(self) -> "dict[str, Sequence[FileDataset]]":
        """What it was registered with: the datasets by what they were for."""
        from runtime.api.dataset import Dataset

        links = self._record.datasets
        return {
            purpose: [Dataset.get_by_id(self.workspace, identifier) for other, identifier in links if other == purpose]
            for purpose, _ in links
        }

    name = property(lambda self: self._record.name, doc="Its name.")
    version = property(lambda self: self._record.version, doc="The number of this version.")
    id = property(lambda self: f"{self._record.name}:{self._record.version}", doc="NAME:VERSION.")
    url = property(lambda self: f"aml://asset/{self.id}", doc="As v1 forms it.")
    description = property(lambda self: self._record.description, doc="What is said of it.")
    tags = property(lambda self: dict(self._record.tags), doc="Its tags.")
    properties = property(lambda self: dict(self._record.properties), doc="Its properties.")
    run_id = property(lambda self: self._record.run_id, doc="The run that it comes from.")
    created_time = property(lambda self: self._record.created, doc="UTC, ISO 8601.")
    model_framework = property(lambda self: self._record.framework, doc="As it was registered.")
    model_framework_version = property(lambda self: self._record.framework_version, doc="As it was registered.")
    path = property(
        lambda self: str(models.path_of(self.workspace.folder, self._record)), doc="Where its file or folder lies."
    )

    def __repr__(self) -> str:
        return f"Model(workspace={self.workspace!r}, name={self.name}, id={self.id}, version={self.version})"


def _dataset_link(workspace: "Workspace", given: Any) -> tuple[str, str]:
    try:
        purpose, dataset = given
    except (TypeError, ValueError):
        raise UserErrorException(f"datasets: {given!r} is no pair ('training', dataset)") from None
    if (saved := getattr(dataset, "saved_in", None)) is None:
        raise UserErrorException(f"datasets: {dataset!r} is no dataset")
    return str(purpose), str(saved(workspace.folder).id)


def _has_all(there: Mapping[str, str], wanted: Sequence[Any] | None) -> bool:
    pairs = [(each, None) if isinstance(each, str) else tuple(each) for each in wanted or ()]
    return all(key in there and value in {None, there[key]} for key, value in pairs)
