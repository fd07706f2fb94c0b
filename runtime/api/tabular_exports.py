"""What leaves a tabular dataset: as files, as a dataset in parts, to other libraries, and the files that a column names."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.api.shared_rows import SharedRows
from runtime.api.tabular_rows import TabularRows
from runtime.datasets.tabular.delimited import Delimited
from runtime.datasets.tabular.files import open_files
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from runtime.api.file_dataset import FileDataset
    from runtime.api.mount_context import MountContext
    from runtime.api.tabular_dataset import TabularDataset
    from runtime.datasets.tabular.evaluating import Rows
    from runtime.torch.rows import TorchRows


class TabularExports(TabularRows):
    """Rows that go elsewhere."""

    def to_csv_files(self, separator: str = ",") -> "FileDataset":
        """The rows as files `part-00000.csv`, quoted where needed, in a folder of this machine's."""
        from runtime.datasets.tabular.frames import write_csv

        Delimited(separator)  # refuses what is none
        return self._written(lambda rows, folder: write_csv(rows.schema, rows.batches, folder, separator))

    def to_parquet_files(self) -> "FileDataset":
        """The rows as files `part-00000.parquet` in a folder of this machine's."""
        from runtime.datasets.tabular.frames import write_parquet

        return self._written(lambda rows, folder: write_parquet(rows.schema, rows.batches, folder))

    def export(self, folder: str | os.PathLike[str], form: str) -> int:
        """Write the rows as files of `form` ('parquet' or 'csv') into an empty folder, or one to be made; how many.

        Raises:
            UserErrorException: something lies there, or it is no folder.
        """
        from runtime.datasets.tabular.frames import write_csv, write_parquet

        place = Path(folder)
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UserErrorException(f"{place}: not an empty folder; name one that is, or that is to be made")
        count = 0

        def counted(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
            nonlocal count
            for batch in batches:
                count += batch.num_rows
                yield batch

        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".moorage-", dir=place.parent) as scratch, self._rows() as rows:
            within = Path(scratch) / "rows"
            within.mkdir()
            if form == "csv":
                write_csv(rows.schema, counted(rows.batches), within, ",")
            else:
                write_parquet(rows.schema, counted(rows.batches), within)
            within.replace(place)
        return count

    def partition_by(
        self,
        partition_keys: str | Sequence[str],
        target: object,
        name: str | None = None,
        show_progress: bool = True,  # noqa: FBT001, FBT002 # v1's signature
        partition_as_file_dataset: bool = False,  # noqa: FBT001, FBT002 # as above
    ) -> "TabularDataset | FileDataset":
        """Store the rows below `target` in a folder for each value of the keys; a dataset of them, registered as `name`.

        `target` is a DataPath, a datastore, or (datastore, 'path'); below it is a folder of a new name. The keys' columns
        are read from the folders' names, with the types that they have here. Nothing is stored unless all of it can be.

        Raises:
            UserErrorException: no key, a key twice or not there, or one with a value that no folder can be called.
        """
        from runtime.api.dataset import FileDatasetFactory, target_of
        from runtime.api.tabular_factory import TabularDatasetFactory
        from runtime.datasets.tabular import partitioning

        keys = _checked_keys(partition_keys, self.schema.names)
        datastore, path = target_of(target)
        folder = uuid.uuid4().hex
        types, form = (
            partitioning.key_types(self.schema, keys),
            partitioning.partition_format(self.schema, keys, folder),
        )
        below = "/".join(filter(None, [path.strip("/"), folder]))
        with tempfile.TemporaryDirectory(prefix="moorage-") as scratch:
            with self._rows() as rows:
                partitioning.write(rows.batches, rows.schema, keys, Path(scratch))
            if not any(Path(scratch).iterdir()):
                raise UserErrorException("there are no rows to partition")
            datastore.upload(scratch, below, show_progress=show_progress)
        place = (datastore, f"{below}/**/*.parquet")
        if partition_as_file_dataset:
            files = FileDatasetFactory.from_files(place, partition_format=form)
            return files.register(datastore.workspace, name, create_new_version=True) if name else files
        made = TabularDatasetFactory.from_parquet_files(place, set_column_types=types, partition_format=form)
        made = made.with_timestamp_columns(self.definition.timestamp, self.definition.partition_timestamp)
        return made.register(datastore.workspace, name, create_new_version=True) if name else made

    def to_torch(self, batch_size: int | None = None) -> "TorchRows":
        """An IterableDataset of torch, whose DataLoader's workers share the rows: each row is with one of them.

        Items are rows as dictionaries, or, with `batch_size`, dictionaries of a tensor (of text: a list) of so many rows,
        for `DataLoader(..., batch_size=None)`.

        Raises:
            UserErrorException: torch is not installed.
        """
        _need("torch", "torch")
        from runtime.torch.rows import TorchRows

        return TorchRows(self._shared(), batch_size)

    def to_dask_dataframe(
        self,
        sample_size: int = 10_000,  # noqa: ARG002 # v1's, which guessed types by it
        dtypes: Any = None,
        on_error: str = "null",
        out_of_range_datetime: str = "null",
    ) -> Any:
        """The rows as a frame of dask, a partition a file, read when dask asks; `dtypes` casts columns as pandas does.

        Raises:
            UserErrorException: dask is not installed.
        """
        _need("dask.dataframe", "dask[dataframe]")
        import dask.dataframe as dd

        shares = self._shared()
        count = 1
        if self.definition.paths and not self.definition.counts_rows:
            with open_files(self.folder, self.frozen()) as files:
                count = max(1, len(files))
        frame = dd.from_map(
            shares.to_pandas,
            [(number, count) for number in range(count)],
            meta=self._empty(),
            on_error=on_error,
            out_of_range_datetime=out_of_range_datetime,
        )
        return frame if dtypes is None else frame.astype(dtypes)

    def to_spark_dataframe(self) -> Any:
        """The rows as a frame of the Spark session that is there, or of a new one; all rows pass through this process.

        Raises:
            UserErrorException: pyspark is not installed.
        """
        _need("pyspark.sql", "moorage[spark]")
        from pyspark.sql import SparkSession

        return SparkSession.builder.getOrCreate().createDataFrame(self.to_arrow())

    def download(
        self,
        stream_column: str,
        target_path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        ignore_not_found: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> list[str]:
        """Fetch the files that the rows of `stream_column` name into `target_path` (None: a new temporary folder).

        A value is a URL, a local path, or `AmlDatastore://NAME/PATH`. Returns the files' absolute paths.

        Raises:
            UserErrorException: there is no such column, or it holds no paths.
            NotFoundError: a file is not there, and `ignore_not_found` is False.
        """
        found = self._streams(stream_column, ignore_not_found=ignore_not_found)
        return found.download(target_path, overwrite, ignore_not_found) if found else []

    def mount(self, stream_column: str, mount_point: str | os.PathLike[str] | None = None) -> "MountContext":
        """A context in which the files that `stream_column` names are at `mount_point`; errors as `download`."""
        found = self._streams(stream_column, ignore_not_found=False)
        if found is None:
            raise UserErrorException(f"column '{stream_column}' names no files")
        return found.mount(mount_point)

    def _streams(self, column: str, *, ignore_not_found: bool) -> "FileDataset | None":
        from runtime.api.file_dataset import FileDataset
        from runtime.datasets.file import FileDefinition
        from runtime.datasets.tabular import streams

        paths = streams.paths(self.schema, self.to_batches(), column)
        if ignore_not_found:
            paths = streams.present(self.folder, paths)
        return FileDataset(FileDefinition(paths), self.folder) if paths else None

    def _shared(self) -> SharedRows:
        text = self.definition.to_json()
        if not self.definition.paths:
            return SharedRows(self.folder, text, None, "")
        return SharedRows(self.folder, text, self.frozen().manifest, self.frozen().digest)

    def _empty(self) -> "pd.DataFrame":
        from runtime.datasets.tabular.frames import to_pandas

        frame = to_pandas(self.schema.empty_table(), fails=False)
        if self.definition.timestamp in frame.columns:
            frame.index = frame[self.definition.timestamp].rename(None)
        return frame

    def _written(self, write: "Callable[[Rows, Path], None]") -> "FileDataset":
        from runtime.api.dataset import FileDatasetFactory

        folder = Path(tempfile.mkdtemp(prefix="moorage-"))
        try:
            with self._rows() as rows:
                write(rows, folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
        return FileDatasetFactory.from_files(folder)


def _checked_keys(given: str | Sequence[str], there: Sequence[str]) -> list[str]:
    keys = [given] if isinstance(given, str) else list(given)
    if not keys:
        raise UserErrorException("partition_by needs at least one key")
    if unknown := [key for key in keys if key not in there]:
        raise UserErrorException(f"partition_by: no column {unknown[0]!r}; there are {', '.join(there)}")
    if len(set(keys)) < len(keys):
        raise UserErrorException(f"partition_by: a key stands twice in {keys}")
    if len(keys) == len(there):
        raise UserErrorException("partition_by: every column is a key, and none is left for the files")
    return keys


def _need(module: str, package: str) -> None:
    """See that an optional library is there.

    Raises:
        UserErrorException: it is not.
    """
    import importlib.util

    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise UserErrorException(f"{module.partition('.')[0]} is not installed: pip install '{package}'")
