"""mount, unmount, upgrade, credentials, status: the life of a mount, from the command line.

A mount point is a plain `Path` among the arguments: click's own type for paths asks the file system about it, and a mount
that hangs does not answer, not even to be ended.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from mountd import client, log, parsing
from mountd import config as settings
from mountd.cli import health, output
from mountd.cli.data import credential_option, frozen_source, refuse_expired
from mountd.contract.starting import Order
from mountd.dataset.manifest import is_manifest
from mountd.errors import AccessDeniedError, MountPointError, NotFoundError
from mountd.fuse import mounting
from mountd.processes import ProcessId
from mountd.stores.credentials import REMEDY, Credential
from mountd.stores.credentials.origins import secret_variables
from mountd.units import format_size

_STOP_WAIT_S = 10.0
_COMMIT_S = 600.0


def _bound(_: click.Context, __: click.Parameter, text: str | None) -> float:
    return _COMMIT_S if text is None else parsing.pause(text)


@click.command()
@click.argument("source")
@click.argument("directory", metavar="DIR", type=Path)
@click.option("--output", "is_output", is_flag=True, help="Read-write: files written to DIR are uploaded to SOURCE.")
@click.option("--foreground", is_flag=True, help="Stay, and end the mount on Ctrl-C or SIGTERM.")
@click.option("--json", "as_json", is_flag=True, help="Print the status of the new mount as JSON.")
@credential_option
@settings.click_options
@click.pass_context
def mount(
    context: click.Context,
    /,
    source: str,
    directory: Path,
    *,
    is_output: bool,
    foreground: bool,
    as_json: bool,
    credential: Credential | None,
    **flags: str | None,
) -> int:
    """Mount SOURCE on the empty folder DIR; returns when the mount answers.

    SOURCE is a manifest file, or a URL, which is frozen first: file:///dir, https://host/file,
    https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX/ and its path-style and wasbs:// forms,
    abfss://FILESYSTEM@ACCOUNT.dfs.core.windows.net/PREFIX/, or
    https://ACCOUNT.file.core.windows.net/SHARE/PREFIX/.
    """
    asked = settings.load(flags)
    loaded = asked.settings
    log.open_log(context.obj, sys.stderr, loaded.log_format)
    if is_output:
        refuse_expired(credential)
        return output.mount_output(
            source, directory, credential, asked, context.obj, foreground=foreground, as_json=as_json
        )
    if foreground:
        _go_on(directory, source, credential, loaded, context.obj)  # even with an expired one: the cache may have all
    refuse_expired(credential)
    given = Path(source)
    ours = is_manifest(given)
    reason = client.why_no_fuse(loaded.driver)
    if reason is None and not ours:
        given = frozen_source(source, credential, loaded)
    try:
        order = Order(
            manifest=given.absolute(),
            mountpoint=mounting.resolve(directory),
            source=source,
            credentials=_credentials(given, credential) if reason is None else {},
            settings=settings.texts(loaded),
            foreground=foreground,
            print_status=foreground and as_json,
            owner=ProcessId.of(os.getpid()),
            owns_manifest=not ours,
            log_level=context.obj,
        )
        if foreground:
            client.become(order)
        mounted = client.start_order(order)
    except BaseException:  # Ctrl-C, too
        if reason is None and not ours:
            given.unlink(missing_ok=True)
        raise
    if as_json:
        click.echo(json.dumps(mounted.status(), indent=2))
    mounted.release()
    return 0


@click.command()
@click.argument("directory", metavar="DIR", type=Path)
@click.option(
    "--force",
    is_flag=True,
    help="Do not wait for readers; clean up after all dead owners and workers of this user, too.",
)
@click.option(
    "--timeout",
    "timeout_s",
    callback=_bound,
    default=None,
    metavar="TIME",
    help="Of an output: how long its files may stay in use, and then be on their way. Without it 10min.",
)
def unmount(directory: Path, *, force: bool, timeout_s: float) -> None:
    """End the mount on DIR, a dead one too; waits up to 10 s for readers, then detaches it.

    An output is committed: all its files are in the store when this returns 0.
    """
    if not force and output.is_output(directory):
        output.commit(directory, timeout_s)
        return
    if not force:
        output.refuse_dead(directory)
    swept = client.sweep() if force else []
    for line in swept:
        click.echo(f"mountd: {line}", err=True)
    try:
        busy = client.stop(directory, force=force, timeout_s=_STOP_WAIT_S)
    except NotFoundError:
        if not swept:
            raise
        return  # it was among what was swept
    if busy and not force:
        click.echo(f"mountd: {directory}: still in use: detached, and served to those who have files open", err=True)


@click.command()
@click.argument("directory", metavar="DIR", type=Path)
def upgrade(directory: Path) -> None:
    """Have the installed version take over the mount on DIR under its readers; also has one that gave up try again."""
    worker = client.upgrade(directory)
    click.echo(f"{directory}: worker {worker} has taken over")


@click.command()
@click.argument("directory", metavar="DIR", type=Path)
@click.option("--source", default="", metavar="URL", help="Only for this source of the dataset.")
@credential_option
def credentials(directory: Path, source: str, credential: Credential | None) -> None:
    """Have the mount on DIR use another credential from now on, under its readers."""
    if credential is None:
        raise AccessDeniedError(f"{directory}: there is no new credential; {REMEDY}")
    refuse_expired(credential)
    for url in client.credentials(directory, credential, source):
        click.echo(f"{directory}: {url} is read with the new credential")


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=Path)
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
@click.option(
    "--check", is_flag=True, help="Only whether it is healthy: exit 0, or the code of what is wrong, within 5 s."
)
def status(directory: Path | None, *, as_json: bool, check: bool) -> int:
    """What the mount on DIR does, or all mounts of this user."""
    if check:
        return health.check(directory, as_json=as_json)
    rows = [client.status(directory)] if directory else [_status_of(record) for record in client.mounts()]
    if as_json:
        click.echo(json.dumps(rows if directory is None else rows[0], indent=2))
        return 0
    for row in rows:
        click.echo(_line(row))
    return 0


def _go_on(
    directory: Path,
    source: str,
    credential: Credential | None,
    loaded: settings.Settings,
    log_level: str,
) -> None:
    """Become the supervisor of the mount that a service manager kept, if one did; another mount is let go."""
    if "LISTEN_FDS" not in os.environ:
        return
    from mountd.supervisor import handing  # late: it cannot be imported where there are no mounts

    kept = handing.kept()
    if kept is None:
        return
    mountpoint = mounting.resolve(directory)
    if (kept.mountpoint, kept.source) != (mountpoint, source) or not kept.manifest.exists():
        kept.close()
        return
    order = Order(
        manifest=kept.manifest,
        mountpoint=mountpoint,
        source=source,
        credentials=_credentials(kept.manifest, credential),
        settings=settings.texts(loaded),
        foreground=True,
        owns_manifest=kept.owns_manifest,
        log_level=log_level,
    )
    for name in secret_variables([credential] if credential is not None else []):
        os.environ.pop(name, None)
    handing.execute(sys.executable, kept.handed(order))


def _status_of(record: client.MountRecord) -> dict[str, Any]:
    try:
        return client.status(record.mountpoint)
    except (NotFoundError, MountPointError) as error:
        return {"mountpoint": str(record.mountpoint), "source": record.source, "error": str(error)}


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return str(row["error"])
    if "output" in row:
        return output.line(row)
    reads, fetch, cache = row["reads"], row["fetch"], row["cache"]
    return (
        f"{row['mountpoint']}: {row['files']} files, {format_size(row['bytes'])} of {row['source']}; "
        f"read {format_size(reads['bytes'])} in {reads['count']}, fetched {format_size(fetch['bytes'])} in "
        f"{fetch['requests']}{_failed(fetch['errors'])}, cache {cache['hits']} hits, {cache['misses']} misses; "
        f"driver {row['driver']}, up {row['uptime_s']:.0f} s"
    )


def _failed(errors: int) -> str:
    return f" of which {errors} failed" if errors else ""


def _credentials(manifest: Path, credential: Credential | None) -> dict[str, Credential]:
    """The one credential of a command line, for every source of the manifest."""
    if credential is None:
        return {}
    from mountd.dataset.manifest import Manifest

    with Manifest.open(manifest) as opened:
        return dict.fromkeys(opened.sources, credential)
