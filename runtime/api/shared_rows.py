"""The rows of a frozen tabular dataset for several processes: each asks for its share, and opens the files by itself.

It holds names and a digest and no secret, so it may be pickled; a process that it reaches looks the credentials up in the
workspace, as the first one did.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import pyarrow as pa

    from runtime.api.tabular_dataset import TabularDataset


@dataclass(frozen=True, slots=True)
class SharedRows:
    """The rows that a definition's text says, of a `manifest` (a query has none), in the workspace `folder`."""

    folder: WorkspaceFolder
    definition: str
    manifest: Path | None
    digest: str

    def batches(self, number: int, count: int) -> "Iterator[pa.RecordBatch]":
        """The share `number` of `count`: files, or batches where rows must be counted; errors as reading raises them."""
        return self._dataset().to_batches(share=(number, count))

    def to_pandas(
        self, share: tuple[int, int], on_error: str = "null", out_of_range_datetime: str = "null"
    ) -> "pd.DataFrame":
        """A share as a frame of pandas."""
        return self._dataset()._to_pandas(on_error, out_of_range_datetime, share)  # noqa: SLF001 # our own

    def _dataset(self) -> "TabularDataset":
        from runtime.api.tabular_dataset import TabularDataset
        from runtime.datasets.file import FrozenDataset, adopt
        from runtime.datasets.tabular.definition import TabularDefinition

        made = TabularDataset(TabularDefinition.from_json(self.definition), self.folder)
        if not made.definition.paths:
            return made
        known = FrozenDataset(self.manifest or Path(), self.digest, {}, None, 0, 0, frozenset())
        made._frozen = adopt(self.folder, made.definition, known)  # noqa: SLF001 # our own
        return made
