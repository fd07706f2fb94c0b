"""`azureml.pipeline.steps`: v1's module of steps."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "AdlaStep": _absent.CLOUD_STEP,
    "AzureBatchStep": _absent.CLOUD_STEP,
    "DataTransferStep": _absent.CLOUD_STEP,
    "DatabricksStep": _absent.CLOUD_STEP,
    "KustoStep": _absent.CLOUD_STEP,
    "ModuleStep": _absent.CLOUD_STEP,
    "ParallelRunConfig": _absent.CLOUD_STEP,
    "ParallelRunStep": _absent.CLOUD_STEP,
    "RScriptStep": _absent.CLOUD_STEP,
    "SynapseSparkStep": _absent.SPARK,
    "AutoMLStep": _absent.AUTOML,
    "AutoMLStepRun": _absent.AUTOML,
    "HyperDriveStep": _absent.HYPERDRIVE,
    "HyperDriveStepRun": _absent.HYPERDRIVE,
    "EstimatorStep": _absent.ESTIMATOR,
    "MpiStep": _absent.ESTIMATOR,
}
__getattr__, __dir__ = reexport(__name__, ("CommandStep", "PythonScriptStep"), _NOT_HERE)
