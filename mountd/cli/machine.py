"""doctor, config: what this machine can do, and what is set."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from mountd import client, records
from mountd import config as settings
from mountd.cache.folder import prepare_folder
from mountd.errors import FuseUnavailableError, MountdError
from mountd.stores.credentials import from_environment
from mountd.units import format_size

_OK, _WARN, _FAIL = "ok", "warn", "fail"


@click.command()
def doctor() -> int:
    """Check what mounting needs; each line is ok, warn or fail, with what to do."""
    worst = _OK
    for verdict, text in _checks():
        click.echo(f"{verdict:4}  {text}")
        worst = verdict if verdict == _FAIL or worst == _OK else worst
    return FuseUnavailableError.exit_code if worst == _FAIL else 0


@click.command()
def config() -> None:
    """Every setting, its value, and where the value came from."""
    for name, value, origin, text in settings.describe(settings.load()):
        click.echo(f"{name:14} {value:24} {origin:32} {text}")


def _checks() -> Iterator[tuple[str, str]]:
    yield _OK, f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    reason = client.why_no_fuse()
    yield (_FAIL, reason) if reason else (_OK, "FUSE: this user can mount")
    yield from _other_users()
    yield from _cache()
    yield from _dead_mounts()
    credential = from_environment(os.environ)
    yield (
        _OK,
        f"credential: {credential.kind} from the environment" if credential else "credential: none in the environment",
    )


def _other_users() -> Iterator[tuple[str, str]]:
    if client.why_no_fuse() or os.geteuid() == 0:
        return  # nobody can be let in, or root needs no leave
    conf = Path("/etc/fuse.conf")
    lines = conf.read_text().splitlines() if conf.exists() else []
    if "user_allow_other" in (line.strip() for line in lines):
        yield _OK, "--allow-other: allowed by /etc/fuse.conf"
    else:
        yield _WARN, "--allow-other will fail: put a line user_allow_other into /etc/fuse.conf (as root)"


def _cache() -> Iterator[tuple[str, str]]:
    try:
        loaded = settings.load().settings
        if loaded.cache_dir.exists():
            prepare_folder(loaded.cache_dir)
    except MountdError as error:
        yield _FAIL, str(error)
        return
    folder = loaded.cache_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    verdict = _OK if os.access(existing, os.W_OK) else _WARN
    remedy = "" if verdict == _OK else "; may not be written: set --cache-dir"
    yield verdict, f"cache: {folder}, up to {format_size(loaded.cache_size_bytes)}, {format_size(free)} free{remedy}"


def _dead_mounts() -> Iterator[tuple[str, str]]:
    for record in records.every():
        if not record.alive:
            yield _WARN, f"{record.mountpoint}: a dead mount; clean it up: mountd unmount {record.mountpoint}"
