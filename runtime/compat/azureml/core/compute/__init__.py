"""`azureml.core.compute`: v1's module of compute targets."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "AdlaCompute": _absent.SERVICE,
    "AksCompute": _absent.SERVICE,
    "BatchCompute": _absent.SERVICE,
    "DataFactoryCompute": _absent.SERVICE,
    "DatabricksCompute": _absent.SERVICE,
    "HDInsightCompute": _absent.SERVICE,
    "KubernetesCompute": _absent.SERVICE,
    "KustoCompute": _absent.SERVICE,
    "RemoteCompute": _absent.SERVICE,
    "SynapseCompute": _absent.SERVICE,
}
__getattr__, __dir__ = reexport(
    __name__, ("AmlCompute", "ComputeInstance", "ComputeTarget", "ComputeTargetException"), _NOT_HERE
)
