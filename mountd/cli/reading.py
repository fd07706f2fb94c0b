"""warm, plan, top: what will be read, and what is being read."""

import math
import os
import stat
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mountd import client
from mountd.cli.data import filling
from mountd.errors import BadInputError, MountPointError, NotFoundError
from mountd.units import format_size

if TYPE_CHECKING:
    from rich.table import Table

_QUOTED = 200  # characters of a line that names no file: it may be a whole picture


class _Seconds(click.FloatRange):
    """As its parent, which lets through what is no number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, within the range."""
        seconds = super().convert(value, param, ctx)
        return self.fail(f"{value} is no number of seconds.", param, ctx) if math.isnan(seconds) else seconds


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
    digest = str(client.status(directory)["digest"])
    with click.open_file(file, "rb") as lines:
        order = array("I", _inodes(directory, file, lines))
    client.plan(directory, order, digest)
    click.echo(f"{directory}: a plan of {len(order)} files")


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=Path)
@click.option("--interval", default=1.0, type=_Seconds(0.1, 3600), help="Seconds between two looks; 1 without it.")
@click.option("--count", type=click.IntRange(1), help="End after so many looks; without it at Ctrl-C.")
def top(directory: Path | None, interval: float, count: int | None) -> None:
    """Show what the mount on DIR, or every mount of this user, does at this moment."""
    before = _looks(directory)
    with _showing() as show:
        number = 0
        while count is None or number < count:
            begin = time.monotonic()
            time.sleep(interval)  # the rates are of this time
            now = _looks(directory)
            show(_table(before, now, time.monotonic() - begin))
            before, number = now, number + 1


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


def _looks(directory: Path | None) -> dict[str, dict[str, Any]]:
    looks = [client.status(directory)] if directory is not None else list(_every())
    return {look["mountpoint"]: look for look in looks}


def _every() -> Iterator[dict[str, Any]]:
    for record in client.mounts():
        try:
            yield client.status(record.mountpoint)
        except (NotFoundError, MountPointError):
            continue  # `mountd status` names the dead


@contextmanager
def _showing() -> Iterator[Callable[["Table"], None]]:
    """A table that is drawn anew in its place on a terminal, and one after the other elsewhere."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    if not console.is_terminal:
        yield console.print
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        yield lambda table: live.update(table, refresh=True)


def _table(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]], seconds: float) -> "Table":
    from rich.table import Table

    table = Table("mount", "reads/s", "read/s", "GETs/s", "fetched/s", "in flight", "hits", "memory", "cache", "plan")
    for mountpoint, look in now.items():
        table.add_row(mountpoint, *_cells(before.get(mountpoint, look), look, seconds))
    return table


def _cells(before: dict[str, Any], now: dict[str, Any], seconds: float) -> Iterator[str]:
    def rate(group: str, counter: str) -> float:
        return float(now[group][counter] - before[group][counter]) / seconds

    hits, misses = rate("cache", "hits"), rate("cache", "misses")
    memory, cache, plan = now["memory"], now["cache"], now["plan"]
    yield f"{rate('reads', 'count'):.0f}"
    yield format_size(int(rate("reads", "bytes")))
    yield f"{rate('fetch', 'requests'):.0f}"
    yield format_size(int(rate("fetch", "bytes")))
    yield str(now["fetch"]["in_flight"])
    yield f"{hits / (hits + misses):.0%}" if hits + misses else "-"
    yield f"{format_size(memory['used_bytes'])} of {format_size(memory['limit_bytes'])}"
    yield f"{format_size(cache['bytes'])} of {format_size(cache['limit_bytes'])}"
    yield f"{plan['position']} of {plan['length']}" if plan["length"] else "-"
