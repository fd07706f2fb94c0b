"""`azureml.data.dataset_error_handling`: v1's module of datasets' errors."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("DatasetExecutionError", "DatasetValidationError"))
