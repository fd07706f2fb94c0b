"""mount --output, and what `unmount` does for outputs: the commit, its bound and its outcome."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mountd import clearing, client, records
from mountd import config as settings
from mountd.contract.starting import Order, Output
from mountd.errors import BadInputError, MountPointError, NotFoundError
from mountd.fuse import mounting
from mountd.processes import ProcessId
from mountd.stores.source import parse_source
from mountd.units import format_size

if TYPE_CHECKING:
    from mountd.stores.credentials import Credential

_FOR_INPUTS = ("metrics_port", "metrics_file", "verify_wire", "driver", "read_deadline", "memory", "cache")


def mount_output(
    url: str,
    directory: Path,
    credential: "Credential | None",
    loaded: settings.Loaded,
    log_level: str,
    *,
    foreground: bool,
    as_json: bool,
) -> int:
    """Mount the output `url` on `directory`; return when it answers.

    Raises:
        BadInputError: it is no URL, or a flag is for inputs only.
        MountdError: as the mount raises it.
    """
    for name in _FOR_INPUTS:
        if loaded.origins[name] == (flag := "--" + name.replace("_", "-")):
            raise BadInputError(f"{flag}: has no meaning for an output; leave it out")
    if "://" not in url:
        raise BadInputError(f"{url}: an output is named by its URL: file://{Path(url).absolute()}/")
    place = parse_source(url if url.endswith("/") else url + "/")
    order = Order(
        manifest=Path(),
        mountpoint=mounting.resolve(directory),
        source=place.base_url,
        credentials={place.store_url: credential} if credential is not None else {},
        settings=settings.texts(loaded.settings),
        foreground=foreground,
        print_status=foreground and as_json,
        owner=ProcessId.of(os.getpid()),
        log_level=log_level,
        output=Output(place.store_url, place.prefix, spool_folder(loaded.settings.spool_dir, place.base_url)),
    )
    if foreground:
        client.become(order)
    mounted = client.start_order(order)
    if as_json:
        click.echo(json.dumps(mounted.status(), indent=2))
    mounted.release()
    return 0


def spool_folder(folder: Path, url: str) -> Path:
    """Where the files on their way to `url` wait: the same for every mount of it."""
    return folder / hashlib.blake2b(url.encode(), digest_size=12).hexdigest()


def is_output(directory: Path) -> bool:
    """Whether a living output is mounted on `directory`."""
    try:
        return "output" in client.status(directory)
    except (NotFoundError, MountPointError):
        return False


def refuse_dead(directory: Path) -> None:
    """See that no output lies dead on `directory`; one that does is taken off all the same.

    Raises:
        MountPointError: there was one, and nobody can say whether all of it came to the store.
    """
    path = mounting.resolve(directory)
    record = records.find(path)
    if record is None or not record.is_output or record.alive:
        return
    clearing.wait_for_end(record.worker)  # it commits, if it lives
    clearing.detach(path)
    raise MountPointError(
        f"{path}: its supervisor died, and not all of it may be in the store; what is not is in the spool: mount "
        f"{record.source} again, and unmount it"
    )


def commit(directory: Path, timeout_s: float) -> None:
    """Commit the output on `directory` and end its mount.

    Raises:
        MountPointError: it is in use.
        MountdError: not all of it is in the store.
    """
    told = client.commit(directory, timeout_s)
    click.echo(f"{directory}: {told['files']} files, {format_size(told['bytes'])}, are in the store")


def line(row: dict[str, Any]) -> str:
    """The status of an output, for people."""
    told = row["output"]
    refused = f", {len(told['refused'])} refused ({told['refused'][0]})" if told["refused"] else ""
    return (
        f"{row['mountpoint']}: output to {row['source']}; {told['open_files']} files open, {told['pending_files']} to "
        f"upload ({format_size(told['pending_bytes'])}), {told['uploaded_files']} uploaded "
        f"({format_size(told['uploaded_bytes'])}){refused}; {row['restarts']} restarts, up {row['uptime_s']:.0f} s"
    )
