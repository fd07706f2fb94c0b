"""`azureml.core.dataset`: v1's module of dataset factories."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("Dataset",))
