"""The job plane: names, arguments, outputs. `from runtime import Workspace, Dataset, Run, ...` as v1 scripts know them.

    cli          the command `moorage`
    api/         the v1 classes, thin faces over the rooms below
    job/         layout, session, launcher, keeper: what `moorage run` does
    outputs      how files leave a job          consumption  how a dataset enters one
    datasets/    what a dataset is made of      catalog/     names and versions
    datastores   places with credentials        workspace/   the folder that holds it all
    errors       everything that can go wrong

A public name is imported when it is first used (PEP 562), so `import runtime` costs nothing and works on any platform.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.api.azure_datastores import AzureBlobDatastore, AzureDataLakeGen2Datastore, AzureFileDatastore
    from runtime.api.consumption import DatasetConsumptionConfig
    from runtime.api.data_path import DataPath, DataPathComputeBinding, DataReference
    from runtime.api.data_type import DataType, PromoteHeadersBehavior
    from runtime.api.dataset import Dataset, FileDatasetFactory
    from runtime.api.datastore import Datastore
    from runtime.api.experiment import Experiment
    from runtime.api.file_dataset import FileDataset
    from runtime.api.keyvault import Keyvault
    from runtime.api.link_output import LinkFileOutputDatasetConfig
    from runtime.api.mount_context import MountContext
    from runtime.api.mount_options import MountOptions
    from runtime.api.output import OutputFileDatasetConfig
    from runtime.api.run import Run
    from runtime.api.script_run_config import ScriptRunConfig
    from runtime.api.tabular_dataset import TabularDataset
    from runtime.api.tabular_output import OutputTabularDatasetConfig
    from runtime.api.workspace import Workspace
    from runtime.errors import UserErrorException

__all__ = [
    "AzureBlobDatastore",
    "AzureDataLakeGen2Datastore",
    "AzureFileDatastore",
    "DataPath",
    "DataPathComputeBinding",
    "DataReference",
    "DataType",
    "Dataset",
    "DatasetConsumptionConfig",
    "Datastore",
    "Experiment",
    "FileDataset",
    "FileDatasetFactory",
    "Keyvault",
    "LinkFileOutputDatasetConfig",
    "MountContext",
    "MountOptions",
    "OutputFileDatasetConfig",
    "OutputTabularDatasetConfig",
    "PromoteHeadersBehavior",
    "Run",
    "ScriptRunConfig",
    "TabularDataset",
    "UserErrorException",
    "Workspace",
]

_HOMES = {
    "AzureBlobDatastore": "runtime.api.azure_datastores",
    "AzureDataLakeGen2Datastore": "runtime.api.azure_datastores",
    "AzureFileDatastore": "runtime.api.azure_datastores",
    "DataPath": "runtime.api.data_path",
    "DataType": "runtime.api.data_type",
    "DataReference": "runtime.api.data_path",
    "DataPathComputeBinding": "runtime.api.data_path",
    "Dataset": "runtime.api.dataset",
    "DatasetConsumptionConfig": "runtime.api.consumption",
    "Datastore": "runtime.api.datastore",
    "Experiment": "runtime.api.experiment",
    "FileDataset": "runtime.api.file_dataset",
    "FileDatasetFactory": "runtime.api.dataset",
    "Keyvault": "runtime.api.keyvault",
    "MountContext": "runtime.api.mount_context",
    "MountOptions": "runtime.api.mount_options",
    "OutputFileDatasetConfig": "runtime.api.output",
    "LinkFileOutputDatasetConfig": "runtime.api.link_output",
    "OutputTabularDatasetConfig": "runtime.api.tabular_output",
    "PromoteHeadersBehavior": "runtime.api.data_type",
    "Run": "runtime.api.run",
    "ScriptRunConfig": "runtime.api.script_run_config",
    "TabularDataset": "runtime.api.tabular_dataset",
    "UserErrorException": "runtime.errors",
    "Workspace": "runtime.api.workspace",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
