"""How the commands print: JSON for scripts, plain lines and tables for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

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
    from rich.table import Table

    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty()).print(table)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return value if isinstance(value, str) else json.dumps(value)
