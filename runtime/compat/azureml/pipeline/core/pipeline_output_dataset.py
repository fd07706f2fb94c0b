"""`azureml.pipeline.core.pipeline_output_dataset`: v1's module of datasets between steps."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "PipelineOutputTabularDataset": _absent.CLOUD_STEP,
}
__getattr__, __dir__ = reexport(__name__, ("PipelineOutputFileDataset",), _NOT_HERE)
