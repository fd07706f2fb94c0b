"""`azureml.train`: v1's package of services that train."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ())
