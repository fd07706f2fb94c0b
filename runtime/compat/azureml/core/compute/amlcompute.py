"""`azureml.core.compute.amlcompute`: v1's module of clusters."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("AmlCompute",))
