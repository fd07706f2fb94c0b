"""`azureml.pipeline.steps.python_script_step`: v1's module of Python steps."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("PythonScriptStep",))
