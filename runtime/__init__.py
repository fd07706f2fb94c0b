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
    from runtime.api.compute import AmlCompute, ComputeInstance, ComputeTarget
    from runtime.api.conda_dependencies import CondaDependencies
    from runtime.api.consumption import DatasetConsumptionConfig
    from runtime.api.data_path import DataPath, DataPathComputeBinding, DataReference
    from runtime.api.data_type import DataType, PromoteHeadersBehavior
    from runtime.api.dataset import Dataset, FileDatasetFactory
    from runtime.api.datastore import Datastore
    from runtime.api.distributed import MpiConfiguration, PyTorchConfiguration, TensorflowConfiguration
    from runtime.api.environment import Environment
    from runtime.api.experiment import Experiment
    from runtime.api.file_dataset import FileDataset
    from runtime.api.keyvault import Keyvault
    from runtime.api.labelled_dataset import (
        FileHandlingOption,
        LabeledDataset,
        LabeledDatasetFactory,
        LabeledDatasetTask,
    )
    from runtime.api.link_output import LinkFileOutputDatasetConfig, LinkTabularOutputDatasetConfig
    from runtime.api.model import Model
    from runtime.api.mount_context import MountContext
    from runtime.api.mount_options import MountOptions
    from runtime.api.output import OutputFileDatasetConfig
    from runtime.api.pipeline import Pipeline, StepSequence
    from runtime.api.pipeline_data import InputPortBinding, PipelineData, PipelineOutputFileDataset, PipelineParameter
    from runtime.api.pipeline_run import PipelineRun, PortDataReference, StepRun, StepRunOutput
    from runtime.api.pipeline_step import CommandStep, PythonScriptStep
    from runtime.api.run import Run
    from runtime.api.run_configuration import DockerConfiguration, RunConfiguration
    from runtime.api.script_run_config import ScriptRunConfig
    from runtime.api.tabular_dataset import TabularDataset
    from runtime.api.tabular_output import OutputTabularDatasetConfig
    from runtime.api.widgets import RunDetails
    from runtime.api.workspace import Workspace
    from runtime.errors import ComputeTargetException, RunConfigurationException, UserErrorException

__all__ = [
    "AmlCompute",
    "AzureBlobDatastore",
    "AzureDataLakeGen2Datastore",
    "AzureFileDatastore",
    "CommandStep",
    "ComputeInstance",
    "ComputeTarget",
    "ComputeTargetException",
    "CondaDependencies",
    "DataPath",
    "DataPathComputeBinding",
    "DataReference",
    "DataType",
    "Dataset",
    "DatasetConsumptionConfig",
    "Datastore",
    "DockerConfiguration",
    "Environment",
    "Experiment",
    "FileDataset",
    "FileDatasetFactory",
    "FileHandlingOption",
    "InputPortBinding",
    "Keyvault",
    "LabeledDataset",
    "LabeledDatasetFactory",
    "LabeledDatasetTask",
    "LinkFileOutputDatasetConfig",
    "LinkTabularOutputDatasetConfig",
    "Model",
    "MountContext",
    "MountOptions",
    "MpiConfiguration",
    "OutputFileDatasetConfig",
    "OutputTabularDatasetConfig",
    "Pipeline",
    "PipelineData",
    "PipelineOutputFileDataset",
    "PipelineParameter",
    "PipelineRun",
    "PortDataReference",
    "PromoteHeadersBehavior",
    "PyTorchConfiguration",
    "PythonScriptStep",
    "Run",
    "RunConfiguration",
    "RunConfigurationException",
    "RunDetails",
    "ScriptRunConfig",
    "StepRun",
    "StepRunOutput",
    "StepSequence",
    "TabularDataset",
    "TensorflowConfiguration",
    "UserErrorException",
    "Workspace",
]

_HOMES = {
    "AmlCompute": "runtime.api.compute",
    "AzureBlobDatastore": "runtime.api.azure_datastores",
    "AzureDataLakeGen2Datastore": "runtime.api.azure_datastores",
    "AzureFileDatastore": "runtime.api.azure_datastores",
    "CommandStep": "runtime.api.pipeline_step",
    "ComputeInstance": "runtime.api.compute",
    "ComputeTarget": "runtime.api.compute",
    "ComputeTargetException": "runtime.errors",
    "CondaDependencies": "runtime.api.conda_dependencies",
    "DataPath": "runtime.api.data_path",
    "DataPathComputeBinding": "runtime.api.data_path",
    "DataReference": "runtime.api.data_path",
    "DataType": "runtime.api.data_type",
    "Dataset": "runtime.api.dataset",
    "DatasetConsumptionConfig": "runtime.api.consumption",
    "Datastore": "runtime.api.datastore",
    "DockerConfiguration": "runtime.api.run_configuration",
    "Environment": "runtime.api.environment",
    "Experiment": "runtime.api.experiment",
    "FileDataset": "runtime.api.file_dataset",
    "FileDatasetFactory": "runtime.api.dataset",
    "FileHandlingOption": "runtime.api.labelled_dataset",
    "InputPortBinding": "runtime.api.pipeline_data",
    "Keyvault": "runtime.api.keyvault",
    "LabeledDataset": "runtime.api.labelled_dataset",
    "LabeledDatasetFactory": "runtime.api.labelled_dataset",
    "LabeledDatasetTask": "runtime.api.labelled_dataset",
    "LinkFileOutputDatasetConfig": "runtime.api.link_output",
    "LinkTabularOutputDatasetConfig": "runtime.api.link_output",
    "Model": "runtime.api.model",
    "MountContext": "runtime.api.mount_context",
    "MountOptions": "runtime.api.mount_options",
    "MpiConfiguration": "runtime.api.distributed",
    "OutputFileDatasetConfig": "runtime.api.output",
    "OutputTabularDatasetConfig": "runtime.api.tabular_output",
    "Pipeline": "runtime.api.pipeline",
    "PipelineData": "runtime.api.pipeline_data",
    "PipelineOutputFileDataset": "runtime.api.pipeline_data",
    "PipelineParameter": "runtime.api.pipeline_data",
    "PipelineRun": "runtime.api.pipeline_run",
    "PortDataReference": "runtime.api.pipeline_run",
    "PromoteHeadersBehavior": "runtime.api.data_type",
    "PyTorchConfiguration": "runtime.api.distributed",
    "PythonScriptStep": "runtime.api.pipeline_step",
    "Run": "runtime.api.run",
    "RunConfiguration": "runtime.api.run_configuration",
    "RunConfigurationException": "runtime.errors",
    "RunDetails": "runtime.api.widgets",
    "ScriptRunConfig": "runtime.api.script_run_config",
    "StepRun": "runtime.api.pipeline_run",
    "StepRunOutput": "runtime.api.pipeline_run",
    "StepSequence": "runtime.api.pipeline",
    "TabularDataset": "runtime.api.tabular_dataset",
    "TensorflowConfiguration": "runtime.api.distributed",
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
