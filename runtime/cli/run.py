"""`moorage run` and `moorage runs`: the command line over runtime.job.

`run` returns the child's own code. Where the child was never started it returns 64 and more, so that a usage error (66) or
an unknown dataset (68) is not taken for a code of the child's.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import Invocation

if TYPE_CHECKING:
    from runtime.job.runs import RunRecord
    from runtime.job.spec import JobSpec

_NEVER_RAN = 64


class _RunCommand(click.Command):
    """A command whose usage errors are told from the child's exit codes."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click's own, with another exit code for errors."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.show()
            raise click.exceptions.Exit(_NEVER_RAN + error.exit_code) from error


@click.command(cls=_RunCommand, context_settings={"allow_interspersed_args": False})
@click.option(
    "--input",
    "inputs",
    metavar="NAME=DATASET[@VERSION][:MODE]",
    multiple=True,
    help="A dataset for the job; MODE is mount (the default), download or direct.",
)
@click.option(
    "--output",
    "outputs",
    metavar="NAME=DATASTORE/PATH[:upload][:register=DATASET]",
    multiple=True,
    help="A folder that is uploaded when the job has succeeded; PATH may hold {run-id} and {output-name}.",
)
@click.option(
    "--outputs-of-failed-jobs",
    "of_failed_jobs",
    is_flag=True,
    help="Store and register the outputs even if COMMAND fails, as the old SDK did.",
)
@click.option("--dry-run", is_flag=True, help="Print the job's folders, command and variables, and start nothing.")
@click.option(
    "--grace", "grace_s", type=float, default=30.0, show_default=True, help="Seconds from SIGTERM to SIGKILL."
)
@click.option("--experiment", default="job", show_default=True, help="What the run is called; part of its id.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def run(
    invocation: Invocation,
    inputs: Sequence[str],
    outputs: Sequence[str],
    of_failed_jobs: bool,  # noqa: FBT001 # click's way to pass a flag
    dry_run: bool,  # noqa: FBT001 # click's way to pass a flag
    grace_s: float,
    experiment: str,
    command: Sequence[str],
) -> int:
    """Run COMMAND with its inputs mounted and its outputs kept.

    In COMMAND, {inputs.NAME} and {outputs.NAME} stand for the paths; the child also finds them in $NAME. Everything that
    the job started ends with it. The exit code is the command's own.
    """
    from runtime.job import launcher
    from runtime.job.spec import check_experiment

    try:
        check_experiment(experiment)
        spec = _spec(inputs, outputs, grace_s, experiment, command, of_failed_jobs=of_failed_jobs)
        workspace = invocation.workspace_for_run()
        if dry_run:
            click.echo(launcher.plan(workspace, spec)[0].describe())
            return 0
        return launcher.launch(workspace, spec)
    except Exception as error:
        if invocation.debug:
            raise
        raise launcher.never_ran(error) from error


def _spec(
    inputs: Sequence[str],
    outputs: Sequence[str],
    grace_s: float,
    experiment: str,
    command: Sequence[str],
    *,
    of_failed_jobs: bool,
) -> "JobSpec":
    from runtime.consumption import parse_input
    from runtime.job.spec import JobSpec, new_run_id
    from runtime.outputs import parse_output

    return JobSpec(
        new_run_id(experiment),
        experiment,
        tuple(command),
        str(Path.cwd()),
        tuple(map(parse_input, inputs)),
        tuple(replace(parse_output(each), of_failed_jobs=of_failed_jobs) for each in outputs),
        grace_s,
    )


@click.group()
def runs() -> None:
    """What has run, and its logs."""


@runs.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def list_runs(invocation: Invocation, as_json: bool) -> None:  # noqa: FBT001 # click's way to pass a flag
    """All runs of the workspace, the oldest first."""
    from runtime.job import runs as records

    found = list(records.read_all(invocation.workspace()))
    if as_json:
        click.echo(json.dumps([_document(record) for record in found], indent=1))
        return
    for record in found:
        code = "-" if record.exit_code is None else str(record.exit_code)
        click.echo(f"{record.run_id}  {records.status_of(record):<10}  {code:>3}  {record.created}")


@runs.command("show")
@click.argument("run_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The whole record, as one JSON document.")
@click.pass_obj
def show_run(invocation: Invocation, run_id: str, as_json: bool) -> None:  # noqa: FBT001 # as above
    """One run: its status, inputs with what was read, outputs with where they are."""
    from runtime.job import runs as records

    record = records.read(invocation.workspace(), run_id)
    click.echo(json.dumps(_document(record), indent=1) if as_json else "\n".join(_lines(record)))


@runs.command("logs")
@click.argument("run_id", metavar="ID")
@click.pass_obj
def show_logs(invocation: Invocation, run_id: str) -> None:
    """What the job printed."""
    from runtime.job import runs as records

    workspace = invocation.workspace()
    records.read(workspace, run_id)
    with records.log_path(workspace, run_id).open("rb") as log:
        while block := log.read(1 << 16):
            sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


@runs.command("resume")
@click.argument("run_id", metavar="ID")
@click.pass_obj
def resume_run(invocation: Invocation, run_id: str) -> None:
    """Store and register the outputs of a job that succeeded, where that was cut short."""
    from runtime.job import finish

    record = finish.resume(invocation.workspace(), run_id, lambda line: click.echo(f"moorage: {line}", err=True))
    for output in record.outputs:
        registered = f", registered as {output.registered}" if output.registered else ""
        click.echo(f"{output.name}: {output.files} files in {output.datastore}/{output.path}{registered}")


def _document(record: "RunRecord") -> dict[str, Any]:
    from runtime.job import runs as records

    return record.to_document() | {"status": records.status_of(record)}


def _lines(record: "RunRecord") -> list[str]:
    from mountd.units import format_size
    from runtime.job import runs as records

    lines = [f"{record.run_id}  {records.status_of(record)}", f"command   {' '.join(record.spec.command)}"]
    lines += [f"{name:<9} {value}" for name, value in _facts(record) if value is not None]
    for each in record.inputs:
        version = f" version {each.version}" if each.version else ""
        fetched = each.counters.get("fetch", {}).get("bytes")
        read = each.counters.get("reads", {}).get("bytes", 0)
        counted = "" if fetched is None else f", {format_size(read)} read, {format_size(fetched)} fetched"
        lines.append(f"input     {each.name} = {each.dataset}{version} ({each.mode}) at {each.value}{counted}")
    for output in record.outputs:
        what = f"{output.files} files, {format_size(output.bytes)} in {output.datastore}/{output.path}"
        lines.append(f"output    {output.name}: {output.error or (what if output.files else output.state)}")
        if output.registered:
            lines.append(f"          registered as {output.registered}")
    return lines


def _facts(record: "RunRecord") -> tuple[tuple[str, object], ...]:
    return (
        ("started", record.started),
        ("ended", record.ended),
        ("exit code", record.exit_code),
        ("error", record.error),
        ("launcher", record.launcher.pid if record.launcher and record.status == "Running" else None),
    )
