"""`azureml.pipeline.core.pipeline`: v1's module of pipelines themselves."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("Pipeline",))
