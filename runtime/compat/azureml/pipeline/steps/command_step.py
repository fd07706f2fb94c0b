"""`azureml.pipeline.steps.command_step`: v1's module of command steps."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("CommandStep",))
