"""`azureml.data.data_reference`: v1's module of references to data."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("DataReference",))
