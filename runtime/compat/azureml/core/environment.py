"""`azureml.core.environment`: v1's module of environments."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "DockerImageDetails": _absent.SERVICE,
    "ImageBuildDetails": _absent.SERVICE,
}
_NAMES = ("CondaDependencies", "ContainerRegistry", "DockerSection", "Environment", "PythonSection", "SparkSection")
__getattr__, __dir__ = reexport(__name__, _NAMES, _NOT_HERE, first="runtime.api.environment")
