"""`azureml.contrib`: v1's contributed packages; `dataset` is here."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ())
