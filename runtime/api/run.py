"""Run: v1's face of one job, from inside it and from outside.

Inside, `Run.get_context()` reads the environment that the launcher made and contacts nothing. Outside, a Run reads the
record that the launcher writes. A script that runs without a job gets an offline run, with an id of its own and without
inputs or outputs, so that it runs anywhere.
"""

import os
import signal
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from runtime.api.experiment import Experiment
from runtime.errors import ActivityFailedException, RunEnvironmentException, UnknownNameError, UserErrorException
from runtime.job import processes, runs
from runtime.job.layout import INPUTS_VARIABLE, OUTPUTS_VARIABLE, RUN_ID, WORKSPACE
from runtime.job.runs import RunRecord
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    import subprocess


_POLL_S = 0.1
_OFFLINE = "OfflineRun_"
# Launchers that this process started: kept, so that they are waited for and no zombie stays behind a dropped Run.
_launchers: dict[str, "subprocess.Popen[bytes]"] = {}


class Run:
    """One run of an experiment."""

    def __init__(
        self,
        experiment: Experiment,
        run_id: str,
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
    def get_context(cls, allow_offline: bool = True) -> "Run":  # noqa: FBT001, FBT002 # v1's signature
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
        return cls(Experiment(None, "offline"), f"{_OFFLINE}{uuid.uuid4()}")

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

        folder = getattr(self.experiment.workspace, "folder", None)
        paths = {name: self._environ[f"AZURE_ML_OUTPUT_{name}"] for name in listed.split(";") if name}
        return {name: OutputFolder.of(path, folder) for name, path in paths.items()}

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
        return "Running" if self._is_offline else self._status_of(self._record())

    def get_details(self) -> dict[str, Any]:
        """The run as v1 describes it: status, times (UTC), inputs and outputs, where its log is."""
        if self._is_offline:
            return {"runId": self.id, "status": self.get_status(), "inputDatasets": [], "outputDatasets": []}
        record = self._record()
        details: dict[str, Any] = {
            "runId": self.id,
            "target": "local",
            "status": self._status_of(record),
            "startTimeUtc": record.started,
            "endTimeUtc": record.ended,
            "exitCode": record.exit_code,
            "tags": dict(record.spec.tags),
            "inputDatasets": [_input_details(record, number) for number in range(len(record.inputs))],
            "outputDatasets": [_output_details(record, number) for number in range(len(record.outputs))],
            "logFiles": {"user_logs/std_log.txt": str(self._log)},
        }
        if record.error:
            details["error"] = {"error": {"message": record.error}}
        return details

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
        if self._is_offline:
            raise UserErrorException("an offline run has no end to wait for")
        with self._log.open("rb") as log:
            while (status := self.get_status()) not in runs.FINAL:
                _show(log, show=show_output)
                time.sleep(_POLL_S)  # the record is another process's file
            _show(log, show=show_output)
        self._collect_launcher()
        details = self.get_details()
        if raise_on_error and status != "Completed":
            reason = details.get("error", {}).get("error", {}).get("message", "its launcher ended without a word")
            raise ActivityFailedException(f"run '{self.id}' {status.lower()}: {reason}; its log is {self._log}")
        return details

    def cancel(self) -> None:
        """End the job as SIGTERM does; its outputs are not stored."""
        record = self._record()
        if record.launcher is not None and record.launcher.pid != os.getpid() and record.launcher.state() == "alive":
            processes.send(record.launcher.pid, signal.SIGTERM)

    @property
    def _is_offline(self) -> bool:
        return self.id.startswith(_OFFLINE)

    @property
    def _log(self) -> Path:
        return runs.log_path(self.experiment.workspace.folder, self.id)

    def _record(self) -> RunRecord:
        if self._is_offline:
            raise UnknownNameError("an offline run has no record")
        return runs.read(self.experiment.workspace.folder, self.id)

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

    def __repr__(self) -> str:
        return f"Run(Experiment: {self.experiment.name}, Id: {self.id})"


def _show(log: BinaryIO, *, show: bool) -> None:
    if show and (text := log.read()):
        sys.stdout.write(text.decode("utf-8", "replace"))
        sys.stdout.flush()


def _input_details(record: RunRecord, number: int) -> dict[str, Any]:
    each = record.inputs[number]
    consumption = {"type": "RunInput", "inputName": each.name, "mechanism": each.asked, "pathOnCompute": each.value}
    return {"dataset": {"id": each.dataset_id, "version": each.version}, "consumptionDetails": consumption}


def _output_details(record: RunRecord, number: int) -> dict[str, Any]:
    each = record.outputs[number]
    place = {"datastore": each.datastore, "path": each.path, "registered": each.registered}
    return {"outputType": "RunOutput", "outputDetails": {"outputName": each.name}, "dataset": place}
