"""`azureml.data`: v1's module of datasets' types."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(
    __name__,
    (
        "DataType",
        "FileDataset",
        "HDFSOutputDatasetConfig",
        "LinkFileOutputDatasetConfig",
        "LinkTabularOutputDatasetConfig",
        "OutputFileDatasetConfig",
        "TabularDataset",
    ),
)
