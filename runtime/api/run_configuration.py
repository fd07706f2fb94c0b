"""RunConfiguration: v1's face of everything about a job but its script: data, environment, where, as how many processes.

A ScriptRunConfig has one, its own or the one it was given, and reads it when the job is submitted, so that what a script
changes in between (`src.run_config.target = ...`) counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.api.compute import name_of
from runtime.api.conda_dependencies import CondaDependencies
from runtime.api.distributed import (
    DistributedConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    TensorflowConfiguration,
)
from runtime.api.environment import DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE, ContainerRegistry, Environment
from runtime.api.run_config_data import (
    Data,
    DataLocation,
    DataPath,
    DataReferenceConfiguration,
    Dataset,
    GlobsOptions,
    OutputData,
    OutputOptions,
    RegistrationOptions,
    UploadOptions,
    Uri,
)
from runtime.errors import RunConfigurationException
from runtime.job.spec import Ranks

__all__ = [
    "DEFAULT_CPU_IMAGE",
    "DEFAULT_GPU_IMAGE",
    "CondaDependencies",
    "ContainerRegistry",
    "Data",
    "DataLocation",
    "DataPath",
    "DataReferenceConfiguration",
    "Dataset",
    "DockerConfiguration",
    "Environment",
    "GlobsOptions",
    "MpiConfiguration",
    "OutputData",
    "OutputOptions",
    "PyTorchConfiguration",
    "RegistrationOptions",
    "RunConfiguration",
    "SparkConfiguration",
    "TensorflowConfiguration",
    "UploadOptions",
    "Uri",
]

DEFAULT_ENVIRONMENT = "default-environment"
_MPI = frozenset({"mpi", "openmpi", "intelmpi"})


@dataclass(slots=True)
class DockerConfiguration:
    """Whether v1 would start a container; none is started here, and that is recorded."""

    use_docker: bool = False
    shared_volumes: bool = True
    arguments: list[str] = field(default_factory=list)
    shm_size: str | None = None


@dataclass(slots=True)
class SparkConfiguration:
    """Settings of Spark, which is not started."""

    configuration: dict[str, str] = field(default_factory=dict)


class RunConfiguration:
    """Everything about a job but its script. `data`, `output_data` and `data_references` have inputs and outputs by name."""

    def __init__(
        self,
        script: str | None = None,
        arguments: Sequence[Any] | None = None,
        framework: str | None = None,
        communicator: str | None = None,
        conda_dependencies: CondaDependencies | None = None,
        command: str | Sequence[Any] | None = None,
    ) -> None:
        self.script = script or "train.py"
        self.arguments = list(arguments or [])
        self.command = command or ""
        self.framework = framework or "Python"
        self.communicator = communicator or "None"
        self.max_run_duration_seconds: float | None = None
        self.node_count = 1
        self.environment = Environment(DEFAULT_ENVIRONMENT)
        if conda_dependencies is not None:
            self.environment = Environment("conda-dependencies")
            self.environment.python.conda_dependencies = conda_dependencies
        self.docker = DockerConfiguration()
        self.spark = SparkConfiguration()
        self.mpi = MpiConfiguration()
        self.pytorch = PyTorchConfiguration()
        self.tensorflow = TensorflowConfiguration()
        self.data: dict[str, Any] = {}
        self.output_data: dict[str, Any] = {}
        self.data_references: dict[str, Any] = {}
        self.auto_prepare_environment = True
        self._target = "local"

    @property
    def target(self) -> str:
        """The name of the compute target; a ComputeTarget may be assigned."""
        return self._target

    @target.setter
    def target(self, compute_target: object) -> None:
        self._target = name_of(compute_target)

    @property
    def environment_variables(self) -> dict[str, str]:
        """The environment's."""
        return self.environment.environment_variables

    @environment_variables.setter
    def environment_variables(self, variables: dict[str, str]) -> None:
        self.environment.environment_variables = variables

    def distribute(self, configuration: DistributedConfiguration) -> None:
        """Run the command as `configuration` says.

        Raises:
            RunConfigurationException: it is none of the three.
        """
        if isinstance(configuration, PyTorchConfiguration):
            self.pytorch, self.framework = configuration, "PyTorch"
            self.communicator, self.node_count = configuration.communication_backend, configuration.node_count
        elif isinstance(configuration, MpiConfiguration):
            self.mpi, self.communicator, self.node_count = configuration, "OpenMpi", configuration.node_count
        elif isinstance(configuration, TensorflowConfiguration):
            self.tensorflow, self.framework, self.communicator = configuration, "TensorFlow", "ParameterServer"
        else:
            raise RunConfigurationException(
                f"distributed_job_config: {type(configuration).__name__} is none; give a PyTorchConfiguration, "
                "MpiConfiguration or TensorflowConfiguration"
            )

    @property
    def ranks(self) -> Ranks | None:
        """The processes of the job; None is one, without variables for others.

        Raises:
            RunConfigurationException: a count that is none.
        """
        communicator, framework = str(self.communicator).lower(), str(self.framework).lower()
        if communicator in _MPI:
            return MpiConfiguration(self.mpi.process_count_per_node, self.node_count).ranks
        if framework == "pytorch" and communicator in {"nccl", "gloo"}:
            return PyTorchConfiguration(self.communicator, self.pytorch.process_count, self.node_count).ranks
        if framework == "tensorflow" and communicator == "parameterserver":
            return self.tensorflow.ranks
        return None

    def __repr__(self) -> str:
        return f"RunConfiguration(target={self.target!r}, environment={self.environment!r})"
