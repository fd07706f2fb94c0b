"""`azureml.core.model`: v1's module of models."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "InferenceConfig": _absent.SERVING,
}
__getattr__, __dir__ = reexport(__name__, ("Model",), _NOT_HERE)
