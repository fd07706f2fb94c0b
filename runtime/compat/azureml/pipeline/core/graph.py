"""`azureml.pipeline.core.graph`: v1's module of a pipeline's parts."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "OutputPortBinding": _absent.PORT,
    "InputPortDef": _absent.CLOUD_STEP,
    "OutputPortDef": _absent.CLOUD_STEP,
}
__getattr__, __dir__ = reexport(__name__, ("InputPortBinding", "PipelineParameter"), _NOT_HERE)
