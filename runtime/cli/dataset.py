"""The commands about datasets: `moorage dataset ...`; those about names and tags are in `naming`.

A path in `dataset register` is a URL, DATASTORE/PATH, or a local file or folder; where a name could be both, the datastore
wins, and `./NAME` means the folder. Registering what is registered already is no error here: the command says which
version it is, so a script may run twice.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import Invocation, naming, pass_invocation, tables
from runtime.cli.naming import dataset_row, tag_pairs
from runtime.cli.printing import json_option, print_one
from runtime.cli.progress import counted, transferred
from runtime.errors import AlreadyRegisteredError, UnknownNameError

if TYPE_CHECKING:
    from runtime.catalog import DatasetRecord
    from runtime.datasets.file import FileDefinition
    from runtime.datasets.paths import DatasetPath
    from runtime.datasets.tabular.definition import TabularDefinition
    from runtime.workspace import WorkspaceFolder


@click.group(short_help="Frozen, named, versioned lists of files.")
def dataset() -> None:
    """Frozen, named, versioned lists of files."""


for _command in (*naming.COMMANDS, tables.export_dataset):
    dataset.add_command(_command)


@dataset.command("register")
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="DATASTORE/PATH|URL|FOLDER...")
@click.option("--new-version", is_flag=True, help="If NAME exists, make its next version.")
@click.option("--description", help="What it is.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="May be given several times.")
@tables.table_options
@json_option
@pass_invocation
def register_dataset(
    invocation: Invocation,
    /,
    name: str,
    paths: Sequence[str],
    new_version: bool,  # noqa: FBT001 # click's
    description: str | None,
    tags: Sequence[str],
    as_json: bool,  # noqa: FBT001 # click's
    **table: Any,
) -> None:
    """Freeze the files at the paths, and call them NAME. `*` matches within a name, `**` across folders.

    With --delimited, --parquet or --json-lines they are a table, and with --sql a query's rows are.
    """
    from runtime.catalog import open_catalog
    from runtime.datasets import file

    workspace = invocation.workspace()
    definition = _definition(workspace, paths, table)
    state = "registered"
    texts: dict[str, Any] = {"description": description, "tags": tag_pairs(tags)}
    try:
        with counted("freezing") as progress:
            if not definition.paths:
                record = _register_query(workspace, name, definition, texts, new_version=new_version)
            else:
                record = file.register(
                    workspace, name, definition, **texts, create_new_version=new_version, progress=progress
                )
    except AlreadyRegisteredError as same:
        state = "already registered"
        with open_catalog(workspace) as catalog:
            record = catalog.get(same.name, same.version)
    if as_json:
        print_one(dataset_row(record) | {"state": state}, as_json=as_json)
    elif state == "registered":
        click.echo(f"{record.name} version {record.version}: {_amount(record)}")
    else:
        click.echo(f"{record.name} version {record.version} is that already: {_amount(record)}")


@dataset.command("download")
@click.argument("reference", metavar="NAME[@VERSION]")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace files that differ.")
@json_option
@pass_invocation
def download_dataset(invocation: Invocation, reference: str, folder: Path, overwrite: bool, as_json: bool) -> None:  # noqa: FBT001 # click's
    """Fetch every file of a version into DIR; run it again to go on where it ended."""
    from mountd.download import download
    from mountd.units import format_size
    from runtime.datasets.file import resolve

    frozen = resolve(invocation.workspace(), reference)
    with transferred("downloading") as progress:
        done = download(frozen.manifest, folder, credentials=frozen.credentials, overwrite=overwrite, progress=progress)
    if as_json:
        print_one(dataclasses.asdict(done), as_json=as_json)
    else:
        fetched = format_size(done.fetched_bytes)
        click.echo(f"{folder}: {done.files} files, {format_size(done.size_bytes)} ({fetched} fetched now)")


@dataset.command("mount")
@click.argument("reference", metavar="NAME[@VERSION]")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@pass_invocation
def mount_dataset(invocation: Invocation, reference: str, folder: Path) -> None:
    """Mount a version on DIR (made if missing), until `mountd unmount DIR`. Where no mount can be made, download it."""
    from mountd import client
    from mountd.download import download
    from runtime.datasets import tuning
    from runtime.datasets.file import resolve

    frozen = resolve(invocation.workspace(), reference)
    reason = client.why_no_fuse()
    if reason is not None:
        click.echo(f"moorage: downloading to {folder} instead of mounting: {reason}", err=True)
        with transferred("downloading") as progress:
            download(frozen.manifest, folder, credentials=frozen.credentials, progress=progress)
        return
    folder.mkdir(parents=True, exist_ok=True)
    mount = client.start(
        frozen.manifest,
        folder,
        source=reference,
        credentials=frozen.credentials,
        settings=tuning.settings(),
        withheld=frozen.withheld,
    )
    mount.release()
    click.echo(f"{reference} is mounted on {folder}; end it with: mountd unmount {folder}")


def _definition(
    workspace: "WorkspaceFolder", paths: Sequence[str], table: Mapping[str, Any]
) -> "FileDefinition | TabularDefinition":
    from runtime.datasets.file import FileDefinition
    from runtime.datastores import databases

    if table["query"]:
        found = tables.definition_of((), table, databases.get(workspace, paths[0]).name)
    else:
        found = tables.definition_of([_path(workspace, path) for path in paths], table)
    if found is None:
        return FileDefinition(tuple(dict.fromkeys(_path(workspace, path) for path in paths)))
    return found


def _register_query(
    workspace: "WorkspaceFolder", name: str, definition: Any, texts: Mapping[str, Any], *, new_version: bool
) -> "DatasetRecord":
    from runtime.datasets.tabular import queries

    return queries.register(workspace, name, definition, **texts, create_new_version=new_version)


def _path(workspace: "WorkspaceFolder", text: str) -> "DatasetPath":
    """DATASTORE/PATH, a URL, or a local path."""
    from runtime import datastores
    from runtime.datasets.paths import below_datastore, parse_text

    if "://" in text or text.startswith(("/", ".", "~")):
        return _existing(parse_text(text), text)
    name, _, below = text.partition("/")
    if name.lower() in datastores.load_all(workspace):
        return below_datastore(name, below)
    if not Path(text).exists() and "*" not in text:
        raise UnknownNameError(f"{text}: neither a datastore '{name}' nor a local path; see `moorage datastore list`")
    return parse_text(text)


def _existing(path: "DatasetPath", text: str) -> "DatasetPath":
    if "://" not in text and "*" not in text and not Path(text).expanduser().exists():
        raise UnknownNameError(f"{text}: no such file or folder")
    return path


def _amount(record: "DatasetRecord") -> str:
    from mountd.units import format_size

    if not record.files:
        return f"a query of {json.loads(record.definition)['source']['datastore']}"
    return f"{record.files} files, {format_size(record.size_bytes)}"
