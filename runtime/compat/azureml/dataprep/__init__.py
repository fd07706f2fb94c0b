"""`azureml.dataprep`: the package below v1's datasets, as far as scripts name it."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ())
