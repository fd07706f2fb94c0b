"""`Dataset.Tabular`: the factories of tabular datasets, with v1's names and defaults."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runtime.api.data_type import PromoteHeadersBehavior, checked_types
from runtime.api.tabular_dataset import TabularDataset
from runtime.datasets.partition import parse_partition_format
from runtime.datasets.paths import PathArgument, parse_all
from runtime.datasets.tabular.definition import JsonLines, Parquet, Source, TabularDefinition
from runtime.datasets.tabular.delimited import Delimited, Header
from runtime.errors import UserErrorException

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
    def register_pandas_dataframe(*args: Any, **kwargs: Any) -> TabularDataset:
        """As `runtime.api.dataframes.register_pandas_dataframe`."""
        from runtime.api import dataframes

        return dataframes.register_pandas_dataframe(*args, **kwargs)


def _made(
    path: "PathArgument | Sequence[PathArgument]",
    source: Source,
    *,
    validate: bool,
    include_path: bool,
    partition_format: str | None,
) -> TabularDataset:
    from runtime.api.registered import folder_in, validating

    if partition_format is not None:
        parse_partition_format(partition_format)
    definition = TabularDefinition(parse_all(path), source, partition_format, include_path)
    dataset = TabularDataset(definition, folder_in(path))
    if validate:
        with validating():
            next(iter(dataset.take(1).to_batches()), None)
    return dataset


def _header(header: object) -> Header:
    if isinstance(header, bool):
        return Header.ALL_SAME if header else Header.NO_HEADERS
    name = header.name if isinstance(header, PromoteHeadersBehavior) else header
    if name not in _HEADERS:
        raise UserErrorException(f"header={header!r}: use True, False, or one of {', '.join(_HEADERS)}")
    return _HEADERS[name]
