"""`azureml.core`: v1's main module."""

from azureml import _absent
from azureml._moorage import reexport

# What v1 code prints and compares: the version whose calls are answered here.
VERSION = "1.61.0+moorage"
__version__ = VERSION

_NOT_HERE = {
    "ContainerRegistry": _absent.SERVICE,
    "Image": _absent.SERVING,
    "LinkedService": _absent.SPARK,
    "SynapseWorkspaceLinkedServiceConfiguration": _absent.SPARK,
    "Webservice": _absent.SERVING,
    "ComputeInstance": _absent.SERVICE,
}
__getattr__, __dir__ = reexport(
    __name__,
    (
        "ComputeTarget",
        "Dataset",
        "Datastore",
        "Environment",
        "Experiment",
        "Keyvault",
        "Model",
        "Run",
        "RunConfiguration",
        "ScriptRunConfig",
        "Workspace",
    ),
    _NOT_HERE,
)
