"""What a job leaves to be read: one folder a run, with its record and its log.

    runs/<run id>/run.json                 the record: written whole at every step, a reader never sees half of one
    runs/<run id>/user_logs/std_log.txt    what the child printed, and the launcher's own lines
    runs/<run id>/source/                  what the job's source folder held when it was submitted; the child runs there
    runs/<run id>/inputs/                  where inputs are mounted or downloaded while the job runs
    runs/<run id>/metrics/ files/ marks.json    see runtime.tracking: many processes write there

Only the launcher writes a record while it lives; a record that is not final and whose launcher is dead tells the next run
that something was left behind.
"""

import datetime as dt
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.errors import UnknownNameError, UserErrorException
from runtime.job import processes
from runtime.job.spec import JobSpec
from runtime.workspace import WorkspaceFolder
from runtime.workspace.files import write_whole

FINAL = frozenset({"Completed", "Failed", "Canceled"})
LOG_NAME = "user_logs/std_log.txt"
JOB, INTERACTIVE = "job", "interactive"  # what a run is: see `job.launcher` and `job.interactive`
_VERSION = 1


@dataclass(frozen=True, slots=True)
class InputRecord:
    """One input as it was given to the child. `counters` are the mount's, taken just before it was unmounted."""

    name: str
    dataset: str
    mode: str
    asked: str
    value: str
    dataset_id: str = ""
    version: int = 0
    digest: str = ""
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One output: `state` is pending, stored, registered (what was asked for is done: see `whole`) or failed."""

    name: str
    datastore: str
    path: str
    folder: str
    register_as: str | None = None
    state: str = "pending"
    files: int = 0
    bytes: int = 0
    registered: str | None = None
    error: str | None = None

    @property
    def whole(self) -> bool:
        """True when the files are in the store, and registered if that was asked for."""
        return self.state == ("registered" if self.register_as else "stored")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. Times are UTC, ISO 8601; `child_exit_code` None means that the child never ended by itself."""

    spec: JobSpec
    status: str = "NotStarted"
    created: str = ""
    started: str | None = None
    ended: str | None = None
    exit_code: int | None = None
    child_exit_code: int | None = None
    error: str | None = None
    launcher: processes.Identity | None = None
    keeper_pid: int | None = None
    child_pid: int | None = None
    inputs: tuple[InputRecord, ...] = ()
    outputs: tuple[OutputRecord, ...] = ()
    kind: str = JOB
    parent: str | None = None

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.spec.run_id

    def is_left_behind(self) -> bool:
        """True if the job is not over by its record, and nobody is there to end it."""
        return self.status not in FINAL and self.launcher is not None and self.launcher.state() == "dead"

    def to_document(self) -> dict[str, Any]:
        """What stands in run.json, and what `moorage runs show --json` prints."""
        return {"version": _VERSION, "id": self.run_id, **asdict(self), "spec": self.spec.for_record()}


def now() -> str:
    """This moment, as records write it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


def folder_of(workspace: WorkspaceFolder, run_id: str) -> Path:
    """The folder of a run, there or not."""
    return workspace.runs_path / run_id


def log_path(workspace: WorkspaceFolder, run_id: str) -> Path:
    """The file with what the child printed."""
    return folder_of(workspace, run_id) / LOG_NAME


def create(workspace: WorkspaceFolder, spec: JobSpec, *, kind: str = JOB, parent: str | None = None) -> RunRecord:
    """Make the folder and the first record of a run, owned by this process until the launcher takes it."""
    # The copy of the source folder may lie in it already.
    folder_of(workspace, spec.run_id).mkdir(mode=0o700, parents=True, exist_ok=True)
    log = log_path(workspace, spec.run_id)
    log.parent.mkdir(mode=0o700, exist_ok=True)
    log.touch(mode=0o600)
    return write(workspace, RunRecord(spec, created=now(), launcher=_this_process(), kind=kind, parent=parent))


def write(workspace: WorkspaceFolder, record: RunRecord, **changes: Any) -> RunRecord:
    """Replace the record, with `changes` of its fields; return what stands there now."""
    changed = replace(record, **changes)
    text = json.dumps(changed.to_document(), indent=1) + "\n"
    write_whole(folder_of(workspace, record.run_id) / "run.json", text)
    return changed


def note(workspace: WorkspaceFolder, record: RunRecord, say: Callable[[str], None], **changes: Any) -> RunRecord:
    """As `write`, for a job that runs: a disk that takes no more costs the record, not the job, and `say` hears of it."""
    try:
        return write(workspace, record, **changes)
    except OSError as error:
        path = folder_of(workspace, record.run_id) / "run.json"
        say(f"{path}: {error.strerror}; the job goes on, and its record stays behind until there is room")
        return replace(record, **changes)


def take(workspace: WorkspaceFolder, record: RunRecord, **changes: Any) -> RunRecord:
    """As `write`, and this process is the one that owns the run now."""
    return write(workspace, record, launcher=_this_process(), **changes)


def read(workspace: WorkspaceFolder, run_id: str) -> RunRecord:
    """The record of a run.

    Raises:
        UnknownNameError: there is no such run.
        UserErrorException: the file is damaged, or of a newer version.
    """
    path = folder_of(workspace, run_id) / "run.json"
    if "/" in run_id or not path.is_file():
        raise UnknownNameError(f"no run '{run_id}' in {workspace.runs_path}; `moorage runs list` shows what there is")
    try:
        return _from_document(json.loads(path.read_text("utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise UserErrorException(f"{path}: not the record of a run ({error}); remove its folder") from None


def read_all(workspace: WorkspaceFolder) -> Iterator[RunRecord]:
    """Every run whose record can be read, the oldest first."""
    records = []
    for path in workspace.runs_path.glob("*/run.json"):
        try:
            records.append(read(workspace, path.parent.name))
        except (UserErrorException, OSError):  # one damaged record must not hide the others
            continue
    yield from sorted(records, key=lambda record: (record.created, record.run_id))


def status_of(record: RunRecord) -> str:
    """The status to show: a run whose launcher died without a word has failed, whatever its record says."""
    return "Failed" if record.is_left_behind() else record.status


def children_of(workspace: WorkspaceFolder, run_id: str, *, recursive: bool = False) -> list[RunRecord]:
    """The runs whose parent this one is, and theirs if `recursive`; the oldest first."""
    everything = list(read_all(workspace))
    above = {run_id}
    while recursive:
        known = len(above)
        above |= {record.run_id for record in everything if record.parent in above}
        if len(above) == known:
            break
    return [record for record in everything if record.parent in above]


def number_of(workspace: WorkspaceFolder, record: RunRecord) -> int:
    """Which run of its experiment this is, counted from 1 in the order in which they were made."""
    same = [each.run_id for each in read_all(workspace) if each.spec.experiment == record.spec.experiment]
    return same.index(record.run_id) + 1


def with_counters(record: InputRecord, counters: Mapping[str, Mapping[str, int]]) -> InputRecord:
    """The same input, with what its mount or download counted."""
    return replace(record, counters=counters)


def _this_process() -> processes.Identity | None:
    return processes.identity(os.getpid())


def _from_document(document: Mapping[str, Any]) -> RunRecord:
    if document["version"] != _VERSION:
        raise ValueError(f"version {document['version']}, and this Moorage reads {_VERSION}")
    values = {name: value for name, value in document.items() if name not in {"version", "id"}}
    values["spec"] = JobSpec.from_json(json.dumps(values["spec"]))
    values["launcher"] = processes.Identity(**values["launcher"]) if values["launcher"] else None
    values["inputs"] = tuple(InputRecord(**each) for each in values["inputs"])
    values["outputs"] = tuple(OutputRecord(**each) for each in values["outputs"])
    return RunRecord(**values)
