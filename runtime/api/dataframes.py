"""Frames of pandas, dask and Spark as tabular datasets: parquet in a datastore, registered as a new version."""

import logging
import os
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.api.dataset import target_of
from runtime.api.tabular_factory import TabularDatasetFactory
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    import pandas as pd

    from runtime.api.tabular_dataset import TabularDataset

_LOG = logging.getLogger(__name__)
_FILE: Final = "dataframe.parquet"


def register_pandas_dataframe(
    dataframe: "pd.DataFrame",
    target: object,
    name: str,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    show_progress: bool = True,  # noqa: FBT001, FBT002 # v1's signature
    row_group_size: int | None = None,
    make_target_path_unique: bool = True,  # noqa: FBT001, FBT002 # as above
) -> "TabularDataset":
    """Store `dataframe` at `target` (DataPath, datastore, or (datastore, 'path')) and register it as a version of `name`.

    The index is left out. Without `make_target_path_unique` the file lies at the path itself, and replaces one there.

    Raises:
        UserErrorException: it is no frame, or a column holds lists, arrays or what no column of a table can hold.
    """
    datastore, path = target_of(target)
    folder = "/".join(filter(None, [path or "managed-dataset", uuid.uuid4().hex if make_target_path_unique else ""]))
    with tempfile.TemporaryDirectory(prefix="moorage-") as scratch:
        file = Path(scratch) / _FILE
        _write(dataframe, file, row_group_size)
        datastore.upload_files([file], scratch, folder, not make_target_path_unique, show_progress)
    made = TabularDatasetFactory.from_parquet_files((datastore, f"{folder}/{_FILE}"))
    return made.register(datastore.workspace, name, description, tags, create_new_version=True)


def register_dask_dataframe(
    dataframe: Any,
    target: object,
    name: str,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    show_progress: bool = True,  # noqa: FBT001, FBT002 # v1's signature
) -> "TabularDataset":
    """Store a frame of dask, a file a partition, and register it; as `register_pandas_dataframe` otherwise."""
    if not hasattr(dataframe, "to_parquet") or not hasattr(dataframe, "npartitions"):
        raise UserErrorException(f"{type(dataframe).__name__} is no DataFrame of dask")

    def write(folder: Path) -> None:
        dataframe.to_parquet(os.fspath(folder), write_index=False, write_metadata_file=False)

    return _stored(write, target, name, description, tags, show_progress=show_progress)


def register_spark_dataframe(
    dataframe: Any,
    target: object,
    name: str,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    show_progress: bool = True,  # noqa: FBT001, FBT002 # v1's signature
) -> "TabularDataset":
    """Store a frame of Spark (4.0 or newer), which passes through this process, and register it; as the others."""
    if not hasattr(dataframe, "toArrow"):
        raise UserErrorException(f"{type(dataframe).__name__} is no DataFrame of Spark 4.0 or newer")

    def write(folder: Path) -> None:
        import pyarrow.parquet as pq

        pq.write_table(dataframe.toArrow(), folder / _FILE)

    return _stored(write, target, name, description, tags, show_progress=show_progress)


def _stored(
    write: Callable[[Path], None],
    target: object,
    name: str,
    description: str | None,
    tags: Mapping[str, str] | None,
    *,
    show_progress: bool,
) -> "TabularDataset":
    """Upload what `write` makes in a folder, and register it."""
    datastore, path = target_of(target)
    below = "/".join([path.strip("/") or "managed-dataset", uuid.uuid4().hex])
    with tempfile.TemporaryDirectory(prefix="moorage-") as scratch:
        write(Path(scratch))
        datastore.upload(scratch, below, show_progress=show_progress)
    made = TabularDatasetFactory.from_parquet_files((datastore, f"{below}/**/*.parquet"))
    return made.register(datastore.workspace, name, description, tags, create_new_version=True)


def _write(frame: Any, file: Path, row_group_size: int | None) -> None:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not isinstance(frame, pd.DataFrame):
        raise UserErrorException(f"{type(frame).__name__} is no DataFrame of pandas")
    names = [str(name).replace(".", "_") for name in frame.columns]
    if changed := [str(name) for name in frame.columns if "." in str(name)]:
        _LOG.warning("columns with a '.' are registered with a '_' in its place: %s", ", ".join(changed))
    if doubled := [name for name in names if names.count(name) > 1]:
        raise UserErrorException(f"more than one column is called '{doubled[0]}'; rename it")
    try:
        table = pa.Table.from_pandas(frame.set_axis(names, axis=1), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UserErrorException(f"the frame is no table: {' '.join(str(error).split())}") from None
    for field in table.schema:
        if pa.types.is_nested(field.type):
            raise UserErrorException(f"column '{field.name}' holds {field.type}; a column holds single values")
    pq.write_table(table.replace_schema_metadata(), file, row_group_size=row_group_size)
