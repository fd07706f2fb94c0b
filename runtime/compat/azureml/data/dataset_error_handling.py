"""`azureml.data.dataset_error_handling`: v1's module of datasets' errors."""

from azureml._moorage import reexport
from runtime.errors import AzureMLException


class DatasetExecutionError(AzureMLException):
    """Never raised here; there for `except` clauses."""


__getattr__, __dir__ = reexport(__name__, ("DatasetValidationError",))
