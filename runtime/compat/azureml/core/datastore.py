"""`azureml.core.datastore`: v1's module of datastores."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("Datastore",))
