"""`moorage run`: the command line over runtime.job.

`run` returns the child's own code. Where the child was never started it returns 64 and more, so that a usage error (66) or
an unknown dataset (68) is not taken for a code of the child's.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import Invocation

if TYPE_CHECKING:
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
@click.option("--v1", "is_v1", is_flag=True, help="Answer `import azureml...` in COMMAND by Moorage.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def run(  # noqa: PLR0917 # click names them
    invocation: Invocation,
    inputs: Sequence[str],
    outputs: Sequence[str],
    of_failed_jobs: bool,  # noqa: FBT001 # click's way to pass a flag
    dry_run: bool,  # noqa: FBT001 # click's way to pass a flag
    grace_s: float,
    experiment: str,
    is_v1: bool,  # noqa: FBT001 # as above
    command: Sequence[str],
) -> int:
    """Run COMMAND with its inputs mounted and its outputs kept.

    In COMMAND, {inputs.NAME} and {outputs.NAME} stand for the paths; the child also finds them in $NAME. Everything that
    the job started ends with it. The exit code is the command's own.
    """
    from runtime.job import launcher, planning
    from runtime.job.spec import check_experiment
    from runtime.job.v1 import with_v1

    try:
        check_experiment(experiment)
        spec = _spec(inputs, outputs, grace_s, experiment, command, of_failed_jobs=of_failed_jobs)
        workspace = invocation.workspace_for_run()
        if is_v1:
            os.environ.update(with_v1(os.environ))  # the child's environment is made of ours
        if dry_run:
            click.echo(planning.plan(workspace, spec)[0].describe())
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
