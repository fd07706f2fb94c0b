"""The outputs of a job after its child: stored, registered, and gone from the spool once that is done.

Each output stands for itself: one that fails keeps its files where they are and says so, and the others go on. Nothing is
registered that is not whole in the store. `resume` does for a finished job whatever is left to be done, and nothing else.
"""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mountd.errors import DestinationExistsError, MountdError
from runtime import outputs
from runtime.errors import AzureMLException, JobError, UserErrorException
from runtime.job import lineage, mounted, processes, runs
from runtime.job.runs import OutputRecord, RunRecord
from runtime.outputs import OutputSpec
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from mountd.uploading.destination import Step

INCOMPLETE = 120
Say = Callable[[str], None]


def finish_outputs(workspace: WorkspaceFolder, record: RunRecord, say: Say, step: "Step | None" = None) -> RunRecord:
    """Store and register every output that is to be and is not yet; return the record, written after each of them.

    Killed at any point, it is done again from the start: what was done stays done. `step` is told of every point.
    """
    for number, output in enumerate(record.outputs):
        if not _wanted(record, output):
            continue
        done = output
        if not output.whole:
            done = _finish(workspace, record, output, step)
            if done.error:
                what = "registered" if done.state == "stored" else "stored"
                say(f"output '{done.name}' is not {what}: {done.error}")
            changed = (*record.outputs[:number], done, *record.outputs[number + 1 :])
            record = runs.note(workspace, record, say, outputs=changed)
            _tell(step, f"noted {done.name}")
        if done.whole:
            _clear(workspace, record.run_id, done, step)
    remove_spool(workspace, record.run_id)
    return record


def _wanted(record: RunRecord, output: OutputRecord) -> bool:
    """True if this output is to be stored, by how the command ended."""
    failed = record.child_exit_code != 0
    return not failed or (record.child_exit_code is not None and _spec(record, output).of_failed_jobs)


def _spec(record: RunRecord, output: OutputRecord) -> OutputSpec:
    return next(each for each in record.spec.outputs if each.name == output.name)


def _clear(workspace: WorkspaceFolder, run_id: str, output: OutputRecord, step: "Step | None") -> None:
    """Remove what was staged; the journal last, so that whoever is killed here goes on."""
    if _is_staged(workspace, run_id, output):
        shutil.rmtree(output.folder, ignore_errors=True)
    _tell(step, f"cleared {output.name}")
    shutil.rmtree(outputs.journal_folder(workspace, run_id, output.name), ignore_errors=True)
    _tell(step, f"forgot {output.name}")


def _tell(step: "Step | None", name: str) -> None:
    if step is not None:
        step(name)


def _finish(workspace: WorkspaceFolder, record: RunRecord, output: OutputRecord, step: "Step | None") -> OutputRecord:
    spec = _spec(record, output)
    try:
        if spec.mode == "link":
            return _link(workspace, record.run_id, spec, output)
        if _is_mounted(workspace, record.run_id, output):
            committed = mounted.commit(workspace, spec, record.run_id, step)
        else:
            committed = outputs.upload_output(workspace, spec, record.run_id, Path(output.folder), step)
        output = replace(output, state="stored", files=committed.files, bytes=committed.size_bytes, error=None)
        if spec.register_as:
            if not output.files:
                raise UserErrorException(f"it is empty: the command wrote nothing to ${output.name}")
            _tell(step, f"before register {output.name}")
            registered = outputs.register_output(workspace, spec, record.run_id, committed)
            output = replace(output, state="registered", registered=registered, error=None)
            _tell(step, f"after register {output.name}")
    except DestinationExistsError as error:
        hint = "with {run-id} in its path, each run has a place of its own"
        output = replace(output, state="failed", error=f"{' '.join(str(error).split())}; {hint}")
    except (MountdError, AzureMLException, OSError) as error:
        state = "stored" if output.state == "stored" else "failed"
        output = replace(output, state=state, error=" ".join(str(error).split()))
    return output


def _link(workspace: WorkspaceFolder, run_id: str, spec: OutputSpec, output: OutputRecord) -> OutputRecord:
    """An output that is a dataset of the script's."""
    linked = outputs.linked_dataset(workspace, spec, Path(output.folder))
    output = replace(output, state="stored", files=linked.files, bytes=linked.size_bytes, error=None)
    if not spec.register_as:
        return output
    return replace(output, state="registered", registered=outputs.register_link(workspace, spec, run_id, linked))


def incomplete(record: RunRecord) -> str | None:
    """The line that says which outputs are not done, and how to go on; None if all are."""
    missing = [f"'{each.name}'" for each in record.outputs if not each.whole and _wanted(record, each)]
    if not missing:
        return None
    return (
        f"output {', '.join(missing)}: not whole in the store or not registered, the files are kept; "
        f"go on with `moorage runs resume {record.run_id}`"
    )


def keep_outputs(workspace: WorkspaceFolder, record: RunRecord, say: Say, *, storing: bool = False) -> None:
    """After a failed job: say where the files of each output are, and remove the folders that hold none.

    With `storing` those are left out that `finish_outputs` will store although the job failed.
    """
    for output in record.outputs:
        if storing and _wanted(record, output):
            continue
        if _is_mounted(workspace, record.run_id, output):
            _leave_mounted(workspace, record, output, say)
            continue
        folder = Path(output.folder)
        if folder.is_dir() and any(folder.rglob("*")):
            say(f"output '{output.name}' of the failed job is neither stored nor registered; its files are in {folder}")
        elif _is_staged(workspace, record.run_id, output):
            shutil.rmtree(folder, ignore_errors=True)
    remove_spool(workspace, record.run_id)


def _leave_mounted(workspace: WorkspaceFolder, record: RunRecord, output: OutputRecord, say: Say) -> None:
    journal = outputs.journal_folder(workspace, record.run_id, output.name)
    if not journal.is_dir():  # it was never mounted
        return
    line, whole = mounted.leave(workspace, _spec(record, output), record.run_id)
    if line:
        say(line)
    if whole:
        shutil.rmtree(journal, ignore_errors=True)


def _is_mounted(workspace: WorkspaceFolder, run_id: str, output: OutputRecord) -> bool:
    """True if the folder was a mount, whose files are in its spool and in the store."""
    return Path(output.folder) == workspace.runs_path / run_id / mounted.FOLDER / output.name


def _is_staged(workspace: WorkspaceFolder, run_id: str, output: OutputRecord) -> bool:
    """True if the folder is ours, in the spool, and not one that the user named."""
    return Path(output.folder) == workspace.spool_path / run_id / output.name


def remove_spool(workspace: WorkspaceFolder, run_id: str) -> None:
    """Remove the spool folder of a run once nothing is left in it."""
    with contextlib.suppress(OSError):  # not empty, or never made
        (workspace.spool_path / run_id).rmdir()


def resume(workspace: WorkspaceFolder, run_id: str, say: Say, step: "Step | None" = None) -> RunRecord:
    """Finish the outputs of a run whose child succeeded, or that are to be stored although it failed.

    Raises:
        UserErrorException: the run is still going, or its child failed, so that there is nothing to finish.
        JobError: an output is still not whole (120).
    """
    record = runs.read(workspace, run_id)
    if record.status not in runs.FINAL and not record.is_left_behind():
        raise UserErrorException(f"run '{run_id}' is still going ({record.status}); wait for its end")
    failed = record.child_exit_code != 0 or record.status == "Canceled"
    if failed and (record.status == "Canceled" or not any(_wanted(record, each) for each in record.outputs)):
        raise UserErrorException(f"run '{run_id}' failed, and outputs of a failed job are not stored; run it again")
    if processes.marked(f"MOORAGE_RUN_ID={run_id}"):
        raise UserErrorException(f"processes of run '{run_id}' are still there; the next `moorage run` ends them")
    code_before, error_before = (record.exit_code or record.child_exit_code, record.error) if failed else (0, None)
    record = runs.take(workspace, record, status="Finalizing")
    record = finish_outputs(workspace, record, say, step)
    line = incomplete(record)
    code = code_before or (INCOMPLETE if line else 0)
    status = "Failed" if code else "Completed"
    record = runs.write(workspace, record, status=status, exit_code=code, error=error_before or line, ended=runs.now())
    lineage.tell(workspace, record, say)
    if line:
        raise JobError(line, INCOMPLETE)
    return record
