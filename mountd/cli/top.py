"""top: what mounts do at this moment, as a table that is drawn anew; rates are of the time since the look before.

A mount that does not answer is a row that says so, and never holds up the others: each is asked in a thread of its own.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mountd import client
from mountd.cli import deadline, output
from mountd.errors import MountdError, NotFoundError
from mountd.units import format_size

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Look = dict[str, Any]

_ANSWER_S = 2.0
_SLOWEST = 8
_WIDTH = 160  # where no terminal tells one


class _Seconds(click.FloatRange):
    """As its parent, which lets through what is no number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, within the range."""
        seconds = super().convert(value, param, ctx)
        return self.fail(f"{value} is no number of seconds.", param, ctx) if math.isnan(seconds) else seconds


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=Path)
@click.option("--interval", default=1.0, type=_Seconds(0.1, 3600), help="Seconds between two looks; 1 without it.")
@click.option("--count", type=click.IntRange(1), help="End after so many looks; without it at Ctrl-C.")
def top(directory: Path | None, interval: float, count: int | None) -> None:
    """Show what the mount on DIR, or every mount of this user, does at this moment.

    Below it are the slowest reads of the last five minutes, and what each waited for: the store, a free connection (thread),
    room in the budget (memory) or a local disk.
    """
    before = _looks(directory)
    with _showing() as show:
        number = 0
        while count is None or number < count:
            begin = time.monotonic()
            time.sleep(interval)  # the rates are of this time
            now = _looks(directory)
            show(_page(before, now, time.monotonic() - begin))
            before, number = now, number + 1


def _looks(directory: Path | None) -> dict[str, Look]:
    """The status of each mount, or under `error` why there is none.

    Raises:
        NotFoundError: no mount is on `directory`.
    """
    places = [directory] if directory is not None else [record.mountpoint for record in client.mounts()]
    end_s = time.monotonic() + _ANSWER_S
    asked = {str(place): deadline.begin(partial(client.status, place)) for place in places}
    looks: dict[str, Look] = {}
    for place, future in asked.items():
        try:
            looks[place] = future.result(max(0.0, end_s - time.monotonic()))
        except TimeoutError:
            looks[place] = {"error": f"no answer within {_ANSWER_S:g} s"}
        except NotFoundError:
            if directory is not None:
                raise
        except MountdError as error:
            looks[place] = {"error": str(error)}
    return looks


@contextmanager
def _showing() -> "Iterator[Callable[[RenderableType], None]]":
    """A page that is drawn anew in its place on a terminal, and one after the other elsewhere."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    if not console.is_terminal:
        yield console.print
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        yield lambda page: live.update(page, refresh=True)


def _page(before: dict[str, Look], now: dict[str, Look], seconds: float) -> "RenderableType":
    from rich.console import Group

    slow = _slowest(now)
    return Group(_table(before, now, seconds), *([slow] if slow is not None else []))


def _table(before: dict[str, Look], now: dict[str, Look], seconds: float) -> "Table":
    table = _columns("mount", "reads", "fetches", "cache", "memory", "read-ahead")
    for place, look in now.items():
        if "error" in look:
            table.add_row(_text(f"{place}\n{look['error']}"))
        elif "output" in look:
            table.add_row(_text(output.line(look)))
        else:
            named = _text(f"{place}\n{look['source']}\n{_life(look)}")
            table.add_row(named, *_cells(before.get(place, look), look, seconds))
    return table


def _columns(first: str, *others: str) -> "Table":
    """A table of 80 columns or more, of which the first column gets what the others leave."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    rest = (Column(name, no_wrap=True) for name in others)
    return Table(Column(first, overflow="fold"), *rest, box=SIMPLE_HEAD, pad_edge=False)


def _life(look: Look) -> str:
    plan = look["plan"]
    parts = [f"up {timedelta(seconds=int(look['uptime_s']))}", f"{look['restarts'] or 'no'} restarts"]
    parts += [f"plan {plan['position']} of {plan['length']}"] if plan["length"] else []
    parts += [] if look["reach"]["ok"] else ["no store answers"]
    return ", ".join(parts)


def _cells(before: Look, now: Look, seconds: float) -> Iterator[str]:
    def rate(group: str, counter: str) -> float:
        was = before.get(group, {}).get(counter, 0)
        came = now[group][counter]
        return float(came - was if came >= was else came) / seconds  # a worker that was replaced counts anew

    hits, misses = rate("cache", "hits"), rate("cache", "misses")
    fetch, memory, cache, windows = (now[name] for name in ("fetch", "memory", "cache", "windows"))
    failed = f"{fetch['errors']} failed" if fetch["errors"] else f"{fetch['in_flight']} under way"
    share = f"{hits / (hits + misses):.0%}" if hits + misses else "no"
    yield f"{rate('reads', 'count'):.0f} reads/s\n{format_size(int(rate('reads', 'bytes')))}/s"
    yield f"{rate('fetch', 'requests'):.0f} GETs/s\n{format_size(int(rate('fetch', 'bytes')))}/s\n{failed}"
    yield f"{share} hits\n{format_size(cache['bytes'])}\nof {format_size(cache['limit_bytes'])}"
    yield f"{format_size(memory['used_bytes'])}\nof {format_size(memory['limit_bytes'])}"
    yield f"{windows['streams']} streams\n{format_size(windows['bytes'])} ahead"


def _slowest(now: dict[str, Look]) -> "Table | None":
    """The slowest reads of all mounts; None if none had to wait."""
    reads = [(place, read) for place, look in now.items() for read in look.get("slowest", ())]
    reads = sorted(reads, key=lambda each: -float(each[1]["took_s"]))[:_SLOWEST]
    if not reads:
        return None
    table = _columns("slowest reads", "offset", "size", "took", "waited for", "ended")
    for place, read in reads:
        waited = f"{read['waited_for']}, {read['failure']}" if read["failure"] else read["waited_for"]
        size, took, ago = format_size(read["size"]), f"{read['took_s']:.3f} s", f"{read['ended_ago_s']:.0f} s ago"
        table.add_row(_text(f"{place}/{read['path']}"), f"{read['offset']:,}", size, took, waited, ago)
    return table


def _text(text: str) -> "RenderableType":
    """A text as it is: a path is no markup, and may hold what a terminal obeys or what no encoding has."""
    from rich.text import Text

    plain = text.encode("utf-8", "backslashreplace").decode()
    return Text("".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in plain))
