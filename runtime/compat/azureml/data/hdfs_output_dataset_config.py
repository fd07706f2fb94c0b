"""`azureml.data.hdfs_output_dataset_config`: v1's module of Spark outputs."""

from azureml import _absent
from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, (), {"HDFSOutputDatasetConfig": _absent.SPARK})
