"""`azureml.data`: v1's module of datasets' types."""

from azureml import _absent
from azureml._moorage import reexport
from azureml.core import __version__ as __version__

_NOT_HERE = {
    "HDFSOutputDatasetConfig": _absent.SPARK,
}
__getattr__, __dir__ = reexport(
    __name__,
    (
        "DataType",
        "FileDataset",
        "LinkFileOutputDatasetConfig",
        "LinkTabularOutputDatasetConfig",
        "OutputFileDatasetConfig",
        "TabularDataset",
    ),
    _NOT_HERE,
)
