"""`azureml.pipeline.core.run`: v1's module of pipelines' runs."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("PipelineRun", "PortDataReference", "StepRun", "StepRunOutput"))
