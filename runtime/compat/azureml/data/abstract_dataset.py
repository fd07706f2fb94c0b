"""`azureml.data.abstract_dataset`: v1's root of datasets."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("AbstractDataset",))
