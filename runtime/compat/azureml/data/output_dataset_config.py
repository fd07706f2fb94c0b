"""`azureml.data.output_dataset_config`: v1's module of a job's outputs."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(
    __name__,
    (
        "HDFSOutputDatasetConfig",
        "LinkFileOutputDatasetConfig",
        "LinkTabularOutputDatasetConfig",
        "OutputFileDatasetConfig",
        "OutputTabularDatasetConfig",
    ),
)
