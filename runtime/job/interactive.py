"""Runs without a launcher: a notebook's, begun by `Experiment.start_logging`, and the children of any run.

The process that began such a run owns its record, as a launcher owns a job's: when it has died without a word about the
end, the run has failed. Whoever has the run's id may end it.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import UserErrorException
from runtime.job import lineage, runs
from runtime.job.runs import INTERACTIVE, RunRecord
from runtime.job.spec import JobSpec, new_run_id
from runtime.workspace import WorkspaceFolder

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


def begin(
    workspace: WorkspaceFolder,
    experiment: str,
    tags: Mapping[str, str],
    *,
    run_id: str | None = None,
    parent: str | None = None,
    status: str = "Running",
) -> RunRecord:
    """Make a run that this process owns.

    Raises:
        UserErrorException: `run_id` is no id, or there is such a run.
    """
    if run_id is not None and not _RUN_ID.fullmatch(run_id):
        raise UserErrorException(f"{run_id!r} is no id for a run; use letters, digits, '_', '-' and '.'")
    spec = JobSpec(
        run_id or new_run_id(experiment),
        experiment,
        (sys.argv[0] or "python", *sys.argv[1:]),
        str(Path.cwd()),
        tags=tags,
    )
    if runs.folder_of(workspace, spec.run_id).exists():
        raise UserErrorException(f"there is a run '{run_id}' already; leave run_id out, and it gets one of its own")
    record = runs.create(workspace, spec, kind=INTERACTIVE, parent=parent)
    if status == "Running":
        record = runs.write(workspace, record, status=status, started=runs.now())
    lineage.tell(workspace, record, _say)
    return record


def start(workspace: WorkspaceFolder, record: RunRecord) -> RunRecord:
    """A run that was only created is running now, and is this process's."""
    return runs.take(workspace, record, status="Running", started=record.started or runs.now())


def end(workspace: WorkspaceFolder, record: RunRecord, status: str, error: str | None = None) -> RunRecord:
    """Write the end of the run; a run that has ended keeps its first end, as in v1."""
    if record.status in runs.FINAL:
        return record
    code = 0 if status == "Completed" else 1
    record = runs.write(workspace, record, status=status, error=error, exit_code=code, ended=runs.now())
    lineage.tell(workspace, record, _say)
    return record


def _say(line: str) -> None:
    print(f"moorage: {line}", file=sys.stderr)  # noqa: T201 # a line for the user, not a log
