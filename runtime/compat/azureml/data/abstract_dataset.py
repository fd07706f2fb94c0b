"""`azureml.data.abstract_dataset`: v1's root of datasets, for `isinstance`."""

from runtime import FileDataset, TabularDataset

__all__ = ["AbstractDataset"]

AbstractDataset = FileDataset | TabularDataset
