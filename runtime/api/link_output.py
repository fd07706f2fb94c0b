"""Links: outputs of a job that are datasets the script made, and no files of its own.

The script says `run.output_datasets[name].link(dataset)`. What was linked is written into the output's folder, as the id of
the dataset, and registered by the launcher when the job has succeeded, as any output is.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.api.consumption import Saved
from runtime.api.output import OutputFileDatasetConfig
from runtime.errors import UserErrorException
from runtime.outputs import LINK_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.workspace import WorkspaceFolder


class LinkFileOutputDatasetConfig(OutputFileDatasetConfig):
    """An output that the script fills by `link`; use `register_on_complete` to give the dataset a name."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._spec = self._changed(mode="link").spec

    def produced(self, _: "WorkspaceFolder | None" = None) -> object:  # type: ignore[override] # not known here
        """Not known outside the job.

        Raises:
            UserErrorException: always; says what to use.
        """
        raise UserErrorException(
            f"output '{self.name}' links a dataset; register_on_complete('NAME'), and take (workspace, 'NAME') as the input"
        )


class LinkTabularOutputDatasetConfig(LinkFileOutputDatasetConfig):
    """The same for a tabular dataset: v1 has a name for each kind, and `link` takes either here."""


class OutputFolder(str):
    """The folder of an output, in a job: a path, and for an output that is a link also the place to put it."""

    __slots__ = ("_workspace",)
    _workspace: "Callable[[], WorkspaceFolder]"

    @classmethod
    def of(cls, path: str, workspace: "Callable[[], WorkspaceFolder]") -> "OutputFolder":
        """The folder `path` of a job in the `workspace`, which is asked for when something is linked."""
        folder = cls(path)
        folder._workspace = workspace
        return folder

    def link(self, dataset: object) -> None:
        """Let the output be this dataset.

        Raises:
            UserErrorException: it is none.
        """
        if not isinstance(dataset, Saved):
            raise UserErrorException(f"link({type(dataset).__name__}): give a dataset")
        target = Path(self) / LINK_FILE
        draft = target.with_suffix(".new")
        draft.write_text(dataset.saved_in(self._workspace()).id, "utf-8")
        draft.replace(target)
