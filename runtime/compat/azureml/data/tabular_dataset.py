"""`azureml.data.tabular_dataset`: v1's module of Tabular datasets."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("TabularDataset",))
