"""`azureml.core.conda_dependencies`: v1's module of packages."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("CondaDependencies",))
