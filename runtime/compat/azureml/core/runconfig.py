"""`azureml.core.runconfig`: v1's module of how a job is run."""

from azureml import _absent
from azureml._moorage import reexport

# Images are recorded with the run; jobs run in the Python that submits them.
DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.1-cudnn8-ubuntu20.04"

_NAMES = (
    *("CondaDependencies", "Data", "DataLocation", "DataPath", "DataReferenceConfiguration"),
    *("Dataset", "DockerConfiguration", "MpiConfiguration", "OutputData", "OutputOptions"),
    *("PyTorchConfiguration", "RunConfiguration", "TensorflowConfiguration", "Uri"),
)
_NOT_HERE = {
    "HdiConfiguration": _absent.SPARK,
    "JarLibrary": _absent.SPARK,
    "SparkConfiguration": _absent.SPARK,
    "ParallelTaskConfiguration": _absent.CLOUD_STEP,
}
# `Dataset` and `DataPath` are parts of a configuration here, and not the classes of the same name.
__getattr__, __dir__ = reexport(__name__, _NAMES, _NOT_HERE, first="runtime.api.run_config_data")
