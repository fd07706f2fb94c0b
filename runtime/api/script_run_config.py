"""ScriptRunConfig: v1's face of a job's command.

`job` turns it into a spec: inputs and outputs that stand in the arguments become tokens there, and are taken into the job.
The command runs in `source_directory` itself, not in a copy of it; a script runs with the Python that submits it.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from runtime.api.consumption import DatasetConsumptionConfig
from runtime.api.dataset import FileDataset
from runtime.api.output import OutputFileDatasetConfig
from runtime.errors import RunConfigurationException, UserErrorException
from runtime.job.spec import JobSpec
from runtime.workspace import WorkspaceFolder

_Named = TypeVar("_Named", DatasetConsumptionConfig, OutputFileDatasetConfig)
_DEFAULT_MAX_DURATION_S = 2592000  # v1's 30 days, which is no limit here


class ScriptRunConfig:
    """A script with its arguments, or a command, and the folder it runs in.

    `arguments` and a `command` that is a list may hold inputs and outputs; a `command` that is a string goes to `/bin/sh`.
    """

    def __init__(  # noqa: PLR0917 # v1's signature
        self,
        source_directory: str | os.PathLike[str] | None,
        script: str | None = None,
        arguments: Sequence[Any] | None = None,
        run_config: object = None,
        compute_target: object = None,
        environment: object = None,
        distributed_job_config: object = None,
        resume_from: object = None,
        max_run_duration_seconds: int | None = _DEFAULT_MAX_DURATION_S,
        command: str | Sequence[Any] | None = None,
        docker_runtime_config: object = None,
    ) -> None:
        later = {
            "run_config": run_config,
            "environment": environment,
            "distributed_job_config": distributed_job_config,
            "resume_from": resume_from,
            "docker_runtime_config": docker_runtime_config,
            "compute_target": None if compute_target == "local" else compute_target,
            "max_run_duration_seconds": None if max_run_duration_seconds in {None, _DEFAULT_MAX_DURATION_S} else 1,
        }
        if given := [name for name, value in later.items() if value is not None]:
            raise RunConfigurationException(f"ScriptRunConfig: {given[0]} comes with a later version; leave it out")
        if (script is None) == (command is None):
            raise RunConfigurationException("ScriptRunConfig: give either a script or a command")
        if command is not None and arguments:
            raise RunConfigurationException("ScriptRunConfig: arguments belong to a script; put them into the command")
        self.source_directory = Path(source_directory or ".").absolute()
        self.script = script
        self.arguments = list(arguments or [])
        self.command = command

    def job(self, folder: WorkspaceFolder, run_id: str, experiment: str, tags: Mapping[str, str]) -> JobSpec:
        """The spec of one run of this in the workspace `folder`.

        Raises:
            UserErrorException: the folder or script is not there, or an argument cannot become text.
        """
        elements = list(self._elements())
        inputs = _by_name(each for each in elements if isinstance(each, DatasetConsumptionConfig))
        outputs = _by_name(each for each in elements if isinstance(each, OutputFileDatasetConfig))
        spec = JobSpec(
            run_id,
            experiment,
            tuple(map(_text, elements)),
            str(self.source_directory),
            tuple(each.spec_in(folder) for each in inputs),
            tuple(each.spec for each in outputs),
            tags=tags,
        )
        for output in outputs:
            output.note_producer(run_id, folder)
        return spec

    def _elements(self) -> Iterable[Any]:
        if not self.source_directory.is_dir():
            raise UserErrorException(f"source_directory {self.source_directory}: no such folder")
        if isinstance(self.command, str):
            return ["/bin/sh", "-c", self.command]
        if self.command is not None:
            return self.command
        if not (self.source_directory / str(self.script)).is_file():
            raise UserErrorException(f"script {self.script!r}: no such file in {self.source_directory}")
        return [sys.executable, self.script, *self.arguments]


def _by_name(found: Iterable[_Named]) -> list[_Named]:
    """Each input or output once, however often it stands in the arguments."""
    named: dict[str, _Named] = {}
    for each in found:
        if named.setdefault(each.name, each) is not each:
            raise UserErrorException(
                f"two different inputs or outputs are called '{each.name}'; give each its own name"
            )
    return list(named.values())


def _text(element: object) -> str:
    """An argument as the child gets it, tokens for inputs and outputs."""
    if isinstance(element, DatasetConsumptionConfig | OutputFileDatasetConfig):
        return element.arg_val
    if isinstance(element, FileDataset):
        raise UserErrorException(
            "a dataset cannot be an argument by itself; say how the job gets it: ds.as_named_input('x').as_mount()"
        )
    if isinstance(element, str | int | float | os.PathLike):
        return os.fspath(element) if isinstance(element, os.PathLike) else str(element)
    raise UserErrorException(f"an argument of type {type(element).__name__} cannot become text: {element!r}")
