"""`azureml.contrib.dataset.labeled_dataset_factory`: v1's module of the factory."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("LabeledDatasetFactory", "LabeledDatasetTask"))
