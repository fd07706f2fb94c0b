"""What a tabular dataset is, as its user said it: paths, how their files are read, steps on the rows. A small JSON document.

Equal definitions give equal text, and any process that has the text and the frozen files reads the same rows. A
`Query` has no files: its rows are asked for whenever they are read, and nothing of them is frozen.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from runtime.datasets.partition import PartitionFormat, parse_partition_format
from runtime.datasets.paths import DatasetPath
from runtime.datasets.tabular import steps
from runtime.datasets.tabular.delimited import Delimited, Header
from runtime.datasets.tabular.kinds import ColumnType
from runtime.datasets.tabular.steps import RowStep, Sample, Skip, Take
from runtime.errors import DatasetValidationError

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Parquet:
    """Parquet files. `types` are those that the user set, by column."""

    types: Mapping[str, ColumnType] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A JSON object a line. `drops_invalid`: a line that is none is left out, and counted."""

    encoding: str = "utf8"
    drops_invalid: bool = False
    types: Mapping[str, ColumnType] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """A SQL query, `text`, of a SQL datastore; `timeout_s` is how long a statement may take."""

    datastore: str
    text: str
    timeout_s: int = 30
    types: Mapping[str, ColumnType] = field(default_factory=dict)


Source = Delimited | Parquet | JsonLines | Query
_SOURCES: Final = {"delimited": Delimited, "parquet": Parquet, "json_lines": JsonLines, "query": Query}


@dataclass(frozen=True, slots=True)
class TabularDefinition:
    """The whole of it. `timestamp` and `partition_timestamp` name columns, or nothing."""

    paths: tuple[DatasetPath, ...]
    source: Source
    partition_format: str | None = None
    include_path: bool = False
    steps: tuple[RowStep, ...] = ()
    timestamp: str | None = None
    partition_timestamp: str | None = None

    @property
    def partition(self) -> PartitionFormat | None:
        """The partition format, parsed."""
        return parse_partition_format(self.partition_format) if self.partition_format is not None else None

    @property
    def digest(self) -> str:
        """What stands in the place of a manifest's digest where there are no files: the definition's own."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def counts_rows(self) -> bool:
        """Whether a step asks how many rows come before a row, so that no file can be read without those before it."""
        return any(isinstance(step, Take | Skip | Sample) for step in self.steps)

    def to_json(self) -> str:
        """The document."""
        name = next(name for name, kind in _SOURCES.items() if isinstance(self.source, kind))
        told = {
            "version": _FORMAT,
            "type": "tabular",
            "paths": [path.to_document() for path in self.paths],
            "source": {"format": name, **_source_to_json(self.source)},
            "partition_format": self.partition_format,
            "include_path": self.include_path,
            "steps": [step.to_json() for step in self.steps],
            "timestamp": self.timestamp,
            "partition_timestamp": self.partition_timestamp,
        }
        return json.dumps(told)

    @classmethod
    def from_json(cls, text: str) -> "TabularDefinition":
        """The inverse of `to_json`.

        Raises:
            DatasetValidationError: another kind of dataset, or one of a newer version of Moorage.
        """
        try:
            told = json.loads(text)
            known = {"version", "type", *(each.name for each in fields(cls))}
            if (told["version"], told["type"]) != (_FORMAT, "tabular") or told.keys() != known:
                raise DatasetValidationError(
                    "the dataset was registered by a newer Moorage; install that version to read it"
                )
            source = dict(told["source"])
            return cls(
                tuple(DatasetPath(**path) for path in told["paths"]),
                _source_from_json(_SOURCES[source.pop("format")], source),
                told["partition_format"],
                told["include_path"],
                tuple(map(steps.from_json, told["steps"])),
                told["timestamp"],
                told["partition_timestamp"],
            )
        except (ValueError, TypeError, KeyError):
            raise DatasetValidationError(
                "the dataset's definition in the catalog is damaged; register it again"
            ) from None


def is_tabular(text: str) -> bool:
    """Whether the definition `text` is of a tabular dataset."""
    try:
        return bool(json.loads(text)["type"] == "tabular")
    except (ValueError, TypeError, KeyError):
        return False


def _source_to_json(source: Source) -> dict[str, Any]:
    told = {each.name: getattr(source, each.name) for each in fields(source)}
    return told | {"types": {name: kind.to_json() for name, kind in source.types.items()}}


def _source_from_json(made: Any, told: dict[str, Any]) -> Source:
    if "header" in told:
        told["header"] = Header(told["header"])
    told["types"] = {name: ColumnType.from_json(kind) for name, kind in told["types"].items()}
    source: Source = made(**told)
    return source
