"""`azureml.data.dataset_type_definitions`: v1's module of how files are read."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("PromoteHeadersBehavior",))
