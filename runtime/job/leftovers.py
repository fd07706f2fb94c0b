"""Cleaning up behind launchers that died: the next run does it before it starts anything of its own.

A run whose record is not final and whose launcher is dead has left something, if its keeper died with it: processes, found
by MOORAGE_RUN_ID in the environment they were started with (this user's only); dead mounts; the folders of its inputs. Its
outputs stay in the spool, whole or not, and its record says so.
"""

import contextlib
import shutil
from collections.abc import Callable

from mountd.errors import MountdError
from runtime.job import lineage, processes, runs
from runtime.job.layout import RUN_ID
from runtime.job.runs import RunRecord
from runtime.workspace import WorkspaceFolder

_GRACE_S = 5.0


def clean(workspace: WorkspaceFolder, say: Callable[[str], None]) -> None:
    """End, detach and mark what dead launchers of this workspace left behind; a line for each run."""
    left = [record for record in runs.read_all(workspace) if record.is_left_behind()]
    ended = {record.run_id: len(processes.end_marked(f"{RUN_ID}={record.run_id}", _GRACE_S)) for record in left}
    _sweep(say)
    catalog_hears = True  # one that does not answer is waited for once, not for every run
    for record in left:
        marked = _mark(workspace, record, ended[record.run_id])
        catalog_hears = catalog_hears and lineage.tell(workspace, marked, say)
        if record.kind == runs.JOB:
            say(f"cleaned up behind run '{record.run_id}', whose launcher died; {ended[record.run_id]} processes ended")


def _sweep(say: Callable[[str], None]) -> None:
    """Detach the dead mounts of this user."""
    from mountd import client

    if client.why_no_fuse() is not None:
        return
    try:
        lines = client.sweep()
    except MountdError as error:
        say(f"dead mounts could not be cleaned up: {error}")
        return
    for line in lines:
        say(line)


def _mark(workspace: WorkspaceFolder, record: RunRecord, ended: int) -> RunRecord:
    if record.kind == runs.INTERACTIVE:
        error = "its process ended without run.complete()"
        return runs.write(workspace, record, status="Failed", exit_code=1, error=error, ended=runs.now())
    inputs = runs.folder_of(workspace, record.run_id) / "inputs"
    if inputs.is_dir():
        for folder in inputs.iterdir():
            with contextlib.suppress(OSError):  # a mount that could not be detached stays, and is never entered
                if not folder.is_mount():
                    shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            inputs.rmdir()
    error = f"the launcher died; {ended} processes of the job were ended"
    if record.child_exit_code == 0:
        error += f"; finish the outputs with `moorage runs resume {record.run_id}`"
    # 125: a part of the job died under it. The child's own code, if it had one by then, stays beside it.
    return runs.write(workspace, record, status="Failed", exit_code=125, error=error, ended=runs.now())
