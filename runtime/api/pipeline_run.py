"""PipelineRun and StepRun: v1's faces of a pipeline that was submitted, and of its steps.

Both are runs, with a record and a log; the pipeline's run also knows the names of its steps and their runs.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mountd.errors import NotFoundError
from runtime.api.experiment import Experiment
from runtime.api.run import Run
from runtime.errors import ActivityFailedException, UnknownNameError
from runtime.job import runs

if TYPE_CHECKING:
    from runtime.api.datastore import Datastore
    from runtime.api.workspace import Workspace


_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class PortDataReference:
    """Where a step's output lies."""

    workspace: "Workspace"
    datastore_name: str
    path_on_datastore: str

    @property
    def datastore(self) -> "Datastore":
        """The datastore."""
        from runtime.api.datastore import Datastore

        return Datastore(self.workspace, self.datastore_name)

    def download(
        self,
        local_path: str,
        overwrite: bool | None = None,  # noqa: FBT001 # v1's signature
        show_progress: bool | None = None,  # noqa: ARG002, FBT001 # as above
    ) -> int:
        """Fetch the files below `local_path`, under their whole paths in the datastore; return how many."""
        try:
            return self.datastore.download(local_path, prefix=self.path_on_datastore, overwrite=bool(overwrite))
        except NotFoundError:  # the step wrote nothing there, or has not yet
            return 0


@dataclass(frozen=True, slots=True)
class StepRunOutput:
    """One output of a step that ran."""

    name: str
    reference: PortDataReference

    def get_port_data_reference(self) -> PortDataReference:
        """Where it lies."""
        return self.reference


class StepRun(Run):
    """The run of one step."""

    def __init__(self, experiment: Experiment, run_id: str, step_name: str, pipeline_run_id: str) -> None:
        super().__init__(experiment, run_id)
        self._step_name = step_name
        self.pipeline_run_id = pipeline_run_id

    @property
    def name(self) -> str:
        """The step's name."""
        return self._step_name

    def get_outputs(self) -> dict[str, StepRunOutput]:
        """The step's outputs by name; they hold files once the step has completed."""
        workspace = self.experiment.workspace
        spec = runs.read(workspace.folder, self.id).spec
        return {
            each.name: StepRunOutput(
                each.name, PortDataReference(workspace, each.datastore, each.prefix(self.id).rstrip("/"))
            )
            for each in spec.outputs
        }

    def get_output(self, name: str) -> StepRunOutput:
        """One of them.

        Raises:
            UnknownNameError: the step has no output of this name.
        """
        outputs = self.get_outputs()
        if name not in outputs:
            known = ", ".join(f"'{each}'" for each in outputs) or "none"
            raise UnknownNameError(f"step '{self.name}' has no output '{name}'; it has {known}")
        return outputs[name]

    def get_output_data(self, name: str) -> PortDataReference:
        """Where one of them lies."""
        return self.get_output(name).reference

    def get_stdout_log(self) -> str:
        """What the step printed, stderr included."""
        return self._log.read_text("utf-8", "replace")

    def get_stderr_log(self) -> str:
        """As `get_stdout_log`: both go to one log."""
        return self.get_stdout_log()

    def __repr__(self) -> str:
        return f"StepRun(Experiment: {self.experiment.name}, Id: {self.id}, Step: {self.name})"


class PipelineRun(Run):
    """The run of a pipeline."""

    @classmethod
    def get(cls, workspace: "Workspace", run_id: str) -> "PipelineRun":
        """The pipeline's run with this id."""
        return cls(Experiment(workspace, runs.read(workspace.folder, run_id).spec.experiment), run_id)

    def get_steps(self) -> Iterator[StepRun]:
        """The runs of its steps, what is waited for first."""
        path = runs.folder_of(self.experiment.workspace.folder, self.id) / "steps.json"
        if not path.is_file():
            raise UnknownNameError(f"run '{self.id}' is not of a pipeline; it has no steps")
        for each in json.loads(path.read_text("utf-8")):
            yield StepRun(self.experiment, each["run_id"], each["name"], self.id)

    def get_children(self, *_: Any, **__: Any) -> Iterator[Run]:
        """As `get_steps`."""
        yield from self.get_steps()

    def find_step_run(self, name: str) -> list[StepRun]:
        """The runs of the steps called `name`; none is an empty list."""
        return [step for step in self.get_steps() if step.name == name]

    def get_pipeline_output(self, pipeline_output_name: str) -> PortDataReference:
        """Where the output of this name lies, whichever step wrote it.

        Raises:
            UnknownNameError: no step has it.
        """
        for step in self.get_steps():
            if pipeline_output_name in (outputs := step.get_outputs()):
                return outputs[pipeline_output_name].reference
        raise UnknownNameError(f"no step of '{self.id}' has an output '{pipeline_output_name}'")

    def wait_for_completion(  # type: ignore[override] # v1's signature has another order than its Run's
        self,
        show_output: bool = True,  # noqa: FBT001, FBT002 # v1's signature; of a pipeline, it showed by default
        timeout_seconds: float | None = None,
        raise_on_error: bool = True,  # noqa: FBT001, FBT002 # as above
        wait_post_processing: bool = False,  # noqa: FBT001, FBT002 # as above
    ) -> dict[str, Any]:
        """Wait for all steps to end; return the details. With `show_output`, print what the steps did, as each ends.

        Raises:
            ActivityFailedException: a step failed, or it was canceled, and `raise_on_error` is True; or it still runs after
                `timeout_seconds`.
        """
        del wait_post_processing
        if timeout_seconds is not None:
            self._wait_at_most(timeout_seconds)
        return super().wait_for_completion(show_output=show_output, raise_on_error=raise_on_error)

    def _wait_at_most(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self.get_status() not in runs.FINAL:
            if time.monotonic() > deadline:
                raise ActivityFailedException(
                    f"pipeline '{self.id}' still runs after {timeout_s:g} s; wait for it again"
                )
            time.sleep(_POLL_S)  # the record is another process's file
