"""`azureml.dataprep.fuse`: v1's package of mounts."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ())
