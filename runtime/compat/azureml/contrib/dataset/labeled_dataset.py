"""`azureml.contrib.dataset.labeled_dataset`: v1's module of the class."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("LabeledDataset",))
