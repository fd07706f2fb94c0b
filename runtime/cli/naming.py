"""The commands about what datasets are called and where they come from: list, show, rename, tag and unregister.

None of them touches data, or asks a store. `show` tells the lineage; the status of a run that belongs to this workspace is
read from the run's own record, which knows of a launcher that died.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import Invocation, pass_invocation, tables
from runtime.cli.printing import json_option, print_one, print_rows, printable
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    from runtime.catalog import DatasetRecord, Lineage, RunLink
    from runtime.workspace import WorkspaceFolder

_SHOWN_READINGS = 10


@click.command("list")
@click.option("--name", "name_glob", metavar="GLOB", default="*", help="Only names that match, such as 'train-*'.")
@click.option(
    "--tag", "tags", multiple=True, metavar="KEY[=VALUE]", help="Only what has this tag; several: all of them."
)
@click.option("--run", "run_id", metavar="ID", help="Only what this run made or read.")
@click.option("--all-versions", is_flag=True, help="Every version, not the latest of each name.")
@json_option
@pass_invocation
def list_datasets(
    invocation: Invocation,
    name_glob: str,
    tags: Sequence[str],
    run_id: str | None,
    all_versions: bool,  # noqa: FBT001 # click's
    as_json: bool,  # noqa: FBT001 # click's
) -> None:
    """List the latest version of every dataset, or those that the filters let through."""
    from runtime.catalog import open_catalog

    wanted = {key: value if equals else None for key, equals, value in (tag.partition("=") for tag in tags)}
    with open_catalog(invocation.workspace()) as catalog:
        found = catalog.list(name_glob, wanted, run_id, all_versions=all_versions)
    rows = [dataset_row(record) for record in found]
    columns = ("name", "version", "kind", "files", "bytes", "created", "description")
    print_rows(rows if as_json else [{key: row[key] for key in columns} for row in rows], as_json=as_json)


@click.command("show")
@click.argument("reference", metavar="NAME[@VERSION]|ID")
@click.option("--head", type=click.IntRange(min=1), metavar="N", help="The first N rows of a table, too.")
@click.option("--profile", is_flag=True, help="What a table's columns hold, too; reads all of it.")
@json_option
@pass_invocation
def show_dataset(
    invocation: Invocation,
    reference: str,
    head: int | None,
    profile: bool,  # noqa: FBT001 # click's
    as_json: bool,  # noqa: FBT001 # click's
) -> None:
    """Show one version: what it was defined as and frozen to, which run made it, and which runs read it."""
    from runtime.catalog import open_catalog
    from runtime.datasets.file import find_record

    workspace = invocation.workspace()
    record = find_record(workspace, reference)
    with open_catalog(workspace) as catalog:
        lineage = catalog.lineage(record)
    row, defined = dataset_row(record), _definition_row(record)
    table = tables.opened(workspace, record) if head or profile else None
    if as_json:
        told: dict[str, Any] = {"head": tables.head_rows(table, head)} if table and head else {}
        told |= {"profile": table.get_profile().to_dict()} if table and profile else {}
        print_one(row | defined | {"lineage": _lineage_row(workspace, lineage)} | told, as_json=True)
        return
    print_one(row | {key: ", ".join(values) for key, values in defined.items() if values}, as_json=False)
    for key, value in _lineage_lines(workspace, lineage):
        click.echo(f"{key:12} {printable(value)}")
    if table and head:
        tables.print_table(tables.head_rows(table, head))
    if table and profile:
        tables.print_table(tables.profile_rows(table))


@click.command("rename")
@click.argument("name")
@click.argument("new_name")
@pass_invocation
def rename_dataset(invocation: Invocation, name: str, new_name: str) -> None:
    """Call all versions of NAME NEW_NAME; their numbers stay, and NAME is an error that says so."""
    from runtime.catalog import open_catalog

    with open_catalog(invocation.workspace()) as catalog:
        count = catalog.rename(name, new_name)
    click.echo(f"{name} is {new_name} now: {_counted(count)}")


@click.command("tag")
@click.argument("reference", metavar="NAME[@VERSION]|ID")
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE...]")
@click.option("--remove", multiple=True, metavar="KEY", help="Remove this tag; may be given several times.")
@click.option("--description", help="Say this of it; '' says nothing.")
@json_option
@pass_invocation
def tag_dataset(
    invocation: Invocation,
    reference: str,
    tags: Sequence[str],
    remove: Sequence[str],
    description: str | None,
    as_json: bool,  # noqa: FBT001 # click's
) -> None:
    """Set tags of one version (the latest if none is named), remove some, or describe it."""
    from runtime.catalog import open_catalog
    from runtime.datasets.file import find_record

    added = tag_pairs(tags)
    if not added and not remove and description is None:
        raise UserErrorException("nothing to change; write KEY=VALUE, --remove KEY or --description TEXT")

    def changed(there: Mapping[str, str]) -> Mapping[str, str]:
        if missing := [key for key in remove if key not in there]:
            raise UserErrorException(f"{reference} has no tag {missing[0]!r}; it has: {', '.join(there) or 'none'}")
        return {**{key: there[key] for key in there if key not in remove}, **added}

    workspace = invocation.workspace()
    record = find_record(workspace, reference)
    with open_catalog(workspace) as catalog:
        record = catalog.change(record.id, description, changed)
    row = dataset_row(record)
    print_one(
        row if as_json else {key: row[key] for key in ("name", "version", "description", "tags")}, as_json=as_json
    )


@click.command("unregister")
@click.argument("reference", metavar="NAME[@VERSION]")
@pass_invocation
def unregister_dataset(invocation: Invocation, reference: str) -> None:
    """Take the name from all versions of a dataset, or from one.

    Data, ids and lineage stay. The numbers do not come again: the next version of NAME counts on.
    """
    from runtime.catalog import open_catalog

    name, at, version = reference.partition("@")
    with open_catalog(invocation.workspace()) as catalog:
        chosen = catalog.get(name, version).version if at else None
        count = catalog.unregister(name, chosen)
    click.echo(f"{reference} is unregistered: {_counted(count)}; the data is untouched")


COMMANDS = (list_datasets, show_dataset, rename_dataset, tag_dataset, unregister_dataset)


def dataset_row(record: "DatasetRecord") -> dict[str, Any]:
    """A version as the commands print it."""
    return {
        "name": record.name,
        "version": record.version,
        "id": record.id,
        "kind": _kind(record),
        "files": record.files,
        "bytes": record.size_bytes,
        "digest": record.digest,
        "created": record.created.isoformat(timespec="seconds"),
        "description": record.description,
        "tags": dict(record.tags),
        "definition": json.loads(record.definition),
    }


def _kind(record: "DatasetRecord") -> str:
    """What it is made of: files, or a table of some format."""
    definition = json.loads(record.definition)
    return str(definition["source"]["format"]) if definition.get("type") == "tabular" else "file"


def _definition_row(record: "DatasetRecord") -> dict[str, list[str]]:
    """What a File dataset's definition says besides its paths, in words."""
    from runtime.datasets.file import FileDefinition

    if json.loads(record.definition).get("type") != "file":
        return {}
    definition = FileDefinition.from_json(record.definition)
    keys = list(definition.partition.names) if definition.partition else []
    return {"steps": [str(step) for step in definition.steps], "partition_keys": keys}


def tag_pairs(pairs: Sequence[str]) -> Mapping[str, str]:
    """KEY=VALUE, as typed on the command line, as a dictionary."""
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise UserErrorException(f"the tag {bad[0]!r}: write KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _lineage_row(workspace: "WorkspaceFolder", lineage: "Lineage") -> dict[str, Any]:
    return {
        "made_by": [_link_row(workspace, each, "output") for each in lineage.made_by],
        "made_from": [{"name": each.name, "version": each.version, "id": each.id} for each in lineage.made_from],
        "read_by": [_link_row(workspace, each, "input") for each in lineage.read_by],
        "read_count": lineage.read_count,
        "former_names": list(lineage.former_names),
    }


def _link_row(workspace: "WorkspaceFolder", link: "RunLink", role: str) -> dict[str, Any]:
    run = dataclasses.asdict(link.run) if link.run else {"id": link.run_id}
    mode = {"mode": link.mode} if link.mode else {}
    return {**run, "status": _status(workspace, link), role: link.name, **mode}


def _lineage_lines(workspace: "WorkspaceFolder", lineage: "Lineage") -> list[tuple[str, str]]:
    lines = [("formerly", name) for name in lineage.former_names]
    lines += [("made by", f"{_told(workspace, each)}, output '{each.name}'") for each in lineage.made_by]
    lines += [("made from", f"{each.name}@{each.version}" if each.name else each.id) for each in lineage.made_from]
    for each in lineage.read_by[:_SHOWN_READINGS]:
        lines.append(("read by", f"{_told(workspace, each)}, input '{each.name}' ({each.mode})"))
    if lineage.read_count > _SHOWN_READINGS:
        lines.append(("", f"and {lineage.read_count - _SHOWN_READINGS} before; --json shows more"))
    return lines


def _told(workspace: "WorkspaceFolder", link: "RunLink") -> str:
    ended = f" {link.run.ended}" if link.run and link.run.ended else ""
    return f"{link.run_id} ({_status(workspace, link)}{ended})"


def _status(workspace: "WorkspaceFolder", link: "RunLink") -> str:
    """The run's own word where it is one of this workspace, else what the catalog was told."""
    from runtime.job import runs

    told = link.run.status if link.run else "unknown"
    if told in runs.FINAL:
        return told
    try:
        return runs.status_of(runs.read(workspace, link.run_id))
    except UserErrorException:  # of another workspace, or a record that is damaged
        return told


def _counted(count: int) -> str:
    return "1 version" if count == 1 else f"{count} versions"
