"""The wiring of a pipeline: what its users wrote about steps, as the plan that a conductor runs.

Everything that only a pipeline knows is replaced: a parameter by its value, a reference to data by a dataset, what another
step writes by an input that this step will be fed. What is left is a ScriptRunConfig, which makes its job as it always does.
"""

import dataclasses
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from runtime.api.consumption import DatasetConsumptionConfig
from runtime.api.dataset import Dataset, FileDataset
from runtime.api.output import OutputFileDatasetConfig
from runtime.api.pipeline_data import FedInput, InputPortBinding, PipelineData, PipelineParameter
from runtime.api.pipeline_step import PipelineStep, output_of
from runtime.datasets.paths import NamesPath, PathArgument
from runtime.errors import UserErrorException
from runtime.job import runs
from runtime.job.spec import JobSpec, new_run_id
from runtime.pipelines.plan import Feed, Plan, Step, order
from runtime.workspace import WorkspaceFolder


def everything_needed(steps: Iterable[PipelineStep]) -> list[PipelineStep]:
    """`steps`, and all that they wait for, each once, what is waited for first."""
    found: dict[PipelineStep, None] = {}
    open_steps: list[tuple[PipelineStep, bool]] = [(step, False) for step in reversed(list(steps))]
    entered: set[PipelineStep] = set()
    while open_steps:
        step, is_left = open_steps.pop()
        if is_left:
            found[step] = None
        elif step not in entered:
            entered.add(step)
            open_steps.append((step, True))
            open_steps.extend((each, False) for each in needed_by(step))
    return list(found)


def needed_by(step: PipelineStep) -> list[PipelineStep]:
    """The steps that `step` waits for, each once."""
    makers = (_maker(step, output) for output in _read(step))
    return list(dict.fromkeys([*makers, *step.after]))


def check_order(steps: Sequence[PipelineStep]) -> None:
    """Raise UserErrorException, with the names, where steps wait for each other in a circle."""
    numbers = {step: number for number, step in enumerate(steps)}
    order([step.name for step in steps], [_numbers(step, numbers) for step in steps])


def parameters_of(steps: Iterable[PipelineStep]) -> dict[str, PipelineParameter]:
    """The parameters that the steps use, by name."""
    found: dict[str, PipelineParameter] = {}
    for step in steps:
        for element in (*step.elements, *step.inputs):
            parameter = _parameter(element)
            if parameter is not None:
                found[parameter.name] = parameter
    return found


class Wiring:
    """One submission: its steps by number, and the values of its parameters."""

    def __init__(
        self,
        folder: WorkspaceFolder,
        steps: Sequence[PipelineStep],
        values: Mapping[str, object],
        default_source: str | None,
    ) -> None:
        self._folder = folder
        self._steps = list(steps)
        self._numbers = {step: number for number, step in enumerate(self._steps)}
        self._values = {name: values.get(name, each.default_value) for name, each in parameters_of(steps).items()}
        self._default_source = default_source
        if unknown := [name for name in values if name not in self._values]:
            known = ", ".join(f"'{name}'" for name in self._values) or "none"
            raise UserErrorException(f"no step uses a pipeline parameter '{unknown[0]}'; the parameters are {known}")

    def plan(self, run_id: str, experiment: str, *, go_on: bool) -> Plan:
        """The plan of this submission, with new ids for its steps' runs.

        Raises:
            UserErrorException: a step's script, data or parameter is not there; the text names the step.
        """
        check_order(self._steps)
        run_ids = [new_run_id(experiment) for _ in self._steps]
        try:
            pairs = zip(self._steps, run_ids, strict=True)
            steps = tuple(self._step(step, each, experiment) for step, each in pairs)
        except BaseException:
            for each in run_ids:  # the steps before the one that is wrong may have left something there
                shutil.rmtree(runs.folder_of(self._folder, each), ignore_errors=True)
            raise
        return Plan(run_id, experiment, steps, go_on)

    def _step(self, step: PipelineStep, run_id: str, experiment: str) -> Step:
        try:
            elements = [self._element(step, each) for each in step.elements]
            config = step.config(elements, self._default_source)
            spec = config.job(self._folder, run_id, experiment, {})
            spec = self._with_unmentioned(step, spec)
        except UserErrorException as error:
            raise type(error)(f"step '{step.name}': {error}") from None
        feeds = tuple(self._feed(step, each) for each in self._fed_inputs(step))
        named = {each.name for each in spec.inputs}
        after = tuple(self._numbers[each] for each in dict.fromkeys(step.after))
        return Step(step.name, spec, tuple(each for each in feeds if each.input in named), after)

    def _with_unmentioned(self, step: PipelineStep, spec: JobSpec) -> JobSpec:
        """Inputs and outputs that stand in the step's lists and not in its arguments."""
        inputs = {each.name: each for each in spec.inputs}
        outputs = {each.name: each for each in spec.outputs}
        for element in step.inputs:
            given = self._element(step, element)
            if isinstance(given, DatasetConsumptionConfig) and given.name not in inputs:
                inputs[given.name] = given.spec_in(self._folder)
        for output in step.written():
            outputs.setdefault(output.name, output.spec_in(self._folder))
            output.note_producer(spec.run_id)
        return dataclasses.replace(spec, inputs=tuple(inputs.values()), outputs=tuple(outputs.values()))

    def _element(self, step: PipelineStep, element: object) -> object:
        """An argument or input as a ScriptRunConfig knows it."""
        if isinstance(element, PipelineParameter):
            return self._element(step, self._values[element.name])
        if isinstance(element, tuple) and len(element) == 2 and hasattr(element[1], "mode"):
            return self._bound(*element)
        if (read := _reading(step, element)) is not None:
            waits = f"the output '{read.output.name}' of step '{_maker(step, read.output).name}'"
            return FedInput(read.name, waits, read.mode, read.path_on_compute)
        return output_of(element) or self._plain(element)

    def _plain(self, element: object) -> object:
        """What has nothing to do with another step."""
        if isinstance(element, DatasetConsumptionConfig) and isinstance(element.dataset, PipelineParameter):
            value = self._values[element.dataset.name]
            return DatasetConsumptionConfig(element.name, value, element.mode, element.path_on_compute)
        if isinstance(element, NamesPath):
            return _dataset_input(_reference_name(element), element, str(getattr(element, "mode", None) or "mount"))
        return element

    def _bound(self, what: object, binding: Any) -> DatasetConsumptionConfig:
        """v1's (path or parameter, DataPathComputeBinding)."""
        name = what.name if isinstance(what, PipelineParameter) else _reference_name(what)
        value = self._values[what.name] if isinstance(what, PipelineParameter) else what
        return _dataset_input(name, value, binding.mode, getattr(binding, "path_on_compute", None))

    def _fed_inputs(self, step: PipelineStep) -> Iterator[InputPortBinding]:
        for element in (*step.elements, *step.inputs):
            if (read := _reading(step, element)) is not None:
                yield read

    def _feed(self, step: PipelineStep, read: InputPortBinding) -> Feed:
        return Feed(read.name, self._numbers[_maker(step, read.output)], read.output.name)


def _reading(step: PipelineStep, element: object) -> InputPortBinding | None:
    """`element` as something that another step writes and this one reads; None if it is not."""
    if any(element is each for each in step.outputs):
        return None
    if isinstance(element, InputPortBinding):
        return element
    if isinstance(element, PipelineData):
        return element.as_mount()
    if isinstance(element, DatasetConsumptionConfig) and isinstance(element.dataset, OutputFileDatasetConfig):
        if element.dataset.step is None:  # of a job before this pipeline
            return None
        return InputPortBinding(element.name, element.dataset, element.mode, element.path_on_compute)
    return None


def _read(step: PipelineStep) -> Iterator[OutputFileDatasetConfig]:
    for element in (*step.elements, *step.inputs):
        if (read := _reading(step, element)) is not None:
            yield read.output


def _maker(step: PipelineStep, output: OutputFileDatasetConfig) -> PipelineStep:
    maker = output.step
    if not isinstance(maker, PipelineStep):
        raise UserErrorException(
            f"step '{step.name}' reads '{output.name}', which no step writes; list it in the outputs of the one that does"
        )
    return maker


def _numbers(step: PipelineStep, numbers: Mapping[PipelineStep, int]) -> frozenset[int]:
    return frozenset(numbers[each] for each in needed_by(step) if each in numbers)


def _parameter(element: object) -> PipelineParameter | None:
    for candidate in (element, getattr(element, "dataset", None), *(element if isinstance(element, tuple) else ())):
        if isinstance(candidate, PipelineParameter):
            return candidate
    return None


def _dataset_input(name: str, value: object, mode: str, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
    dataset = value if isinstance(value, FileDataset) else Dataset.File.from_files(cast("PathArgument", value))
    return DatasetConsumptionConfig(name, dataset, mode, path_on_compute)


def _reference_name(reference: object) -> str:
    name = getattr(reference, "data_reference_name", None) or getattr(reference, "name", None)
    return str(name) if name else f"input__{uuid.uuid4().hex[:8]}"
