"""`azureml.data.dataset_factory`: v1's module of dataset factories."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(
    __name__, ("DataType", "FileDatasetFactory", "TabularDatasetFactory"), first="runtime.api.tabular_factory"
)
