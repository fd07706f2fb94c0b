"""`azureml.contrib.dataset`: labelled datasets, which v1's own package refuses to import."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(
    __name__, ("FileHandlingOption", "LabeledDataset", "LabeledDatasetFactory", "LabeledDatasetTask")
)
