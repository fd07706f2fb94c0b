"""`azureml.data.datapath`: v1's module of paths in datastores."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("DataPath", "DataPathComputeBinding"))
