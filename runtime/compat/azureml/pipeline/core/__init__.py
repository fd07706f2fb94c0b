"""`azureml.pipeline.core`: v1's module of pipelines."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "OutputPortBinding": _absent.PORT,
    "Module": _absent.CLOUD_STEP,
    "ModuleVersion": _absent.CLOUD_STEP,
    "PipelineDraft": _absent.PUBLISHING,
    "PipelineEndpoint": _absent.PUBLISHING,
    "PublishedPipeline": _absent.PUBLISHING,
    "Schedule": _absent.PUBLISHING,
    "ScheduleRecurrence": _absent.PUBLISHING,
    "TrainingOutput": _absent.AUTOML,
}
__getattr__, __dir__ = reexport(
    __name__,
    (
        "InputPortBinding",
        "Pipeline",
        "PipelineData",
        "PipelineParameter",
        "PipelineRun",
        "PortDataReference",
        "StepRun",
        "StepRunOutput",
        "StepSequence",
    ),
    _NOT_HERE,
)
