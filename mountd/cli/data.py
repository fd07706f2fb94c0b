"""freeze, verify, diff, download: manifests and bytes without a mount."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mountd.config import Settings, load
from mountd.errors import BadInputError, DataChangedError
from mountd.stores.credentials import Credential, sas
from mountd.stores.credentials.origins import FORMS, from_environment, from_option
from mountd.units import format_size

if TYPE_CHECKING:
    from mountd.diff import Drift

_LOG = logging.getLogger(__name__)
_Command = TypeVar("_Command", bound=Callable[..., object])


def _credential(_: click.Context, __: click.Parameter, text: str | None) -> Credential | None:
    return from_environment(os.environ) if text is None else from_option(text, os.environ)


def credential_option(command: _Command) -> _Command:
    """Give a command --credential; without it the environment decides."""
    return click.option(
        "--credential",
        callback=_credential,
        metavar=FORMS,
        help="Where the credential is. Without it AZURE_STORAGE_CONNECTION_STRING, _KEY or _SAS_TOKEN.",
    )(command)


def refuse_expired(credential: Credential | None) -> None:
    """See that a credential can be put to use; a token that ends soon is a warning in the log.

    Raises:
        AccessDeniedError: it has expired.
    """
    if warning := sas.check(credential):
        _LOG.warning("%s", warning)


def frozen_source(source: str, credential: Credential | None, settings: Settings) -> Path:
    """Freeze what a user typed into a manifest of its own below the cache; return its path."""
    from mountd.cache.folder import prepare_folder
    from mountd.freeze import PAGE_DEADLINE_S, freeze_source

    if "://" not in source:
        what = "no such manifest" if not Path(source).exists() else "not a manifest"
        raise BadInputError(f"{source}: {what}; a folder is named by its URL: file://{Path(source).absolute()}")
    # With the umask of many a login (002) a plain mkdir would make a cache folder that the worker then refuses.
    folder = prepare_folder(settings.cache_dir) / "frozen"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{os.getpid()}-{os.urandom(4).hex()}.manifest"
    with counting("freezing") as progress:
        freeze_source(source, credential, target, progress, min(PAGE_DEADLINE_S, settings.read_deadline_s))
    return target


@contextmanager
def counting(what: str, expected: int = 0) -> Iterator[Callable[[int], None] | None]:
    """A line on a terminal's stderr that counts files, of some `expected`; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        begin_s, first = time.monotonic(), -1

        def tell(files: int) -> None:
            nonlocal first
            first = files if first < 0 else first  # what was there before is no part of the rate
            rate = (files - first) / max(time.monotonic() - begin_s, 0.1)
            status.update(f"{what}: {counted(files, rate, expected)}")

        yield tell


def counted(files: int, rate: float, expected: int) -> str:
    """How many files there are by now, how fast they come and, if so many are expected, how long the others take."""
    so_far = f"{files:,} files" if files >= expected else f"{files:,} of about {expected:,} files"
    if rate < 1:
        return so_far
    left = f", {(expected - files) / rate:,.0f} s left" if files < expected else ""
    return f"{so_far}, {rate:,.0f}/s{left}"


@click.command()
@click.argument("source")
@click.option(
    "-o", "--output", "target", metavar="FILE", required=True, type=click.Path(path_type=Path), help="The manifest."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@click.option(
    "--since",
    metavar="OLDER",
    type=click.Path(path_type=Path),
    help="List what is new, changed or gone since the manifest OLDER.",
)
@credential_option
def freeze(source: str, target: Path, *, overwrite: bool, since: Path | None, credential: Credential | None) -> None:
    """Freeze SOURCE into the manifest FILE: paths, sizes and ETags as they are now.

    Killed, it leaves what it has listed beside FILE; the same command goes on from there.
    """
    from mountd.freeze import freeze_source

    if target.exists() and not overwrite:
        raise BadInputError(f"{target}: is there already; choose another name, or --overwrite")
    refuse_expired(credential)
    if target.exists() and not target.is_file():  # root could replace /dev/null
        raise BadInputError(f"{target}: no file, and a manifest replaces nothing else; choose another name")
    expected = 0 if since is None else _files_in(since, target)
    with counting("freezing", expected) as progress:
        summary = freeze_source(source, credential, target, progress, resumed=_goes_on)
    if since is not None:
        from mountd.diff import compare

        for drift in compare(since, target):
            click.echo(_line(drift))
    click.echo(f"{target}: {summary.files} files, {format_size(summary.size_bytes)}, digest {summary.digest}")


@click.command()
@click.argument("manifest", metavar="FILE", type=click.Path(path_type=Path))
def verify(manifest: Path) -> None:
    """Check that the manifest FILE is whole: structure, paths, digest."""
    from mountd.dataset.manifest import Manifest

    with Manifest.open(manifest) as opened:
        opened.verify()
        click.echo(
            f"{manifest}: whole; {opened.file_count} files, {format_size(opened.size_bytes)}, digest {opened.digest}"
        )


def _goes_on(files: int) -> None:
    click.echo(f"going on where the last freeze into this file ended: {files} files are listed already", err=True)


def _files_in(older: Path, target: Path) -> int:
    """How many files the manifest `older` has: so many may come again."""
    from mountd.dataset.manifest import Manifest

    with Manifest.open(older) as opened:
        if target.exists() and older.samefile(target):
            raise BadInputError(f"{older}: is also what is to be written; give the new manifest another name")
        return opened.file_count


@click.command()
@click.argument("manifest", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("newer", metavar="[NEWER]", required=False, type=click.Path(path_type=Path))
@click.option("--new", is_flag=True, help="Also tell what lies beside the frozen files now.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on each line.")
@credential_option
def diff(manifest: Path, newer: Path | None, *, new: bool, as_json: bool, credential: Credential | None) -> int:
    """List what has changed or gone since FILE was frozen, by listing its sources; exit 9 if anything has.

    With a second manifest nobody is asked, and what is new in it is told, too.
    """
    from mountd.dataset.manifest import Manifest
    from mountd.diff import compare
    from mountd.diff import diff as run

    with Manifest.open(manifest) as opened:
        credentials = dict.fromkeys(opened.sources, credential) if credential is not None else {}
    refuse_expired(credential)
    code = 0
    for drift in run(manifest, credentials, new=new) if newer is None else compare(manifest, newer):
        code = DataChangedError.exit_code
        told = {name: value for name, value in asdict(drift).items() if value not in {"", None}}
        click.echo(json.dumps(told) if as_json else _line(drift))
    return code


def _line(drift: "Drift") -> str:
    """A path may hold any character; one that would break the line is shown by its escape."""
    path = drift.path if drift.path.isprintable() else repr(drift.path)
    kept = "the frozen version is kept by the store" if drift.kept else ""
    if drift.kind != "changed":
        return f"{drift.kind:8} {path}{kept and ': ' + kept}"
    etags = f"ETag {drift.frozen_etag or 'none'} -> {drift.found_etag or 'none'}"
    return f"{drift.kind:8} {path}: {etags}, {drift.frozen_size} -> {drift.found_size} bytes{kept and ', ' + kept}"


@click.command()
@click.argument("source")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace files in DIR that differ.")
@click.option(
    "--verify-wire",
    is_flag=True,
    help="Compare every range of an Azure blob with its MD5 as it comes. [environment: MOORAGE_VERIFY_WIRE]",
)
@credential_option
def download(
    source: str, directory: Path, *, overwrite: bool, verify_wire: bool, credential: Credential | None
) -> None:
    """Put the files of SOURCE, a manifest or a URL, into DIR; a second call fetches only what lacks."""
    from mountd.dataset.manifest import Manifest, is_manifest
    from mountd.download import download as run

    refuse_expired(credential)
    given = Path(source)
    ours = is_manifest(given)
    settings = load({"verify_wire": "true"} if verify_wire else {}).settings
    manifest = given if ours else frozen_source(source, credential, settings)
    try:
        with Manifest.open(manifest) as opened:
            credentials = dict.fromkeys(opened.sources, credential) if credential is not None else {}
            total_bytes = opened.size_bytes
        with filling("downloading", total_bytes) as progress:
            done = run(
                manifest,
                directory,
                credentials=credentials,
                overwrite=overwrite,
                progress=progress,
                verify_wire=settings.verify_wire,
            )
    finally:
        if not ours:
            manifest.unlink(missing_ok=True)

    click.echo(
        f"{directory}: {done.files} files, {format_size(done.size_bytes)}; "
        f"fetched {format_size(done.fetched_bytes)} in {done.seconds:.1f} s"
    )


@contextmanager
def filling(what: str, total_bytes: int) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar of bytes on a terminal's stderr; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total_bytes)
        yield lambda _, size_bytes: bar.update(task, completed=size_bytes)
