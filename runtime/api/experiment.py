"""Experiment: v1's face of jobs of one name, and of starting one.

`submit` writes the run's record, starts a launcher as a process of its own session with the spec on an inherited
descriptor, and returns; the job goes on when the submitting process ends.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runtime.errors import UserErrorException
from runtime.job import runs
from runtime.job.spec import check_experiment, new_run_id
from runtime.job.starting import start_launcher
from runtime.workspace import find

if TYPE_CHECKING:
    from runtime.api.pipeline import Pipeline
    from runtime.api.run import Run
    from runtime.api.script_run_config import ScriptRunConfig
    from runtime.api.workspace import Workspace


class Experiment:
    """The jobs called `name` in `workspace`; None is the workspace that this process finds when it is asked for."""

    def __init__(self, workspace: "Workspace | None", name: str) -> None:
        self._workspace = workspace
        self.name = check_experiment(name)

    @property
    def workspace(self) -> "Workspace":
        """The workspace."""
        if self._workspace is None:
            from runtime.api.workspace import Workspace

            self._workspace = Workspace.of(find())
        return self._workspace

    def submit(
        self, config: "ScriptRunConfig | Pipeline", tags: Mapping[str, str] | None = None, **options: Any
    ) -> "Run":
        """Start the job or pipeline `config` on this machine, and return at once; `options` are a pipeline's.

        Raises:
            UserErrorException: an input, output or script that is not there; nothing was started.
        """
        from runtime.api.pipeline import Pipeline
        from runtime.api.run import Run
        from runtime.api.script_run_config import ScriptRunConfig

        if isinstance(config, Pipeline):
            return config.start_in(self, dict(tags or {}), **options)
        folder = self.workspace.folder
        if not isinstance(config, ScriptRunConfig):
            raise UserErrorException(
                f"{type(config).__name__} cannot be submitted; give a ScriptRunConfig or a Pipeline"
            )
        spec = config.job(folder, new_run_id(self.name), self.name, dict(tags or {}))
        runs.create(folder, spec)
        return Run(self, spec.run_id, _launcher=start_launcher(folder, spec))

    def get_runs(self) -> "Iterator[Run]":
        """The runs of this experiment, the newest first, as v1 has them."""
        from runtime.api.run import Run

        found = [record for record in runs.read_all(self.workspace.folder) if record.spec.experiment == self.name]
        return (Run(self, record.run_id) for record in reversed(found))

    def __repr__(self) -> str:
        return f"Experiment(name={self.name!r})"
