"""Everything that can go wrong in the job plane, under the names that v1 scripts catch.

    AzureMLException
    ├── UserErrorException             3   what the caller asked for cannot be done; the message says what to do
    │   ├── DatasetValidationError         a dataset whose data or definition does not hold what it says
    │   ├── DatasetTimestampMissingError   a time filter without a column of times
    │   ├── UnknownNameError           4   a dataset, version, datastore, workspace or run that is not there
    │   └── AlreadyRegisteredError         exactly this dataset is registered already; carries its version
    ├── RunEnvironmentException        3   Run.get_context() outside of a job, and no offline run allowed
    ├── RunConfigurationException      3   a ScriptRunConfig whose parts do not fit together
    ├── ComputeTargetException         4   a compute target that is not there
    ├── ExperimentExecutionException   70  a run that could not be started or watched
    └── ActivityFailedException        1   a run that failed, from wait_for_completion
    JobError                               `moorage run` is over without the child's own code; carries its exit code

Each class carries the exit code that a caller of `moorage` gets (DESIGN §12); what mountd raises keeps mountd's own. A
message is one line: what was wrong, where, and what to do. It never holds a secret.
"""


class AzureMLException(Exception):  # noqa: N818 # v1's name, which scripts catch
    """Root of the names that v1 scripts catch."""

    exit_code: int = 3

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class UserErrorException(AzureMLException):
    """What the caller asked for cannot be done."""


class DatasetValidationError(UserErrorException):
    """A dataset whose data or definition does not hold what it says; `error_code` is v1's word for the rule, or empty."""

    def __init__(self, message: str = "", error_code: str = "") -> None:
        super().__init__(message)
        self.error_code = error_code


class DatasetTimestampMissingError(UserErrorException):
    """A time filter on a dataset that does not say which column holds its times."""


class UnknownNameError(UserErrorException):
    """A dataset, version, datastore, workspace or run that is not there."""

    exit_code = 4


class AlreadyRegisteredError(UserErrorException):
    """Exactly this dataset (definition and frozen content) is registered already, as `name` version `version`."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"dataset '{name}' version {version} is exactly this one already; use it with Dataset.get_by_name(ws, "
            f"'{name}', version={version})"
        )
        self.name = name
        self.version = version


class RunEnvironmentException(AzureMLException):
    """There is no job around this process, and the caller did not allow an offline run."""


class RunConfigurationException(AzureMLException):
    """A run configuration whose parts do not fit together."""


class ComputeTargetException(AzureMLException):
    """A compute target that is not there."""

    exit_code = 4


class ExperimentExecutionException(AzureMLException):
    """A run that could not be started or watched."""

    exit_code = 70


class ActivityFailedException(AzureMLException):
    """A run that failed; raised where its caller waits for it."""

    exit_code = 1


class JobError(Exception):
    """`moorage run` ends without the child's own exit code; `exit_code` is what the command returns instead."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
