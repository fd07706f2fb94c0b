"""`azureml.core.script_run_config`: v1's module of a job's command."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("ScriptRunConfig",))
