"""`azureml.data.abstract_datastore`: v1's root of datastores."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("AbstractDatastore",))
