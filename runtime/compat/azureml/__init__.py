"""The import names of Azure ML SDK v1, answered by Moorage where `moorage v1` or `moorage run --v1` put it on PYTHONPATH.

    import azureml.core                    a module of this tree, whose names are those of `runtime`, imported when used
    import azureml.train.automl            ModuleNotFoundError, which says why and what to do instead
    from azureml.core import Webservice    ImportError, likewise

It is never installed as `azureml`. Where the real one is installed too, this tree comes first, and one line says so.
"""

from azureml import _absent, _moorage

_moorage.check_runtime()
_absent.install()
_moorage.say_what_is_hidden()

__getattr__, __dir__ = _moorage.reexport(__name__, ())
