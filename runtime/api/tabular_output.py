"""OutputTabularDatasetConfig: an output of a job, read as rows by a later job.

It is the output itself, with how its files are to be read and what of their columns is wanted; nothing is read before the
job that takes it as an input is submitted. Files go the way of the output, whatever reads them later.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from runtime.api.consumption import DatasetConsumptionConfig
from runtime.api.output import OutputFileDatasetConfig

if TYPE_CHECKING:
    from runtime.api.tabular_dataset import TabularDataset
    from runtime.workspace import WorkspaceFolder


@dataclass(frozen=True, slots=True)
class NamedDatastore:
    """A datastore of the workspace that the job ran in."""

    name: str
    folder: "WorkspaceFolder | None"

    @property
    def workspace(self) -> "NamedDatastore":
        """What has the workspace's folder."""
        return self


Reading = Callable[[tuple[NamedDatastore, str]], "TabularDataset"]


class OutputTabularDatasetConfig(OutputFileDatasetConfig):
    """Made by `OutputFileDatasetConfig.read_delimited_files` and `read_parquet_files`."""

    def __init__(self, output: OutputFileDatasetConfig, reading: Reading, path_glob: str | None) -> None:
        super().__init__(output.name)
        self._take(output)
        self._reading, self._glob, self._suffix = reading, path_glob or "**", ""

    @property
    def name(self) -> str:
        """The name of the output; of a half of it, with `_1` or `_2` behind."""
        return self.spec.name + self._suffix

    def keep_columns(self, columns: str | Sequence[str]) -> Self:
        """Only these columns."""
        return self._then(lambda rows: rows.keep_columns(columns))

    def drop_columns(self, columns: str | Sequence[str]) -> Self:
        """All but these columns."""
        return self._then(lambda rows: rows.drop_columns(columns))

    def random_split(self, percentage: float, seed: int | None = None) -> tuple[Self, Self]:
        """Two disjoint halves, the first with about `percentage` (0 to 1) of the rows; `_1` and `_2` by name."""
        seed = seed if seed is not None else uuid.uuid4().int & 0x7FFFFFFF  # one for both halves
        halves = [self._then(lambda rows, part=part: rows.random_split(percentage, seed)[part]) for part in (0, 1)]  # type: ignore[misc]
        for number, half in enumerate(halves, 1):
            half._suffix = f"{self._suffix}_{number}"  # noqa: SLF001 # our own copy
        return halves[0], halves[1]

    def as_input(self, name: str | None = None) -> DatasetConsumptionConfig:
        """What this output will hold, as rows (mode direct) for a job that is submitted after its own has completed."""
        return DatasetConsumptionConfig(name or f"input__{uuid.uuid4().hex[:8]}", self, "direct")

    def produced(self, folder: "WorkspaceFolder | None" = None) -> "TabularDataset":  # type: ignore[override] # rows instead of files
        """The rows that the last run with this output left in the store; errors as its files have them."""
        return self._reading((NamedDatastore(self.spec.datastore, folder), self._prefix() + self._glob))

    def _then(self, step: "Callable[[TabularDataset], TabularDataset]") -> Self:
        before = self._reading
        changed = self._changed()
        changed._reading = lambda paths: step(before(paths))  # noqa: SLF001 # our own copy
        return changed
