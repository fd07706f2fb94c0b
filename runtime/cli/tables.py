"""Tables on the command line: the options that make a dataset one, `dataset show --head --profile`, and `dataset export`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from runtime.cli import Invocation, pass_invocation
from runtime.cli.printing import print_rows
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    from runtime.api.tabular_dataset import TabularDataset
    from runtime.catalog import DatasetRecord
    from runtime.datasets.paths import DatasetPath
    from runtime.datasets.tabular.definition import Source, TabularDefinition
    from runtime.datasets.tabular.kinds import ColumnType
    from runtime.workspace import WorkspaceFolder

_OPTIONS: Final = (
    click.option("--delimited", "kind", flag_value="delimited", help="The files are tables of delimited text."),
    click.option("--parquet", "kind", flag_value="parquet", help="The files are parquet."),
    click.option("--json-lines", "kind", flag_value="json_lines", help="The files are JSON Lines."),
    click.option("--sql", "query", metavar="QUERY", help="The rows of a query; the path is the SQL datastore's name."),
    click.option("--separator", metavar="CHARACTER", help="Between fields of delimited text; a comma."),
    click.option(
        "--header", type=click.Choice(["same", "none", "first", "combine"]), help="Which files have one; same."
    ),
    click.option("--encoding", metavar="NAME", help="Of text; utf8."),
    click.option("--multi-line", is_flag=True, help="A quoted field may hold lines' ends."),
    click.option(
        "--type", "types", multiple=True, metavar="COLUMN=TYPE", help="Such as n=integer, day=datetime:%d.%m.%Y."
    ),
    click.option(
        "--partition-format", metavar="FORMAT", help="Columns out of paths: '{country}/{day:yyyy/MM/dd}/x.csv'."
    ),
    click.option("--include-path", is_flag=True, help="A column Path."),
    click.option("--timestamp", metavar="COLUMN", help="The column of the rows' times."),
    click.option("--partition-timestamp", metavar="COLUMN", help="The column of the files' dates."),
)
_TEXT_ONLY: Final = ("separator", "header", "multi_line")


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say that a dataset is a table, as the argument `table` of `command`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def definition_of(
    paths: "Sequence[DatasetPath]", table: Mapping[str, Any], datastore: str = ""
) -> "TabularDefinition | None":
    """The table that the options say; None if they say none.

    Raises:
        UserErrorException: an option that does not belong to the kind of table, or is none.
    """
    from runtime.datasets.partition import parse_partition_format
    from runtime.datasets.tabular.definition import TabularDefinition

    given = {name: value for name, value in table.items() if value}
    if "kind" not in given and "query" not in given:
        if given:
            raise UserErrorException(
                f"{_option(min(given))} is for tables; add --delimited, --parquet, or --json-lines"
            )
        return None
    if "partition_format" in given:
        parse_partition_format(given["partition_format"])
    return TabularDefinition(
        tuple(dict.fromkeys(paths)),
        _source(given, datastore),
        given.get("partition_format"),
        bool(given.get("include_path")),
        (),
        given.get("timestamp"),
        given.get("partition_timestamp"),
    )


def _source(given: Mapping[str, Any], datastore: str) -> "Source":
    from runtime.datasets.tabular.definition import JsonLines, Parquet, Query
    from runtime.datasets.tabular.delimited import Delimited, Header

    kind, types = given.get("kind", "sql"), dict(_type(each) for each in given.get("types", ()))
    refused = [] if kind == "delimited" else [name for name in _TEXT_ONLY if name in given]
    refused += ["encoding"] if kind in {"parquet", "sql"} and "encoding" in given else []
    refused += ["query"] if kind != "sql" and "query" in given else []
    if refused:
        raise UserErrorException(f"{_option(refused[0])} does not go with {_option(kind)}; leave one of the two out")
    encoding = given.get("encoding", "utf8")
    if kind == "sql":
        return Query(datastore, given["query"], types=types)
    if kind == "parquet":
        return Parquet(types)
    if kind == "json_lines":
        return JsonLines(encoding, types=types)
    try:
        return Delimited(
            given.get("separator", ","),
            Header(given.get("header", "same")),
            encoding,
            bool(given.get("multi_line")),
            types=types,
        )
    except ValueError as error:
        raise UserErrorException(str(error)) from None


def _option(name: str) -> str:
    known = {"query": "--sql", "types": "--type"}
    return known.get(name, f"--{name.replace('_', '-')}")


def _type(text: str) -> "tuple[str, ColumnType]":
    from runtime.datasets.tabular.kinds import ColumnType, Kind

    name, equals, told = text.partition("=")
    kind, _, form = told.partition(":")
    known = [str(each) for each in Kind]
    if not equals or kind not in known or (form and kind != "datetime"):
        raise UserErrorException(f"--type {text!r}: write COLUMN=TYPE, with one of {', '.join(known)}")
    return name, ColumnType(Kind(kind), (form,) if form else ())


def opened(workspace: "WorkspaceFolder", record: "DatasetRecord") -> "TabularDataset":
    """The version as a table.

    Raises:
        UserErrorException: it is none.
    """
    from runtime.api.tabular_dataset import TabularDataset
    from runtime.datasets.tabular.definition import TabularDefinition, is_tabular

    if not is_tabular(record.definition):
        raise UserErrorException(
            f"'{record.name or record.id}' is files and no table; see --delimited of dataset register"
        )
    return TabularDataset(TabularDefinition.from_json(record.definition), workspace, record)


def head_rows(dataset: "TabularDataset", count: int) -> list[dict[str, Any]]:
    """The first rows, as they are printed."""
    table = dataset.take(count).to_arrow()
    return [{name: _cell(value) for name, value in row.items()} for row in table.to_pylist()]


def profile_rows(dataset: "TabularDataset") -> list[dict[str, Any]]:
    """A row a column: what its profile says in short."""
    return [
        {
            "column": each.name,
            "type": each.type,
            "count": str(each.count),
            "missing": str(each.missing_count),
            "different": str(each.unique_values),
            "min": _cell(each.min),
            "median": _cell(each.median),
            "max": _cell(each.max),
            "mean": _cell(each.mean),
            "std": _cell(each.std),
        }
        for each in dataset.get_profile().columns.values()
    ]


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under an empty line."""
    click.echo()
    print_rows(rows, as_json=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


@click.command("export")
@click.argument("reference", metavar="NAME[@VERSION]|ID")
@click.option(
    "--parquet", "parquet", type=click.Path(path_type=Path), metavar="DIR", help="Files part-N.parquet in DIR."
)
@click.option("--csv", "csv", type=click.Path(path_type=Path), metavar="DIR", help="Files part-N.csv in DIR.")
@pass_invocation
def export_dataset(invocation: Invocation, reference: str, parquet: Path | None, csv: Path | None) -> None:
    """Write the rows of a tabular dataset into a new or empty folder, some blocks at a time."""
    from runtime.datasets.file import find_record

    workspace = invocation.workspace()
    folder = parquet or csv
    if folder is None or (parquet and csv):
        raise UserErrorException("say where to: --parquet DIR or --csv DIR")
    dataset = opened(workspace, find_record(workspace, reference))
    rows = dataset.export(folder, "parquet" if parquet else "csv")
    click.echo(f"{folder}: {rows:,} rows in {sum(1 for _ in folder.iterdir())} files")
