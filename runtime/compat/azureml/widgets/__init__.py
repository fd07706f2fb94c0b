"""`azureml.widgets`: v1's module of widgets."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("RunDetails",))
