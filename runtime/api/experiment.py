"""Experiment: v1's face of jobs of one name, and of starting one.

`submit` writes the run's record, starts a launcher as a process of its own session with the spec on an inherited
descriptor, and returns; the job goes on when the submitting process ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.errors import UserErrorException
from runtime.job import interactive, runs
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

    @property
    def id(self) -> str:
        """Its name: there is no service that would number experiments."""
        return self.name

    def submit(
        self,
        config: "ScriptRunConfig | Pipeline",
        tags: Mapping[str, str] | None = None,
        *,
        _parent: str | None = None,
        **options: Any,
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
        runs.create(folder, spec, parent=_parent)
        return Run(self, spec.run_id, _launcher=start_launcher(folder, spec))

    def start_logging(self, *args: Any, **kwargs: Any) -> "Run":  # noqa: ARG002 # v1 has options for its snapshot
        """Begin a run of this process, to log to; end it by `complete`, or use it as a context manager."""
        from runtime.api.run import Run

        record = interactive.begin(self.workspace.folder, self.name, {})
        run = Run(self, record.run_id)
        if name := kwargs.get("display_name"):
            run.display_name = str(name)
        return run

    def get_runs(
        self,
        type: str | None = None,  # noqa: A002 # v1's name
        tags: Any = None,
        properties: Any = None,
        include_children: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        status: str | None = None,
    ) -> "Iterator[Run]":
        """The runs of this experiment that every filter lets through, the newest first, as v1 has them."""
        from runtime.api.run import Run

        return Run.list(self, type, tags, properties, status, include_children)

    @staticmethod
    def list(workspace: "Workspace", experiment_name: str | None = None, **kwargs: Any) -> "Sequence[Experiment]":  # noqa: ARG004 # v1's signature
        """The experiments that have runs, by name."""
        names = sorted({record.spec.experiment for record in runs.read_all(workspace.folder)})
        return [Experiment(workspace, name) for name in names if experiment_name in {None, name}]

    def __repr__(self) -> str:
        return f"Experiment(name={self.name!r})"
