"""`azureml.dataprep.fuse.dprepfuse`: v1's module of a mount's options."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("MountContext", "MountOptions"))
