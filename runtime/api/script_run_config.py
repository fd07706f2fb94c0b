"""ScriptRunConfig: v1's face of a job's command.

`job` turns it into a spec: inputs and outputs in the arguments become tokens there and are taken into the job, its run
configuration says the rest, and the source folder is copied into the run's folder, so that the job runs what was submitted
(decision 17). A script runs with the Python that submits it, or the one that its environment names; a command runs by the
shell, with that Python first on PATH.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime import datastores
from runtime.api.arguments import Arguments, shell_line
from runtime.api.distributed import DistributedConfiguration, on_this_machine
from runtime.api.environment import Environment
from runtime.api.run_config_data import DataReferenceConfiguration
from runtime.api.run_configuration import DEFAULT_ENVIRONMENT, DockerConfiguration, RunConfiguration
from runtime.api.telling import tell_once, tell_or_refuse
from runtime.errors import RunConfigurationException, UserErrorException
from runtime.job import runs, source
from runtime.job.spec import JobSpec, Ranks
from runtime.workspace import WorkspaceFolder

_DEFAULT_MAX_DURATION_S = 2592000  # v1's 30 days, which is no limit here
_RESUME_NAME = "MODEL_LOCATION"
_SHELLS = ("/bin/bash", "/bin/sh")


class ScriptRunConfig:
    """A script with its arguments, or a command, and the folder it runs in.

    `arguments`, and a `command` that is a list, may hold inputs and outputs. `run_config` wins over `compute_target`,
    `environment`, `distributed_job_config` and `docker_runtime_config`, which is told.
    """

    def __init__(  # noqa: PLR0917 # v1's signature
        self,
        source_directory: str | os.PathLike[str] | None,
        script: str | os.PathLike[str] | None = None,
        arguments: Sequence[Any] | None = None,
        run_config: RunConfiguration | None = None,
        compute_target: object = None,
        environment: Environment | None = None,
        distributed_job_config: DistributedConfiguration | None = None,
        resume_from: Any = None,
        max_run_duration_seconds: float | None = _DEFAULT_MAX_DURATION_S,
        command: str | Sequence[Any] | None = None,
        docker_runtime_config: DockerConfiguration | None = None,
    ) -> None:
        if (script is None) == (command is None) and (run_config is None or script is not None):
            raise RunConfigurationException("ScriptRunConfig: give either a script or a command")
        if command is not None and arguments:
            raise RunConfigurationException("ScriptRunConfig: arguments belong to a script; put them into the command")
        if isinstance(arguments, str):
            raise RunConfigurationException("ScriptRunConfig: arguments is a text; give a list: text.split()")
        self.source_directory = Path(source_directory or ".").absolute()
        self.script = script if script is not None or command is not None or run_config is None else run_config.script
        self.arguments = list(arguments if arguments is not None else run_config.arguments if run_config else ())
        self.command = command
        if run_config is not None and script is None and command is None and run_config.command:
            self.script, self.command, self.arguments = None, run_config.command, []
        self.max_run_duration_seconds = max_run_duration_seconds
        self.run_config = run_config or RunConfiguration()
        given = (compute_target, environment, distributed_job_config, docker_runtime_config)
        if run_config is None:
            self._configure(*given)
        elif any(each is not None for each in given):
            names = "compute_target, environment, distributed_job_config and docker_runtime_config"
            tell_once(f"ScriptRunConfig: run_config is given, so {names} are ignored; set them in it")
        if resume_from is not None:
            self._resume(resume_from)
        _duration(self._max_duration())

    def _configure(
        self,
        compute_target: object,
        environment: Environment | None,
        distributed_job_config: DistributedConfiguration | None,
        docker_runtime_config: DockerConfiguration | None,
    ) -> None:
        self.run_config.target = compute_target
        if environment is not None:
            if not isinstance(environment, Environment):
                raise RunConfigurationException(
                    f"environment: {type(environment).__name__} is none; make one by Environment(name)"
                )
            self.run_config.environment = environment
        if distributed_job_config is not None:
            self.run_config.distribute(distributed_job_config)
        if docker_runtime_config is not None:
            self.run_config.docker = docker_runtime_config

    def _resume(self, resume_from: Any) -> None:
        """Give the job what an earlier one left at `resume_from`, a DataPath, as v1 does."""
        store, path = getattr(resume_from, "datastore", None), getattr(resume_from, "path_on_datastore", None)
        if store is None or self.command is not None:
            raise RunConfigurationException("resume_from: give a DataPath, to a script; it becomes --resume-from PATH")
        self.run_config.data_references[_RESUME_NAME] = DataReferenceConfiguration(store.name, "mount", path)
        self.arguments += ["--resume-from", f"$AZUREML_DATAREFERENCE_{_RESUME_NAME}"]

    def job(self, folder: WorkspaceFolder, run_id: str, experiment: str, tags: Mapping[str, str]) -> JobSpec:
        """The spec of one run of this in the workspace `folder`; the source folder is copied into the run's.

        Raises:
            UserErrorException: the folder or script is not there, an argument cannot become text, or MOORAGE_STRICT is set
                and the job would run on something else than was asked for.
        """
        config = self.run_config
        self._check_source()
        elements = self.arguments if self.command is None or isinstance(self.command, str) else list(self.command)
        taken = Arguments.of(elements, config.data, config.output_data, config.data_references)
        environment = _environment(config.environment, folder) | taken.aliases()
        interpreter, ranks = config.environment.interpreter(), self._ranks()
        self._tell_differences()
        copied = runs.folder_of(folder, run_id) / "source"
        spec = JobSpec(
            run_id,
            experiment,
            self._command(interpreter, elements, taken),
            str(copied),
            taken.inputs(folder),
            taken.outputs(folder),
            tags=tags,
            environment=_with_path(environment, interpreter),
            ranks=ranks,
            max_duration_s=_duration(self._max_duration()),
            configuration=self._recorded(),
        )
        source.take(self.source_directory, copied, without=folder.path)
        taken.note_producer(run_id)
        return spec

    def _check_source(self) -> None:
        if not self.source_directory.is_dir():
            raise UserErrorException(f"source_directory {self.source_directory}: no such folder")
        if self.command is not None:
            return
        script = self.source_directory / str(self.script)
        if not script.is_file():
            raise UserErrorException(f"script {str(self.script)!r}: no such file in {self.source_directory}")
        if not os.access(script, os.R_OK):
            raise UserErrorException(f"script {script}: not readable; chmod +r it")
        if not script.resolve().is_relative_to(self.source_directory.resolve()):
            raise UserErrorException(f"script {script} lies outside of source_directory; name its own folder there")

    def _command(self, interpreter: str, elements: Sequence[Any], taken: Arguments) -> tuple[str, ...]:
        if self.command is None:
            script = Path(str(self.script))
            inside = script.relative_to(self.source_directory) if script.is_absolute() else script
            return (interpreter, str(inside), *taken.texts)
        line = self.command if isinstance(self.command, str) else shell_line(elements, taken.texts)
        shell = next((each for each in _SHELLS if os.access(each, os.X_OK)), _SHELLS[-1])
        return (shell, "-c", line)

    def _ranks(self) -> Ranks | None:
        ranks = self.run_config.ranks
        if ranks is None:
            return None
        ranks = on_this_machine(ranks, None if self.script is None else self.source_directory / str(self.script))
        if ranks.kind == "mpi" and ranks.count > 1:
            _check_mpirun()
        return None if ranks.kind == "mpi" and ranks.count == 1 else ranks

    def _max_duration(self) -> float | None:
        given = self.max_run_duration_seconds
        return self.run_config.max_run_duration_seconds if given == _DEFAULT_MAX_DURATION_S else given

    def _tell_differences(self) -> None:
        target, environment = self.run_config.target, self.run_config.environment
        if target.lower() != "local":
            tell_or_refuse(f"compute target '{target}' is this machine here: the job runs locally")
        untouched = Environment(DEFAULT_ENVIRONMENT).to_document()
        if environment.name != untouched["name"] or environment.to_document()["python"] != untouched["python"]:
            environment.tell_difference()

    def _recorded(self) -> dict[str, Any]:
        """What v1 would have run it on, for the run's record."""
        environment = self.run_config.environment.to_document()
        environment["environment_variables"] = sorted(environment["environment_variables"])
        return {
            "target": self.run_config.target,
            "source_directory": str(self.source_directory),
            "script": None if self.script is None else str(self.script),
            "environment": environment,
            "docker": {"use_docker": self.run_config.docker.use_docker},
        }


def _duration(given: object) -> float | None:
    if given is None or given == _DEFAULT_MAX_DURATION_S:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < float("inf"):
        raise RunConfigurationException(f"max_run_duration_seconds is {given!r}; give seconds, more than 0")
    return float(given)


def _environment(environment: Environment, folder: WorkspaceFolder) -> dict[str, str]:
    """The variables that the job is given.

    Raises:
        UserErrorException: one that no process can have, or that holds a storage credential, which no job gets.
    """
    given = {str(name): str(value) for name, value in environment.environment_variables.items()}
    for name, value in given.items():
        if not name or "=" in name or "\0" in name + value:
            raise UserErrorException(f"environment variable {name!r}: no process can have it; see its name and value")
    if withheld := sorted(datastores.secret_variables(folder) & given.keys()):
        raise UserErrorException(
            f"environment variable {withheld[0]} holds a storage credential, which a job does not get: leave it out, and "
            "register a datastore with it"
        )
    return given


def _with_path(environment: Mapping[str, str], interpreter: str) -> dict[str, str]:
    """`environment` with the interpreter's folder first on PATH, so that `python` is it in a command and below a script."""
    folder = str(Path(interpreter).parent)
    path = environment.get("PATH", os.environ.get("PATH", os.defpath))
    if path.split(os.pathsep)[0] == folder:
        return dict(environment)
    return {**environment, "PATH": f"{folder}{os.pathsep}{path}"}


def _check_mpirun() -> None:
    import shutil

    if shutil.which("mpirun") is None:
        raise UserErrorException(
            "MpiConfiguration needs `mpirun`, which is not on PATH; install Open MPI (Debian and Ubuntu: openmpi-bin)"
        )
