"""What a labelled dataset is: a file of Azure ML's JSON Lines, the task of its labels, and steps on its rows.

A small document in the catalog, as the other kinds have. The steps are those of File datasets: a row is drawn by the
name of its image, so a split stays what it is when lines are sorted anew.
"""

import json
from dataclasses import dataclass
from typing import Final

from runtime.datasets import steps
from runtime.datasets.paths import DatasetPath
from runtime.datasets.steps import Candidate, Step
from runtime.errors import DatasetValidationError

_FORMAT: Final = 1
KIND: Final = "labelled"


@dataclass(frozen=True, slots=True)
class Row(Candidate):
    """A line of the file; `path` is its item's name, `inode` the line's number."""

    line: bytes


@dataclass(frozen=True, slots=True)
class LabelledDefinition:
    """The whole of it; `task` is v1's word."""

    paths: tuple[DatasetPath, ...]
    task: str
    steps: tuple[Step, ...] = ()

    def to_json(self) -> str:
        """The document; equal definitions give equal text."""
        paths, taken = [path.to_document() for path in self.paths], [step.to_json() for step in self.steps]
        return json.dumps({"version": _FORMAT, "type": KIND, "paths": paths, "task": self.task, "steps": taken})

    @classmethod
    def from_json(cls, text: str) -> "LabelledDefinition":
        """The inverse of `to_json`.

        Raises:
            DatasetValidationError: another kind of dataset, or one of a newer version of Moorage.
        """
        try:
            told = json.loads(text)
            known = {"version", "type", "paths", "task", "steps"}
            if (told["version"], told["type"]) != (_FORMAT, KIND) or told.keys() != known:
                raise DatasetValidationError(
                    "the dataset was registered by a newer Moorage; install that version to read it"
                )
            paths = tuple(DatasetPath(**path) for path in told["paths"])
            return cls(paths, str(told["task"]), tuple(map(steps.from_json, told["steps"])))
        except (ValueError, TypeError, KeyError):
            raise DatasetValidationError(
                "the dataset's definition in the catalog is damaged; register it again"
            ) from None


def is_labelled(text: str) -> bool:
    """Whether the definition `text` is of a labelled dataset."""
    try:
        return bool(json.loads(text)["type"] == KIND)
    except (ValueError, TypeError, KeyError):
        return False
