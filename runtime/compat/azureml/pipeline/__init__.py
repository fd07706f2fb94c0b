"""`azureml.pipeline`: v1's package of pipelines."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ())
