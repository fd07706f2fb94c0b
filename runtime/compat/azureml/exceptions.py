"""`azureml.exceptions`: what v1 code catches.

Those that Moorage raises are its own classes; the others are there so that an `except` clause can name them, and are
never raised.
"""

import runtime.errors
from azureml._moorage import reexport
from runtime.errors import AzureMLException

_OURS = (
    *("ActivityFailedException", "ComputeTargetException", "DatasetTimestampMissingError", "DatasetValidationError"),
    *("ExperimentExecutionException", "RunConfigurationException", "RunEnvironmentException", "UserErrorException"),
)
_NEVER_RAISED = (
    *("ArgumentException", "AuthenticationException", "DiscoveryUrlNotFoundException", "DiskSpaceException"),
    *("ExperimentPublishException", "ImageException", "ModelNotFoundException", "ModelPathNotFoundException"),
    *("OptionalDependencyMissingException", "ProjectSystemException", "RunEventException", "RunListException"),
    *("SchemaValidationException", "SnapshotException", "TrainingException", "UserErrorException"),
    *("WebserviceException", "WorkspaceException", "ComputeTargetException", "DatasetTimestampMissingError"),
)

for _name in _NEVER_RAISED:
    if not hasattr(runtime.errors, _name):
        globals()[_name] = type(_name, (AzureMLException,), {"__module__": __name__, "__doc__": "Never raised here."})

_looked_up, __dir__ = reexport(__name__, ("AzureMLException", *_OURS))


def __getattr__(name: str) -> object:
    if name == "__all__":
        return sorted({"AzureMLException", *_OURS, *_NEVER_RAISED})
    return _looked_up(name)
