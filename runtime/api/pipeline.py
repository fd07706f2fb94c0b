"""Pipeline and StepSequence: v1's faces of steps that run in order on this machine.

A pipeline is its steps and all that they wait for. Submitting it makes a plan, writes a record for the pipeline and one for
each step, and starts a conductor, which goes on when the submitting process ends.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Never

from runtime.api.pipeline_step import PipelineStep
from runtime.api.pipeline_wiring import Wiring, check_order, everything_needed
from runtime.errors import UserErrorException
from runtime.job import runs, starting
from runtime.job.spec import JobSpec, new_run_id
from runtime.pipelines import conductor
from runtime.tracking import marks
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.api.experiment import Experiment
    from runtime.api.pipeline_run import PipelineRun
    from runtime.api.workspace import Workspace
    from runtime.pipelines.plan import Plan, Step

PIPELINE_RUN = "azureml.pipelinerunid"  # the property of a step's run that names its pipeline's


class StepSequence:
    """Steps of which each starts when the one before it has succeeded; a list among them runs side by side."""

    def __init__(self, steps: Iterable[Any] | None = None) -> None:
        self.steps = list(steps or [])
        before: list[PipelineStep] = []
        for element in self.steps:
            group = list(_flat([element]))
            for step in group:
                for earlier in before:
                    step.run_after(earlier)
            before = group or before


class Pipeline:
    """Steps, and what they wait for; `steps` may hold lists and StepSequences."""

    def __init__(  # v1's signature
        self,
        workspace: "Workspace",
        steps: Any,
        description: str | None = None,
        default_datastore: object = None,  # noqa: ARG002 # v1's; each output names its own
        default_source_directory: str | None = None,
        resolve_closure: bool = True,  # noqa: FBT001, FBT002 # v1's signature
    ) -> None:
        self.workspace = workspace
        self.description = description
        given = list(_flat([steps]))
        if not given:
            raise UserErrorException("a pipeline needs at least one step")
        self.steps = everything_needed(given)
        if missing := [step for step in self.steps if step not in given and not resolve_closure]:
            raise UserErrorException(f"step '{missing[0].name}' is waited for and not in the pipeline; add it to steps")
        self._default_source = default_source_directory

    def validate(self) -> list[str]:
        """What is wrong with the pipeline, a text each; nothing is started."""
        try:
            check_order(self.steps)
        except UserErrorException as error:
            return [str(error)]
        return []

    def submit(  # v1's signature
        self,
        experiment_name: str,
        pipeline_parameters: Mapping[str, object] | None = None,
        continue_on_step_failure: bool = False,  # noqa: FBT001, FBT002 # as above
        regenerate_outputs: bool = False,  # noqa: FBT001, FBT002 # as above
        parent_run_id: str | None = None,  # noqa: ARG002 # as above
    ) -> "PipelineRun":
        """As `Experiment(workspace, experiment_name).submit(pipeline, ...)`."""
        from runtime.api.experiment import Experiment

        return self.start_in(
            Experiment(self.workspace, experiment_name),
            {},
            pipeline_parameters=pipeline_parameters,
            continue_on_step_failure=continue_on_step_failure,
            regenerate_outputs=regenerate_outputs,
        )

    def start_in(
        self,
        experiment: "Experiment",
        tags: Mapping[str, str],
        *,
        pipeline_parameters: Mapping[str, object] | None = None,
        continue_on_step_failure: bool = False,
        regenerate_outputs: bool = False,
    ) -> "PipelineRun":
        """Start the pipeline and return at once; nothing is started where anything is missing."""
        from runtime.api.pipeline_run import PipelineRun

        del regenerate_outputs  # they always are
        folder = self.workspace.folder
        wiring = Wiring(folder, self.steps, pipeline_parameters or {}, self._default_source)
        plan = wiring.plan(new_run_id(experiment.name), experiment.name, go_on=continue_on_step_failure)
        write_records(folder, plan, tags)
        log = runs.folder_of(folder, plan.run_id) / "launcher.log"
        order = {"workspace": str(folder.path), "plan": plan.to_json()}
        process = starting.start(_conductor(), log, order)
        return PipelineRun(experiment, plan.run_id, _launcher=process)

    def publish(self, *_: object, **__: object) -> Never:
        """Not here: there is no service to publish to."""
        raise UserErrorException("a pipeline cannot be published without a service; run the script that submits it")

    def __repr__(self) -> str:
        return f"Pipeline(steps={[step.name for step in self.steps]})"


def write_records(folder: WorkspaceFolder, plan: "Plan", tags: Mapping[str, str]) -> None:
    """A record for the pipeline's run and one for each step's, all not started; the steps' names beside the first."""
    command = ("pipeline", *(step.name for step in plan.steps))
    runs.create(folder, JobSpec(plan.run_id, plan.experiment, command, "/", tags=tags))
    for step in plan.steps:
        runs.create(folder, step.spec, parent=plan.run_id)
        _mark(folder, plan, step)
    named = [{"name": step.name, "run_id": step.spec.run_id} for step in plan.steps]
    (runs.folder_of(folder, plan.run_id) / "steps.json").write_text(json.dumps(named, indent=1) + "\n", "utf-8")


def _mark(folder: WorkspaceFolder, plan: "Plan", step: "Step") -> None:
    """Show the step's run under the step's name, with v1's property of whose it is."""
    told = {"display_name": step.name, "properties": {PIPELINE_RUN: plan.run_id}}
    marks.change(runs.folder_of(folder, step.spec.run_id), {}, lambda _: told)


def _conductor() -> "Path":
    from pathlib import Path

    return Path(conductor.__file__)


def _flat(elements: Sequence[Any]) -> Iterator[PipelineStep]:
    for element in elements:
        if isinstance(element, StepSequence):
            yield from _flat(element.steps)
        elif isinstance(element, list | tuple):
            yield from _flat(element)
        elif isinstance(element, PipelineStep):
            yield element
        else:
            raise UserErrorException(f"{type(element).__name__} is no step; give PythonScriptStep or CommandStep")
