"""cache status, cache trim, cache clear: what the cache on disk holds, and less of it.

All three are safe while mounts use the folder: a mount whose extents are gone fetches them again.
"""

import json
from collections.abc import Callable
from typing import TypeVar

import click

from mountd import config
from mountd.cache import trim as trimming
from mountd.cache.folder import prepare_folder
from mountd.cache.index import Index
from mountd.config import Settings
from mountd.units import format_size, parse_size

_Command = TypeVar("_Command", bound=Callable[..., object])


def _settings(_: click.Context, __: click.Parameter, text: str | None) -> Settings:
    """The settings that hold, with a folder that is ours if it is there at all."""
    settings = config.load({"cache_dir": text}).settings
    if settings.cache_dir.exists():
        prepare_folder(settings.cache_dir)
    return settings


def _folder_option(command: _Command) -> _Command:
    return click.option(
        "--cache-dir",
        "settings",
        callback=_settings,
        metavar="DIR",
        help="Folder of the cache; without it the one that `mountd config` shows.",
    )(command)


@click.group()
def cache() -> None:
    """The cache on disk: what it holds, and less of it. Mounts that use it go on."""


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_folder_option
def status(settings: Settings, *, as_json: bool) -> None:
    """Show where the cache is, how much it holds and how much it may hold."""
    folder = settings.cache_dir
    index = Index.look(folder)
    told = {
        "folder": str(folder),
        "used_bytes": trimming.used_bytes(folder),
        "limit_bytes": settings.cache_size_bytes,
        "segments": len(trimming.list_segments(folder)),
        "extent_capacity": index.slots if index is not None else 0,
    }
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(
            f"{_used(settings)}; segments: {told['segments']}; room in the index: {told['extent_capacity']} extents"
        )


@cache.command()
@click.option("--to", "goal", metavar="SIZE", help="How much may stay; without it nine tenths of the limit.")
@_folder_option
def trim(settings: Settings, *, goal: str | None) -> None:
    """Drop what was not read for longest until SIZE is left. What a mount is writing to stays."""
    goal_bytes = int(settings.cache_size_bytes * trimming.TRIM_TO) if goal is None else parse_size(goal)
    dropped = trimming.trim(settings.cache_dir, goal_bytes) if settings.cache_dir.exists() else 0
    click.echo(f"{_used(settings)}; segments dropped: {dropped}")


@cache.command()
@_folder_option
def clear(settings: Settings) -> None:
    """Remove everything that is cached, also what mounts are writing to."""
    removed = trimming.clear(settings.cache_dir)
    click.echo(f"{_used(settings)}; segments removed: {removed}")


def _used(settings: Settings) -> str:
    folder = settings.cache_dir
    used, limit = trimming.used_bytes(folder), settings.cache_size_bytes
    return f"{folder}: {format_size(used)} used of {format_size(limit)}"
