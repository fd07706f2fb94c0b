"""`azureml.core.workspace`: v1's module of workspaces."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("Workspace",))
