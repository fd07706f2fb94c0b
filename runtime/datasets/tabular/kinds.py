"""Column types: what v1 calls a DataType, and the Arrow type that stands for each.

A type says how text becomes a value. `accepts_null` holds for all: an empty field is null. A number is what Arrow
reads as one; a date is one of the forms of `dates`, or of the formats that a `datetime` type names.
"""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.errors import UserErrorException

if TYPE_CHECKING:
    import pyarrow as pa


class Kind(enum.StrEnum):
    """What a column holds; the values are what a definition keeps."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """One column's type. `formats` are strptime's, for DATETIME; none means the forms that inference knows.

    `decimal_mark` is for FLOAT, `.` or `,`. A STREAM is the path of a file, kept as text.
    """

    kind: Kind
    formats: tuple[str, ...] = ()
    decimal_mark: str = "."

    def __post_init__(self) -> None:
        if self.decimal_mark not in {".", ","}:
            raise UserErrorException(f"decimal_mark {self.decimal_mark!r}: only '.' and ',' can be one")

    @property
    def arrow(self) -> "pa.DataType":
        """The Arrow type of the column's values."""
        import pyarrow as pa

        return {
            Kind.STRING: pa.string(),
            Kind.STREAM: pa.string(),
            Kind.INTEGER: pa.int64(),
            Kind.FLOAT: pa.float64(),
            Kind.BOOLEAN: pa.bool_(),
            Kind.DATETIME: pa.timestamp("us"),
        }[self.kind]

    def to_json(self) -> dict[str, Any]:
        """As a definition keeps it; what is as always is left out."""
        told: dict[str, Any] = {"kind": str(self.kind)}
        if self.formats:
            told["formats"] = list(self.formats)
        if self.decimal_mark != ".":
            told["decimal_mark"] = self.decimal_mark
        return told

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "ColumnType":
        """The inverse of `to_json`; ValueError, KeyError or TypeError on anything else."""
        return cls(Kind(told["kind"]), tuple(told.get("formats", ())), told.get("decimal_mark", "."))


TEXT = ColumnType(Kind.STRING)
