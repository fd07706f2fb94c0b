"""warm, plan: what will be read."""

import os
import stat
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from mountd import client
from mountd.cli.data import filling
from mountd.errors import BadInputError
from mountd.units import format_size

_QUOTED = 200  # characters of a line that names no file: it may be a whole picture


@click.command()
@click.argument("directory", metavar="DIR", type=Path)
@click.argument("paths", metavar="[PATH...]", nargs=-1)
def warm(directory: Path, paths: tuple[str, ...]) -> None:
    """Fetch the files at or below PATHs (within the mount; without any: all) into the cache of the mount on DIR.

    Readers come first all the while. What is in the cache is not fetched again.
    """
    last: dict[str, Any] = {"files": 0, "bytes": 0, "fetched_bytes": 0}
    total = 0
    steps = client.warm(directory, [_within(directory, path) for path in paths])
    for last in steps:
        total = last["total_bytes"]
        break
    with filling("warming", total) as progress:
        for last in steps:
            if progress is not None:
                progress(last["files"], last["bytes"])
    click.echo(
        f"{directory}: {last['files']} files, {format_size(last['bytes'])} in the cache; "
        f"fetched {format_size(last['fetched_bytes'])}"
    )


@click.command()
@click.argument("directory", metavar="DIR", type=Path)
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True))
def plan(directory: Path, file: str) -> None:
    """Tell the mount on DIR in which order its files will be read: FILE has a path within the mount on each line (-: stdin).

    From then on they are fetched ahead of whoever reads them, in that order. A new plan takes the place of the old one.
    """
    told = client.status(directory)
    if "output" in told:
        raise BadInputError(f"{directory}: an output follows no plan")
    digest = str(told["digest"])
    with click.open_file(file, "rb") as lines:
        order = array("I", _inodes(directory, file, lines))
    client.plan(directory, order, digest)
    click.echo(f"{directory}: a plan of {len(order)} files")


def _within(directory: Path, path: str) -> str:
    """A path as the dataset has it, whether it was typed within the mount or from outside."""
    given = Path(path)
    root = Path(directory).absolute()
    inside = given.relative_to(root) if given.is_absolute() and given.is_relative_to(root) else given
    return "" if inside == Path() else inside.as_posix()


def _inodes(directory: Path, name: str, lines: Iterable[bytes]) -> Iterator[int]:
    device = directory.stat().st_dev
    for number, line in enumerate(lines, 1):
        path = os.fsdecode(line.rstrip(b"\n"))
        if not path:
            continue
        try:
            told = (directory / _within(directory, path)).stat()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
        else:
            if told.st_dev == device and stat.S_ISREG(told.st_mode):
                yield told.st_ino
                continue
            why = "not a file of this mount"
        raise BadInputError(f"{name}, line {number}: {path[:_QUOTED]!r}: {why}; a plan names files, one on each line")
