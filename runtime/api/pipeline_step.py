"""PythonScriptStep and CommandStep: v1's faces of a pipeline's steps, each a ScriptRunConfig that is made when submitted.

`allow_reuse` is accepted and has no effect: every step runs. An output in `arguments` belongs to the step without being
listed in `outputs`, except a PipelineData, which is written only where it is listed.
"""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from runtime.api.output import OutputFileDatasetConfig
from runtime.api.pipeline_data import PipelineData, PipelineOutputFileDataset
from runtime.api.script_run_config import ScriptRunConfig
from runtime.errors import UserErrorException


class PipelineStep:
    """What both kinds of step have; `elements` are the arguments or the command, as the user gave them."""

    def __init__(  # one place for what v1 spreads over its signatures
        self,
        name: str,
        elements: Sequence[Any],
        inputs: Sequence[Any] | None,
        outputs: Sequence[Any] | None,
        source_directory: str | os.PathLike[str] | None,
        compute_target: object,
        runconfig: Any,
        params: Mapping[str, object] | None,
    ) -> None:
        if params:
            raise UserErrorException(f"step '{name}': params are not supported; put them into the arguments")
        self.name = name
        self.elements = list(elements)
        self.inputs = list(inputs or [])
        self.outputs = list(outputs or [])
        self.source_directory = source_directory
        self.compute_target = compute_target
        self.runconfig = runconfig
        self.after: list[PipelineStep] = []
        for output in self.written():
            if output.step not in {None, self}:
                raise UserErrorException(
                    f"output '{output.name}' is of step '{getattr(output.step, 'name', '?')}' already; step '{name}' "
                    "needs one of its own"
                )
            output.note_step(self)

    def run_after(self, step: "PipelineStep") -> None:
        """Start this step when `step` has succeeded."""
        self.after.append(step)

    def written(self) -> Iterator[OutputFileDatasetConfig]:
        """The outputs that this step writes, each once."""
        seen: set[str] = set()
        for element in (*self.outputs, *self.elements):
            output = output_of(element) if self._writes(element) else None
            if output is not None and output.name not in seen:
                seen.add(output.name)
                yield output

    def _writes(self, element: object) -> bool:
        return isinstance(element, OutputFileDatasetConfig) or any(element is each for each in self.outputs)

    def config(self, elements: Sequence[Any], default_source: str | None) -> ScriptRunConfig:
        """The step as a job: `elements` without what only a pipeline knows; where no folder is named, `default_source`."""
        raise NotImplementedError

    def _chosen(self) -> dict[str, Any]:
        """How the job is run: a run configuration keeps what it says, but for a compute target of the step's own."""
        if self.runconfig is None:
            return {} if self.compute_target is None else {"compute_target": self.compute_target}
        chosen = copy.copy(self.runconfig)
        if self.compute_target is not None:
            chosen.target = self.compute_target
        return {"run_config": chosen}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class PythonScriptStep(PipelineStep):
    """A Python script as a step; `source_directory` None is the pipeline's default, else the current folder."""

    def __init__(  # noqa: PLR0917 # v1's signature
        self,
        script_name: str,
        name: str | None = None,
        arguments: Sequence[Any] | None = None,
        compute_target: object = None,
        runconfig: object = None,
        runconfig_pipeline_params: Mapping[str, object] | None = None,
        inputs: Sequence[Any] | None = None,
        outputs: Sequence[Any] | None = None,
        params: Mapping[str, object] | None = None,
        source_directory: str | os.PathLike[str] | None = None,
        allow_reuse: bool = True,  # noqa: ARG002, FBT001, FBT002 # v1's signature
        version: str | None = None,  # noqa: ARG002 # v1's, for reuse
        hash_paths: Iterable[str] | None = None,  # noqa: ARG002 # as above
    ) -> None:
        _refuse(name or script_name, runconfig_pipeline_params)
        super().__init__(
            name or script_name, arguments or [], inputs, outputs, source_directory, compute_target, runconfig, params
        )
        self.script_name = script_name

    def config(self, elements: Sequence[Any], default_source: str | None) -> ScriptRunConfig:
        """The script with its arguments."""
        source = self.source_directory or default_source
        return ScriptRunConfig(source, self.script_name, elements, **self._chosen())


class CommandStep(PipelineStep):
    """A command as a step, a list or one text for the shell; or a ScriptRunConfig as `runconfig`."""

    def __init__(  # noqa: PLR0917 # v1's signature
        self,
        command: str | Sequence[Any] | None = None,
        name: str | None = None,
        compute_target: object = None,
        runconfig: Any = None,
        runconfig_pipeline_params: Mapping[str, object] | None = None,
        inputs: Sequence[Any] | None = None,
        outputs: Sequence[Any] | None = None,
        params: Mapping[str, object] | None = None,
        source_directory: str | os.PathLike[str] | None = None,
        allow_reuse: bool = True,  # noqa: ARG002, FBT001, FBT002 # v1's signature
        version: str | None = None,  # noqa: ARG002 # v1's, for reuse
    ) -> None:
        _refuse(name or "command", runconfig_pipeline_params)
        self._given = runconfig if isinstance(runconfig, ScriptRunConfig) else None
        if (command is None) == (self._given is None):
            raise UserErrorException(f"step '{name}': give either a command, or a ScriptRunConfig as runconfig")
        self._is_text = isinstance(command, str) or (self._given is not None and isinstance(self._given.command, str))
        super().__init__(
            name or "command",
            _elements(command, self._given),
            inputs,
            outputs,
            source_directory,
            compute_target,
            None if self._given is not None else runconfig,
            params,
        )

    def config(self, elements: Sequence[Any], default_source: str | None) -> ScriptRunConfig:
        """The command, or the ScriptRunConfig that was given, with `elements` in place of its own."""
        command = elements[0] if self._is_text else list(elements)
        if self._given is None:
            return ScriptRunConfig(self.source_directory or default_source, command=command, **self._chosen())
        made = copy.copy(self._given)
        if made.command is None:
            made.arguments = list(elements)
        else:
            made.command = command
        return made


def output_of(element: object) -> OutputFileDatasetConfig | None:
    """The output that an element of a step's `outputs` or arguments stands for."""
    if isinstance(element, OutputFileDatasetConfig):
        return element
    return element.output if isinstance(element, PipelineData | PipelineOutputFileDataset) else None


def _elements(command: str | Sequence[Any] | None, given: ScriptRunConfig | None) -> Sequence[Any]:
    if given is not None:
        command = given.arguments if given.command is None else given.command
    return [command] if isinstance(command, str) else list(command or [])


def _refuse(name: str, runconfig_pipeline_params: Mapping[str, object] | None) -> None:
    if runconfig_pipeline_params:
        raise UserErrorException(
            f"step '{name}': runconfig_pipeline_params are not supported; set the runconfig itself"
        )
