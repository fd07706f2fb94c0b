"""`azureml.core.experiment`: v1's module of experiments."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("Experiment",))
