"""Run: v1's face of one run, from inside its job and from outside.

Inside, `Run.get_context()` reads the environment that the launcher made and contacts nothing. Outside, a Run reads the
record that the launcher writes. A run that a notebook began (`Experiment.start_logging`) or that is another's child has no
launcher: the process that made it owns it. A script that runs without a job gets an offline run, so that it runs anywhere.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from runtime.api import run_details
from runtime.api.experiment import Experiment
from runtime.api.run_files import RunFiles
from runtime.api.run_logging import RunLogging
from runtime.api.run_marks import RunMarks
from runtime.errors import ActivityFailedException, RunEnvironmentException, UserErrorException
from runtime.job import canceling, interactive, runs
from runtime.job.layout import INPUTS_VARIABLE, OUTPUTS_VARIABLE, RUN_ID, WORKSPACE
from runtime.job.runs import RunRecord
from runtime.tracking import marks
from runtime.tracking.marks import Marks
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    import subprocess

    from runtime.api.workspace import Workspace

OFFLINE = "OfflineRun_"
_POLL_S = 0.1
_MAX_FAILURE = 4096  # characters of what `fail` is told
# Launchers that this process started: kept, so that they are waited for and no zombie stays behind a dropped Run.
_launchers: dict[str, "subprocess.Popen[bytes]"] = {}


class Run(RunLogging, RunFiles, RunMarks):
    """One run of an experiment; a context manager that completes the run, or fails it with the error that leaves."""

    def __init__(
        self,
        experiment: Experiment,
        run_id: str,
        outputs: object = None,  # noqa: ARG002 # v1's parameter
        *,
        _launcher: "subprocess.Popen[bytes] | None" = None,
        _environ: Mapping[str, str] | None = None,
    ) -> None:
        self.experiment = experiment
        self.id = run_id
        self._environ = _environ or {}
        if _launcher is not None:
            _launchers[run_id] = _launcher

    @classmethod
    def get_context(cls, allow_offline: bool = True, **kwargs: Any) -> "Run":  # noqa: ARG003, FBT001, FBT002 # v1's signature
        """The run that this process belongs to, or an offline one.

        Raises:
            RunEnvironmentException: there is no job around this process, and `allow_offline` is False.
        """
        run_id, workspace = os.environ.get(RUN_ID), os.environ.get(WORKSPACE)
        if run_id and workspace:
            from runtime.api.workspace import Workspace

            folder = WorkspaceFolder(Path(workspace))
            record = runs.read(folder, run_id)
            return cls(Experiment(Workspace.of(folder), record.spec.experiment), run_id, _environ=os.environ)
        if not allow_offline:
            raise RunEnvironmentException(
                f"no job around this process ({RUN_ID} is not set); start it by `moorage run`"
            )
        from runtime.api.run_offline import OfflineRun

        return OfflineRun(Experiment(None, "offline"))

    @staticmethod
    def get(workspace: "Workspace", run_id: str) -> "Run":
        """The run with this id.

        Raises:
            UnknownNameError: there is none.
        """
        return Run(Experiment(workspace, runs.read(workspace.folder, run_id).spec.experiment), run_id)

    @staticmethod
    def list(
        experiment: Experiment,
        type: str | None = None,  # noqa: A002 # v1's name
        tags: Any = None,
        properties: Any = None,
        status: str | None = None,
        include_children: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        _rehydrate_runs: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> "Iterator[Run]":
        """The runs of an experiment that every filter lets through, the newest first."""
        folder = experiment.workspace.folder
        found = [
            record
            for record in runs.read_all(folder)
            if record.spec.experiment == experiment.name and (include_children or record.parent is None)
        ]
        return _faces(experiment, found, type, tags, properties, status)

    @property
    def input_datasets(self) -> dict[str, Any]:
        """In a job: each input by its name; a path, or for mode direct the dataset."""
        listed = self._environ.get(INPUTS_VARIABLE, "")
        pairs = (pair.rpartition(":") for pair in listed.split(",") if pair)
        return {name: self._input(name, mode) for name, _, mode in pairs}

    @property
    def output_datasets(self) -> dict[str, str]:
        """In a job: the folder of each output by its name."""
        listed = self._environ.get(OUTPUTS_VARIABLE, "")
        from runtime.api.link_output import OutputFolder

        paths = {name: self._environ[f"AZURE_ML_OUTPUT_{name}"] for name in listed.split(";") if name}
        return {name: OutputFolder.of(path, lambda: self.experiment.workspace.folder) for name, path in paths.items()}

    def _input(self, name: str, mode: str) -> Any:
        value = self._environ[f"AZURE_ML_INPUT_{name}"]
        if mode != "direct":
            return value
        from runtime.api.dataset import Dataset

        return Dataset.get_by_id(self.experiment.workspace, value)

    @property
    def status(self) -> str:
        """As `get_status`."""
        return self.get_status()

    def get_status(self) -> str:
        """NotStarted, Preparing, Running, Finalizing, and at the end Completed, Failed or Canceled."""
        status = self._status_of(self._record())
        return "Failed" if status not in runs.FINAL and self._read_marks().failure is not None else status

    def get_details(self) -> dict[str, Any]:
        """The run as v1 describes it: status, times (UTC), inputs and outputs, tags, where its logs are."""
        record = self._record()
        logs = {name: str(path) for name, path in self._logs().items()}
        return run_details.describe(record, self._read_marks(), self._status_of(record), logs)

    def get_details_with_logs(self) -> dict[str, Any]:
        """As `get_details`, with what stands in each log instead of where it is."""
        texts = {name: path.read_text("utf-8", "replace") for name, path in self._logs().items()}
        return self.get_details() | {"logFiles": texts}

    def get_metrics(
        self,
        name: str | None = None,
        recursive: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        run_type: str | None = None,
        populate: bool = False,  # noqa: ARG002, FBT001, FBT002 # as above; there is no other place to fetch from
    ) -> dict[str, Any]:
        """What was logged: a value, or a list where a name was logged several times; tables as {column: values}.

        With `recursive`, {run id: metrics} of this run and all below it.
        """
        if not recursive:
            return self._metrics(name)
        below = (child for child in self.get_children(recursive=True) if run_type in {None, child.type})
        return {run.id: run._metrics(name) for run in (self, *below)}  # noqa: SLF001 # our own

    def wait_for_completion(
        self,
        show_output: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        wait_post_processing: bool = False,  # noqa: ARG002, FBT001, FBT002 # as above; the end includes the outputs
        raise_on_error: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> dict[str, Any]:
        """Wait for the end of the run, its outputs included; return its details. With `show_output`, print its log.

        Raises:
            ActivityFailedException: the run failed or was canceled, and `raise_on_error` is True.
        """
        record = self._record()
        own = record.launcher is not None and record.launcher.pid == os.getpid()
        if record.kind == runs.INTERACTIVE and own and record.status not in runs.FINAL:
            raise UserErrorException(f"run '{self.id}' is this process's own; end it by complete() before waiting")
        with self._log.open("rb") as log:
            while (status := self._status_of(self._record())) not in runs.FINAL:
                _show(log, show=show_output)
                time.sleep(_POLL_S)  # the record is another process's file
            _show(log, show=show_output)
        self._collect_launcher()
        details = self.get_details()
        if raise_on_error and status != "Completed":
            reason = details.get("error", {}).get("error", {}).get("message", "its launcher ended without a word")
            raise ActivityFailedException(f"run '{self.id}' {status.lower()}: {reason}; its log is {self._log}")
        return details

    def start(self) -> None:
        """Mark a run that was only created (`create_children`) as running; others run already."""
        record = self._record()
        if record.kind == runs.INTERACTIVE and record.status == "NotStarted":
            interactive.start(self._workspace_folder, record)

    def complete(self, _set_status: bool = True) -> None:  # noqa: FBT001, FBT002 # v1's signature
        """End a run that has no launcher; a job completes when its command has ended and its outputs are whole."""
        record = self._record()
        if _set_status and record.kind == runs.INTERACTIVE:
            interactive.end(self._workspace_folder, record, "Completed")

    def fail(self, error_details: Any = None, error_code: Any = None, _set_status: bool = True) -> None:  # noqa: FBT001, FBT002 # as above
        """Let the run fail, with this reason. A job fails whatever its command returns; from outside it is ended."""
        text = (
            f"{type(error_details).__name__}: {error_details}"
            if isinstance(error_details, Exception)
            else error_details
        )
        reason = " ".join(str(text or "run.fail() was called").split())[:_MAX_FAILURE]
        reason = f"{error_code}: {reason}" if error_code else reason
        record = self._record()
        if not _set_status or self._status_of(record) in runs.FINAL:
            return
        if record.kind == runs.INTERACTIVE:
            interactive.end(self._workspace_folder, record, "Failed", reason)
            return
        self._change_marks(lambda _: {"failure": reason})
        if not self._environ:
            self.cancel()

    def cancel(self) -> None:
        """End the job as SIGTERM does; its outputs are not stored. A run without a launcher is marked as canceled."""
        record = self._record()
        if record.kind == runs.INTERACTIVE:
            interactive.end(self._workspace_folder, record, "Canceled", "run.cancel() was called")
        else:
            launcher = _launchers.get(self.id)
            canceling.cancel(self._workspace_folder, self.id, launcher.pid if launcher else None)

    def child_run(self, name: str | None = None, run_id: str | None = None, outputs: Any = None) -> "Run":  # noqa: ARG002 # v1's signature
        """A run below this one, running; this process owns it."""
        return self._child({}, name, run_id, "Running")

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Any = None
    ) -> "Sequence[Run]":
        """`count` runs below this one, or one for each of `tag_values`; none of them runs before its `start`."""
        if (count is None) == (tag_values is None):
            raise UserErrorException("create_children: give either count, or tag_key and tag_values")
        if tag_values is None:
            return [self._child({}, None, None, "NotStarted") for _ in range(int(count or 0))]
        key = marks.checked_key("tag", tag_key)
        return [self._child({key: marks.text("tag", key, value)}, None, None, "NotStarted") for value in tag_values]

    def _child(self, tags: Mapping[str, str], name: str | None, run_id: str | None, status: str) -> "Run":
        record = interactive.begin(
            self._workspace_folder, self.experiment.name, tags, run_id=run_id, parent=self.id, status=status
        )
        child = Run(self.experiment, record.run_id)
        if name:
            child.display_name = name
        return child

    def submit_child(self, config: Any, tags: Mapping[str, str] | None = None, **options: Any) -> "Run":
        """Submit a job below this run."""
        return self.experiment.submit(config, tags, _parent=self.id, **options)

    def get_children(
        self,
        recursive: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        tags: Any = None,
        properties: Any = None,
        type: str | None = None,  # noqa: A002 # as above
        status: str | None = None,
        _rehydrate_runs: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> "Iterator[Run]":
        """The runs below this one that every filter lets through, the newest first."""
        found = runs.children_of(self._workspace_folder, self.id, recursive=recursive)
        return _faces(self.experiment, found, type, tags, properties, status)

    @property
    def parent(self) -> "Run | None":
        """The run that this one is a child of."""
        parent = self._record().parent
        return None if parent is None else Run.get(self.experiment.workspace, parent)

    @property
    def number(self) -> int:
        """Which run of its experiment this is, counted from 1."""
        return runs.number_of(self._workspace_folder, self._record())

    @property
    def type(self) -> str | None:
        """azureml.scriptrun for a job, None for a run that was begun by `start_logging` or as a child."""
        return run_details.type_of(self._record())

    def get_secret(self, name: str) -> str | None:
        """A secret of the workspace, by its name."""
        return self.experiment.workspace.get_default_keyvault().get_secret(name)

    def get_portal_url(self) -> str:
        """The run's folder, as a URL; `moorage runs report` makes a page of it."""
        return self._folder.as_uri()

    def _read_marks(self) -> Marks:
        return marks.read(self._folder, self._record().spec.tags)

    def _change_marks(self, make: Any) -> None:
        marks.change(self._folder, self._record().spec.tags, make)

    @property
    def _workspace_folder(self) -> WorkspaceFolder:
        return self.experiment.workspace.folder

    @property
    def _folder(self) -> Path:
        return runs.folder_of(self._workspace_folder, self.id)

    def _model_workspace(self) -> "Workspace":
        return self.experiment.workspace

    @property
    def _log(self) -> Path:
        return runs.log_path(self._workspace_folder, self.id)

    def _logs(self) -> dict[str, Path]:
        return {runs.LOG_NAME: self._log} if self._log.is_file() else {}

    def _record(self) -> RunRecord:
        return runs.read(self._workspace_folder, self.id)

    def _status_of(self, record: RunRecord) -> str:
        launcher = _launchers.get(self.id)
        if record.status not in runs.FINAL and launcher is not None and launcher.poll() is not None:
            # It may have written its last word since we read; if it has not, it never will.
            return runs.status_of(again) if (again := self._record()).status in runs.FINAL else "Failed"
        return runs.status_of(record)

    def _collect_launcher(self) -> None:
        """The record is final a moment before the process is gone."""
        if (launcher := _launchers.pop(self.id, None)) is not None:
            launcher.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is None:
            self.complete()
        else:
            self.fail(error if isinstance(error, Exception) else f"{type(error).__name__}: {error}")

    def __repr__(self) -> str:
        return f"Run(Experiment: {self.experiment.name}, Id: {self.id})"


def _show(log: BinaryIO, *, show: bool) -> None:
    if show and (text := log.read()):
        sys.stdout.write(text.decode("utf-8", "replace"))
        sys.stdout.flush()


def _faces(
    experiment: Experiment, records: "list[RunRecord]", kind: str | None, tags: Any, properties: Any, status: str | None
) -> "Iterator[Run]":
    folder = experiment.workspace.folder
    marked = (
        (record, marks.read(runs.folder_of(folder, record.run_id), record.spec.tags)) for record in reversed(records)
    )
    for record in run_details.selected(marked, kind, tags, properties, status):
        yield Run(Experiment(experiment.workspace, record.spec.experiment), record.run_id)
