"""LabeledDataset: v1's face of labels, and `Dataset.Labeled`, which makes it.

As a FileDataset it is a definition until its file is asked for, and stays with what it first saw. Rows are read one by
one, and each is looked at: one that is wrong is an error with its line's number. What `take`, `skip` and splits give
shares the frozen file.
"""

import dataclasses
import enum
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.api.mount_context import MountContext
from runtime.api.registered import RegisteredDataset, folder_in, folder_of
from runtime.catalog import DatasetRecord
from runtime.datasets import file, steps
from runtime.datasets.file import FileDefinition, FrozenDataset
from runtime.datasets.labelled import LabelledDefinition
from runtime.datasets.paths import PathArgument, parse_all
from runtime.datasets.steps import Step
from runtime.errors import UserErrorException
from runtime.labels import bringing, rows
from runtime.labels.rows import LabelledRow
from runtime.labels.values import Task
from runtime.workspace import WorkspaceFolder, find

if TYPE_CHECKING:
    import pandas as pd

    from runtime.api.consumption import DatasetConsumptionConfig
    from runtime.api.workspace import Workspace
    from runtime.torch.images import LabelledImages

_IMAGE: Final = "image_url"
_COLUMNS: Final = ("image_url", "text", "label", "label_confidence", "image_details")


class LabeledDatasetTask(enum.StrEnum):
    """v1's tasks; those of texts are new here, and go by their names."""

    IMAGE_CLASSIFICATION = Task.IMAGE_CLASSIFICATION.value
    IMAGE_MULTI_LABEL_CLASSIFICATION = Task.IMAGE_MULTI_LABEL_CLASSIFICATION.value
    OBJECT_DETECTION = Task.OBJECT_DETECTION.value
    IMAGE_INSTANCE_SEGMENTATION = Task.IMAGE_INSTANCE_SEGMENTATION.value


class FileHandlingOption(enum.Enum):
    """What `to_pandas_dataframe` does about the images."""

    DOWNLOAD = 0
    MOUNT = 1
    NONE = 2


class LabeledDataset(RegisteredDataset):
    """Images, or texts, and their labels; rows of one file."""

    def __init__(
        self,
        definition: LabelledDefinition,
        folder: WorkspaceFolder | None = None,
        record: DatasetRecord | None = None,
        origin: "LabeledDataset | None" = None,
    ) -> None:
        super().__init__(folder, record)
        self.definition = definition
        self._origin = origin  # whose rows these are a part of
        self._frozen: FrozenDataset | None = None
        self._mounts: list[MountContext] = []

    @property
    def label(self) -> dict[str, str]:
        """The column of the labels, and the task that they are of."""
        return {"column": "label", "type": self.definition.task}

    @property
    def image(self) -> dict[str, str] | None:
        """The column of the images; None where the items are texts."""
        return {"column": _IMAGE} if Task(self.definition.task).is_of_images else None

    @property
    def labels(self) -> list[str]:
        """The classes that its labels name, sorted; reads all rows."""
        return sorted({label.name for row in self.rows() for label in row.item.labels})

    def rows(self) -> Iterator[LabelledRow]:
        """The rows, read as they are asked for.

        Raises:
            DatasetValidationError: a line is no item of the task.
        """
        return rows.read(self.folder, self.frozen(), self.definition)

    def to_pandas_dataframe(
        self,
        file_handling_option: FileHandlingOption = FileHandlingOption.NONE,
        target_path: str | os.PathLike[str] | None = None,
        overwrite_download: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> "pd.DataFrame":
        """All rows as a frame; DOWNLOAD and MOUNT bring the images below `target_path` (None: a new temporary folder).

        `image_url` is then an image's path on this machine. A mount lasts until `unmount`, or as long as this process.

        Raises:
            DatasetValidationError: a row is no item, or its image is not there.
            UserErrorException: the option is none, or another file is in the way.
        """
        import pandas as pd

        if not isinstance(file_handling_option, FileHandlingOption):
            raise UserErrorException(f"{file_handling_option!r}: use FileHandlingOption.NONE, DOWNLOAD or MOUNT")
        told = [row.told for row in self.rows()]
        names = dict.fromkeys(name for row in told for name in row)
        always = (_IMAGE if self.image else "text", "label")
        first = [name for name in _COLUMNS if name in names or name in always]
        frame = pd.DataFrame(told, columns=[*first, *(name for name in names if name not in first)])
        if file_handling_option is not FileHandlingOption.NONE and self.image is not None:
            target = self._bring(frame[_IMAGE], file_handling_option, target_path, overwrite=overwrite_download)
            frame[_IMAGE] = [bringing.local(target, name) for name in frame[_IMAGE]]
        return frame

    def _bring(
        self, names: Any, option: FileHandlingOption, target_path: str | os.PathLike[str] | None, *, overwrite: bool
    ) -> Path:
        found = bringing.find(self.folder, names)
        target = Path(target_path or tempfile.mkdtemp(prefix="moorage-")).absolute()
        for images in found:
            if option is FileHandlingOption.DOWNLOAD:
                bringing.download(self.folder, images, target, overwrite=overwrite)
                continue
            mount = MountContext(images.frozen, images.below(target), images.datastore)
            mount.start()
            self._mounts.append(mount)
        return target

    def to_torchvision(self) -> "LabelledImages":
        """The images and labels as torch's DataLoader takes them; all rows are read now, an image when it is asked for.

        Raises:
            UserErrorException: the items are texts, or an image is on no datastore.
            DatasetValidationError: a row is no item, or its image is not there.
        """
        from runtime.torch import images

        return images.made(self.folder, Task(self.definition.task), self.rows())

    def unmount(self) -> None:
        """End the mounts that `to_pandas_dataframe` made; new here, v1 left them."""
        while self._mounts:
            self._mounts.pop().stop()

    def take(self, count: int) -> "LabeledDataset":
        """The first `count` rows."""
        return self._then(steps.Take(steps.check_count(count)))

    def skip(self, count: int) -> "LabeledDataset":
        """All rows but the first `count`."""
        return self._then(steps.Skip(steps.check_count(count)))

    def take_sample(self, probability: float, seed: int | None = None) -> "LabeledDataset":
        """Each row with this probability; the same `seed` gives the same rows, None draws one."""
        return self._then(steps.Sample(steps.check_share(probability, "probability"), steps.settled_seed(seed)))

    def random_split(self, percentage: float, seed: int | None = None) -> "tuple[LabeledDataset, LabeledDataset]":
        """About `percentage` (0 to 1) of the rows, and all the others; `seed` as in `take_sample`."""
        share, drawn = steps.check_share(percentage, "percentage"), steps.settled_seed(seed)
        first, second = (self._then(steps.Split(share, drawn, rest)) for rest in (False, True))
        return first, second

    def register(
        self,
        workspace: "Workspace",
        name: str,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        create_new_version: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> "LabeledDataset":
        """Register what this dataset has seen, or sees now; returns the registered version, this object stays as it is.

        Raises:
            UserErrorException: `name` exists and `create_new_version` is False, or a version of it is exactly this.
            MountdError: nothing is there, or a store refuses or cannot be reached.
        """
        folder = folder_of(workspace)
        record = file.register(
            folder,
            name,
            self.definition,
            description=description,
            tags=tags,
            create_new_version=create_new_version,
            frozen=self.frozen(),
        )
        return LabeledDataset(self.definition, folder, record)

    def as_named_input(self, name: str) -> "DatasetConsumptionConfig":
        """This dataset as the input `name` of a job, which gets it by `run.input_datasets[name]`."""
        from runtime.api.consumption import DatasetConsumptionConfig

        return DatasetConsumptionConfig(name, self)

    def saved_in(self, folder: WorkspaceFolder) -> DatasetRecord:
        """The catalog's record of this dataset in the workspace `folder`; saved there without a name if it has none."""
        if self._record is None or (self._folder is not None and self._folder != folder):
            record = file.save(folder, self.definition, frozen=self.frozen())
            self._folder, self._record, self._frozen = folder, record, None
        return self._record

    def frozen(self) -> FrozenDataset:
        """The manifest of its file; made on first use."""
        if self._frozen is None:
            if self._origin is not None and self._record is None:
                self._frozen = self._origin.frozen()
            elif self._record is None:
                self._frozen = file.freeze_definition(self.folder, FileDefinition(self.definition.paths))
            else:
                self._frozen = file.open_record(self.folder, self._record)
        return self._frozen

    @property
    def folder(self) -> WorkspaceFolder:
        """The workspace folder that it belongs to: its datastore's, or the one that this process finds."""
        self._folder = self._folder or find()
        return self._folder

    def _then(self, step: Step) -> "LabeledDataset":
        definition = dataclasses.replace(self.definition, steps=(*self.definition.steps, step))
        return LabeledDataset(definition, self._folder, origin=self)

    def __repr__(self) -> str:
        task, path = self.definition.task, self.definition.paths[0]
        return f"LabeledDataset(id={self.id!r}, name={self.name!r}, version={self.version!r}, task={task}, path={path})"


class LabeledDatasetFactory:
    """`Dataset.Labeled`."""

    @staticmethod
    def from_json_lines(
        path: PathArgument,
        task: str,
        validate: bool = True,  # noqa: FBT001, FBT002 # v1's signature
    ) -> LabeledDataset:
        """A dataset of the labels in one file of JSON Lines; `validate` reads all of it now, `task` is a LabeledDatasetTask.

        Raises:
            UserErrorException: more than one path, or no task.
            DatasetValidationError: with `validate`, a line is no item of the task; the message has its number.
        """
        paths = parse_all(path)
        if len(paths) != 1:
            raise UserErrorException(f"{len(paths)} paths; a labelled dataset is one file of JSON Lines")
        if task not in set(Task):
            raise UserErrorException(f"{task!r} is no task; use LabeledDatasetTask, or one of {', '.join(Task)}")
        dataset = LabeledDataset(LabelledDefinition(paths, str(Task(task))), folder_in(path))
        if validate:
            for _ in dataset.rows():
                pass
        return dataset
