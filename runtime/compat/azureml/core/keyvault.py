"""`azureml.core.keyvault`: v1's module of secrets."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("Keyvault",))
