"""`azureml.core.run`: v1's module of runs.

Scripts ask `isinstance(run, _OfflineRun)` to learn whether there is a job around them. An offline run is a Run here, so
that class is one by its id.
"""

from azureml._moorage import reexport


class _Offline(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return str(getattr(instance, "id", "")).startswith("OfflineRun_")


class _OfflineRun(metaclass=_Offline):
    """Any run without a job around it."""


__getattr__, __dir__ = reexport(__name__, ("Run",))
