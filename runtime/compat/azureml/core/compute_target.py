"""`azureml.core.compute_target`: v1's module of a compute target and its errors."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("ComputeTarget", "ComputeTargetException"))
