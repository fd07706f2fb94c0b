"""`azureml.data.output_dataset_config`: v1's module of a job's outputs."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "HDFSOutputDatasetConfig": _absent.SPARK,
}
__getattr__, __dir__ = reexport(
    __name__,
    (
        "LinkFileOutputDatasetConfig",
        "LinkTabularOutputDatasetConfig",
        "OutputFileDatasetConfig",
        "OutputTabularDatasetConfig",
    ),
    _NOT_HERE,
)
