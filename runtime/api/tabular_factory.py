"""`Dataset.Tabular`: the factories of tabular datasets, with v1's names and defaults."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runtime.api.data_type import PromoteHeadersBehavior, checked_types
from runtime.api.tabular_dataset import TabularDataset
from runtime.datasets.partition import parse_partition_format
from runtime.datasets.paths import PathArgument, parse_all
from runtime.datasets.tabular.definition import JsonLines, Parquet, Query, Source, TabularDefinition
from runtime.datasets.tabular.delimited import Delimited, Header
from runtime.errors import UserErrorException

_OF_PATH: Final = ("datastore", "path_on_datastore")
_HEADERS: Final = {
    "NO_HEADERS": Header.NO_HEADERS,
    "ONLY_FIRST_FILE_HAS_HEADERS": Header.ONLY_FIRST,
    "COMBINE_ALL_FILES_HEADERS": Header.COMBINE,
    "ALL_FILES_HAVE_SAME_HEADERS": Header.ALL_SAME,
}


class TabularDatasetFactory:
    """Makes tabular datasets. A path is a URL, a DataPath, (datastore, 'path'), a local path, or a list of these."""

    @staticmethod
    def from_delimited_files(  # noqa: PLR0917 # v1's signature
        path: "PathArgument | Sequence[PathArgument]",
        validate: bool = True,  # noqa: FBT001, FBT002 # v1's signature, here and below
        include_path: bool = False,  # noqa: FBT001, FBT002
        infer_column_types: bool = True,  # noqa: FBT001, FBT002
        set_column_types: Mapping[str, Any] | None = None,
        separator: str = ",",
        header: bool | str | PromoteHeadersBehavior = True,  # noqa: FBT001, FBT002
        partition_format: str | None = None,
        support_multi_line: bool = False,  # noqa: FBT001, FBT002
        empty_as_string: bool = False,  # noqa: FBT001, FBT002
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Rows of delimited text. `validate` reads the first rows now.

        Raises:
            DatasetValidationError: the files are not what the arguments say, or the partition format breaks a rule.
            UserErrorException: an argument is none of those that there are.
        """
        source = Delimited(
            separator=separator,
            header=_header(header),
            encoding=encoding,
            multi_line=support_multi_line,
            empty_as_string=empty_as_string,
            infer=infer_column_types,
            types=checked_types(set_column_types),
        )
        return _made(path, source, validate=validate, include_path=include_path, partition_format=partition_format)

    @staticmethod
    def from_parquet_files(
        path: "PathArgument | Sequence[PathArgument]",
        validate: bool = True,  # noqa: FBT001, FBT002
        include_path: bool = False,  # noqa: FBT001, FBT002
        set_column_types: Mapping[str, Any] | None = None,
        partition_format: str | None = None,
    ) -> TabularDataset:
        """Rows of parquet files; errors as `from_delimited_files`."""
        source = Parquet(checked_types(set_column_types))
        return _made(path, source, validate=validate, include_path=include_path, partition_format=partition_format)

    @staticmethod
    def from_json_lines_files(
        path: "PathArgument | Sequence[PathArgument]",
        validate: bool = True,  # noqa: FBT001, FBT002
        include_path: bool = False,  # noqa: FBT001, FBT002
        set_column_types: Mapping[str, Any] | None = None,
        partition_format: str | None = None,
        invalid_lines: str = "error",
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Rows of JSON Lines; `invalid_lines` 'drop' leaves lines out that are no object. Errors as the others."""
        if invalid_lines not in {"error", "drop"}:
            raise UserErrorException(f"invalid_lines={invalid_lines!r}: use 'error' or 'drop'")
        source = JsonLines(encoding, invalid_lines == "drop", checked_types(set_column_types))
        return _made(path, source, validate=validate, include_path=include_path, partition_format=partition_format)

    @staticmethod
    def from_sql_query(
        query: Any,
        validate: bool = True,  # noqa: FBT001, FBT002
        set_column_types: Mapping[str, Any] | None = None,
        query_timeout: int = 30,
    ) -> TabularDataset:
        """The rows of a query, (SQL datastore, 'SELECT ...') or a DataPath of these, asked each time they are read.

        `query_timeout` is in seconds, for a statement. `validate` asks for the first rows now.

        Raises:
            UserErrorException: an argument is none of those that there are.
            DatasetValidationError: the database refuses the query, or cannot be reached.
        """
        from runtime.api.sql_datastores import SqlDatastore

        pair = query if isinstance(query, tuple) else tuple(getattr(query, each, None) for each in _OF_PATH)
        if (
            len(pair) != 2
            or not isinstance(pair[0], SqlDatastore)
            or not isinstance(pair[1], str)
            or not pair[1].strip()
        ):
            raise UserErrorException("from_sql_query takes (datastore, 'SELECT ...'), with a SQL datastore")
        checked: object = query_timeout
        if isinstance(checked, bool) or not isinstance(checked, int) or checked < 1:
            raise UserErrorException(f"query_timeout={query_timeout!r}: a number of whole seconds, 1 or more")
        source = Query(pair[0].name, pair[1], query_timeout, checked_types(set_column_types))
        dataset = TabularDataset(TabularDefinition((), source), pair[0].workspace.folder)
        return _validated(dataset) if validate else dataset

    @staticmethod
    def register_pandas_dataframe(*args: Any, **kwargs: Any) -> TabularDataset:
        """As `runtime.api.dataframes.register_pandas_dataframe`."""
        from runtime.api import dataframes

        return dataframes.register_pandas_dataframe(*args, **kwargs)

    @staticmethod
    def register_dask_dataframe(*args: Any, **kwargs: Any) -> TabularDataset:
        """As `runtime.api.dataframes.register_dask_dataframe`."""
        from runtime.api import dataframes

        return dataframes.register_dask_dataframe(*args, **kwargs)

    @staticmethod
    def register_spark_dataframe(*args: Any, **kwargs: Any) -> TabularDataset:
        """As `runtime.api.dataframes.register_spark_dataframe`."""
        from runtime.api import dataframes

        return dataframes.register_spark_dataframe(*args, **kwargs)


def _made(
    path: "PathArgument | Sequence[PathArgument]",
    source: Source,
    *,
    validate: bool,
    include_path: bool,
    partition_format: str | None,
) -> TabularDataset:
    from runtime.api.registered import folder_in

    if partition_format is not None:
        parse_partition_format(partition_format)
    definition = TabularDefinition(parse_all(path), source, partition_format, include_path)
    dataset = TabularDataset(definition, folder_in(path))
    return _validated(dataset) if validate else dataset


def _validated(dataset: TabularDataset) -> TabularDataset:
    """What was given, once the first row has been read."""
    from runtime.api.registered import validating

    with validating(), contextlib.closing(dataset.take(1).to_batches()) as batches:
        next(batches, None)
    return dataset


def _header(header: object) -> Header:
    if isinstance(header, bool):
        return Header.ALL_SAME if header else Header.NO_HEADERS
    name = header.name if isinstance(header, PromoteHeadersBehavior) else header
    if name not in _HEADERS:
        raise UserErrorException(f"header={header!r}: use True, False, or one of {', '.join(_HEADERS)}")
    return _HEADERS[name]
