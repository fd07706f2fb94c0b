"""The outputs of a job after its child: stored, registered, and gone from the spool once that is done.

Each output stands for itself: one that fails keeps its files where they are and says so, and the others go on. Nothing is
registered that is not whole in the store. `resume` does for a finished job whatever is left to be done, and nothing else.
"""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mountd.errors import DestinationExistsError, MountdError
from runtime import outputs
from runtime.errors import AzureMLException, JobError, UserErrorException
from runtime.job import lineage, processes, runs
from runtime.job.runs import OutputRecord, RunRecord
from runtime.workspace import WorkspaceFolder

INCOMPLETE = 120
Say = Callable[[str], None]


def finish_outputs(workspace: WorkspaceFolder, record: RunRecord, say: Say, *, again: bool = False) -> RunRecord:
    """Store and register every output that is not whole yet; return the record, written after each of them."""
    for number, output in enumerate(record.outputs):
        if output.whole:
            continue
        done = _finish(workspace, record, output, again=again)
        if done.error:
            say(f"output '{done.name}' is not {'registered' if done.state == 'stored' else 'stored'}: {done.error}")
        changed = (*record.outputs[:number], done, *record.outputs[number + 1 :])
        record = runs.note(workspace, record, say, outputs=changed)
        if done.whole and _is_staged(workspace, record.run_id, done):
            shutil.rmtree(done.folder, ignore_errors=True)
    remove_spool(workspace, record.run_id)
    return record


def _finish(workspace: WorkspaceFolder, record: RunRecord, output: OutputRecord, *, again: bool) -> OutputRecord:
    spec = next(each for each in record.spec.outputs if each.name == output.name)
    try:
        if output.state != "stored":
            stored = outputs.upload_output(workspace, spec, record.run_id, Path(output.folder), again=again)
            output = replace(output, state="stored", files=stored.files, bytes=stored.size_bytes, error=None)
        if spec.register_as:
            if not output.files:
                raise UserErrorException(f"it is empty: the command wrote nothing to ${output.name}")
            registered = outputs.register_output(workspace, spec, record.run_id)
            output = replace(output, state="registered", registered=registered, error=None)
    except DestinationExistsError as error:
        hint = "with {run-id} in its path, each run has a place of its own"
        output = replace(output, state="failed", error=f"{' '.join(str(error).split())}; {hint}")
    except (MountdError, AzureMLException, OSError) as error:
        state = "stored" if output.state == "stored" else "failed"
        output = replace(output, state=state, error=" ".join(str(error).split()))
    return output


def incomplete(record: RunRecord) -> str | None:
    """The line that says which outputs are not done, and how to go on; None if all are."""
    missing = [f"'{each.name}'" for each in record.outputs if not each.whole]
    if not missing:
        return None
    return (
        f"output {', '.join(missing)}: not whole in the store or not registered, the files are kept; "
        f"go on with `moorage runs resume {record.run_id}`"
    )


def keep_outputs(workspace: WorkspaceFolder, record: RunRecord, say: Say) -> None:
    """After a failed job: say where the files of each output are, and remove the folders that hold none."""
    for output in record.outputs:
        folder = Path(output.folder)
        if folder.is_dir() and any(folder.rglob("*")):
            say(f"output '{output.name}' of the failed job is neither stored nor registered; its files are in {folder}")
        elif _is_staged(workspace, record.run_id, output):
            shutil.rmtree(folder, ignore_errors=True)
    remove_spool(workspace, record.run_id)


def _is_staged(workspace: WorkspaceFolder, run_id: str, output: OutputRecord) -> bool:
    """True if the folder is ours, in the spool, and not one that the user named."""
    return Path(output.folder) == workspace.spool_path / run_id / output.name


def remove_spool(workspace: WorkspaceFolder, run_id: str) -> None:
    """Remove the spool folder of a run once nothing is left in it."""
    with contextlib.suppress(OSError):  # not empty, or never made
        (workspace.spool_path / run_id).rmdir()


def resume(workspace: WorkspaceFolder, run_id: str, say: Say) -> RunRecord:
    """Finish the outputs of a run whose child succeeded.

    Raises:
        UserErrorException: the run is still going, or its child failed, so that there is nothing to finish.
        JobError: an output is still not whole (120).
    """
    record = runs.read(workspace, run_id)
    if record.status not in runs.FINAL and not record.is_left_behind():
        raise UserErrorException(f"run '{run_id}' is still going ({record.status}); wait for its end")
    if record.child_exit_code != 0 or record.status == "Canceled":
        raise UserErrorException(f"run '{run_id}' failed, and outputs of a failed job are not stored; run it again")
    if processes.marked(f"MOORAGE_RUN_ID={run_id}"):
        raise UserErrorException(f"processes of run '{run_id}' are still there; the next `moorage run` ends them")
    record = runs.take(workspace, record, status="Finalizing")
    record = finish_outputs(workspace, record, say, again=True)
    line = incomplete(record)
    code = INCOMPLETE if line else 0
    status = "Failed" if line else "Completed"
    record = runs.write(workspace, record, status=status, exit_code=code, error=line, ended=runs.now())
    lineage.tell(workspace, record, say)
    if line:
        raise JobError(line, code)
    return record
