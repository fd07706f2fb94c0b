"""`azureml.dataprep.fuse.daemon`: v1's module of a mount's context."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("MountContext",))
