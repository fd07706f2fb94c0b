"""`azureml.pipeline.core.builder`: v1's module of what a pipeline is built from."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("PipelineData", "StepSequence"))
