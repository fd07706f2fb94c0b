"""`azureml.data.file_dataset`: v1's module of File datasets."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("FileDataset",))
