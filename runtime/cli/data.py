"""The commands about places: `moorage init` and `moorage datastore ...`."""

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import Invocation, pass_invocation
from runtime.cli.printing import json_option, print_one, print_rows
from runtime.errors import UnknownNameError

if TYPE_CHECKING:
    from runtime.datastores import DatastoreRecord
    from runtime.workspace import WorkspaceFolder


_FORMS = "file:PATH|env:NAME|command:LINE|azure-default|managed-identity[:CLIENT_ID]|anonymous"


@click.command(short_help="Make a workspace here.")
@click.option("--catalog", metavar="URL", help="A database for names and versions; else a file in the workspace.")
@pass_invocation
def init(invocation: Invocation, catalog: str | None) -> None:
    """Make a workspace: .moorage/ in the current folder, or the folder that --workspace or MOORAGE_WORKSPACE names."""
    from runtime import workspace as workspaces

    named = invocation.workspace_option or os.environ.get(workspaces.VARIABLE)
    folder = workspaces.WorkspaceFolder(Path(named or workspaces.FOLDER).absolute())
    if catalog is not None:
        _check_catalog(catalog, folder)
    existed = folder.exists()
    workspaces.init(folder.path, catalog)
    click.echo(f"{folder.path} is a workspace {'already' if existed else 'now'}")


def _check_catalog(url: str, folder: "WorkspaceFolder") -> None:
    """Refuse a URL that no catalog could have, and one whose driver is missing; nothing is made or contacted."""
    from runtime.catalog.database import Database

    Database(url, folder.catalog_path).close()


@click.group(short_help="Places where data lies, with their credentials.")
def datastore() -> None:
    """Names for places where data lies, with the credentials to get in."""


@datastore.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--credential", metavar=_FORMS, help="Where the secret is; never itself.")
@click.option("--keep", is_flag=True, help="Keep the secret itself: in the keyring, without one in datastores.toml.")
@click.option("--overwrite", is_flag=True, help="Replace a datastore of this name.")
@pass_invocation
def add_datastore(
    invocation: Invocation,
    name: str,
    url: str,
    credential: str | None,
    *,
    keep: bool,
    overwrite: bool,
) -> None:
    """Call the place at URL (a folder, an Azure container or a part of it, a web folder) NAME.

    With env:, file: or command:, what is kept is where the secret lies, and it is read on each use; unless --keep.
    """
    from runtime import datastores

    if "://" not in url and not Path(url).expanduser().is_dir():
        raise UnknownNameError(f"{url}: no such folder; make it first, or give a URL")
    record = datastores.DatastoreRecord(name, url)
    if credential is not None:
        record = _with_credential(record, credential, keep=keep)
    kept = datastores.add(invocation.workspace(), record, overwrite)
    click.echo(f"{kept.name} is {kept.url}")


@datastore.command("list")
@json_option
@pass_invocation
def list_datastores(invocation: Invocation, as_json: bool) -> None:  # noqa: FBT001 # click's
    """List every datastore."""
    from runtime import datastores

    workspace = invocation.workspace()
    default = datastores.default_name(workspace)
    records = datastores.load_all(workspace).values()
    print_rows([_datastore_row(record, default) for record in records], as_json=as_json)


@datastore.command("show")
@click.argument("name")
@json_option
@pass_invocation
def show_datastore(invocation: Invocation, name: str, as_json: bool) -> None:  # noqa: FBT001 # click's
    """Show one datastore; a secret is never shown."""
    from runtime import datastores

    workspace = invocation.workspace()
    record = datastores.load_all(workspace).get(name.lower()) or datastores.get(workspace, name)
    print_one(_datastore_row(record, datastores.default_name(workspace)), as_json=as_json)


@datastore.command("check")
@click.argument("name")
@json_option
@pass_invocation
def check_datastore(invocation: Invocation, name: str, as_json: bool) -> None:  # noqa: FBT001 # click's
    """List a datastore and read of one object with its credential; exit 0, or the code of what is wrong."""
    from runtime import datastores
    from runtime.datastores.checking import check

    record = datastores.get(invocation.workspace(), name)
    verdict = check(record)
    if verdict.warning and not as_json:
        click.echo(f"moorage: {record.name}: {verdict.warning}", err=True)
    told = {"name": record.name, "url": record.url, "verdict": verdict.text, "warning": verdict.warning or None}
    click.echo(json.dumps(told)) if as_json else click.echo(f"{record.name}: {verdict.text}")


@datastore.command("remove")
@click.argument("name")
@pass_invocation
def remove_datastore(invocation: Invocation, name: str) -> None:
    """Forget a datastore; what lies there is not touched."""
    from runtime import datastores

    datastores.remove(invocation.workspace(), name)
    click.echo(f"{name} is removed; its data is untouched")


def _with_credential(record: "DatastoreRecord", option: str, *, keep: bool) -> "DatastoreRecord":
    from mountd.stores.credentials.origins import from_option

    credential = from_option(option)  # also checks that it leads somewhere now
    if keep or not credential.origin:
        return dataclasses.replace(record, credential=dataclasses.replace(credential, origin=""))
    return dataclasses.replace(record, reference=credential.origin)


def _datastore_row(record: "DatastoreRecord", default: str) -> dict[str, Any]:
    where = "in the keyring" if record.keyring else "kept"
    kept = f"{record.credential.kind} ({where})" if record.credential else "none"
    return {
        "name": record.name,
        "url": record.url,
        "credential": record.reference or kept,
        "default": record.name.lower() == default.lower(),
    }
