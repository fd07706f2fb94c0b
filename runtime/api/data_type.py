"""DataType and the header words of delimited text, as v1 names them."""

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.datasets.tabular.kinds import ColumnType, Kind
from runtime.errors import UserErrorException


class DataType:
    """The type of a column, for `set_column_types`."""

    @staticmethod
    def to_string() -> ColumnType:
        """Text."""
        return ColumnType(Kind.STRING)

    @staticmethod
    def to_long() -> ColumnType:
        """An integer of 64 bits."""
        return ColumnType(Kind.INTEGER)

    @staticmethod
    def to_float(decimal_mark: str = ".") -> ColumnType:
        """A number; `decimal_mark` is '.' or ','."""
        return ColumnType(Kind.FLOAT, decimal_mark=decimal_mark)

    @staticmethod
    def to_bool() -> ColumnType:
        """True or false, or 1 or 0."""
        return ColumnType(Kind.BOOLEAN)

    @staticmethod
    def to_datetime(formats: str | Sequence[str] | None = None) -> ColumnType:
        """A time, by strptime's `formats` in their order; None: by the forms that inference knows."""
        return ColumnType(Kind.DATETIME, (formats,) if isinstance(formats, str) else tuple(formats or ()))

    @staticmethod
    def to_stream(workspace: object = None, escaped: bool = False) -> ColumnType:  # noqa: ARG004, FBT001, FBT002 # v1's signature
        """The path of a file, for `download` and `mount` of a column."""
        return ColumnType(Kind.STREAM)


class PromoteHeadersBehavior(enum.IntEnum):
    """Which files of delimited text begin with a header."""

    NO_HEADERS = 0
    ONLY_FIRST_FILE_HAS_HEADERS = 1
    COMBINE_ALL_FILES_HEADERS = 2
    ALL_FILES_HAVE_SAME_HEADERS = 3


def checked_types(types: Mapping[str, Any] | None) -> dict[str, ColumnType]:
    """What `set_column_types` was given.

    Raises:
        UserErrorException: it is no dictionary of names and types.
    """
    if types is None:
        return {}
    if not all(isinstance(kind, ColumnType) for kind in getattr(types, "values", lambda: [None])()):
        raise UserErrorException(
            f"set_column_types={types!r}: give {{'column': DataType.to_long(), ...}}, with a DataType for each column"
        )
    return {str(name): kind for name, kind in types.items()}
