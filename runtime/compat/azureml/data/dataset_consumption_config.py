"""`azureml.data.dataset_consumption_config`: v1's module of a job's inputs."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("DatasetConsumptionConfig",))
