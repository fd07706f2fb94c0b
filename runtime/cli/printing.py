"""How the commands print: JSON for scripts, plain lines and tables for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

_PIPE_COLUMNS = 100_000  # more than the texts of a row have together

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_one(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing: a line for each of its values."""
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    for key, value in row.items():
        click.echo(f"{key:12} {_shown(value)}")


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print a table; nothing where there is nothing."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(name, overflow="fold") for name in rows[0]), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row.values()))  # a plain string would be read as markup
    # Whoever reads a pipe has no width, and must get names that can be used.
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    Console(file=sys.stdout, highlight=False, width=width).print(table)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return printable(value) if isinstance(value, str) else json.dumps(value)


def printable(text: str) -> str:
    """A text from the catalog as it is, but for what a terminal obeys and what no encoding has: others wrote it."""
    plain = text.encode("utf-8", "backslashreplace").decode()
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in plain)
