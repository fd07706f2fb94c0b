"""The import names of v1: each is Moorage's, or an ImportError that says why not and what to do."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runtime
from runtime.job.v1 import TREE, with_v1

# What public v1 code imports, as module: names. Facts about the SDK; every one of them is tried.
_OURS = {
    "azureml.contrib.dataset": "FileHandlingOption LabeledDataset LabeledDatasetTask",
    "azureml.contrib.dataset.labeled_dataset": "LabeledDataset",
    "azureml.contrib.dataset.labeled_dataset_factory": "LabeledDatasetFactory",
    "azureml.core": (
        "Workspace Dataset Datastore Experiment Run ScriptRunConfig "
        "ComputeTarget Environment Model RunConfiguration Keyvault"
    ),
    "azureml.core.authentication": (
        "InteractiveLoginAuthentication ServicePrincipalAuthentication MsiAuthentication AzureCliAuthentication"
    ),
    "azureml.core.compute": "AmlCompute ComputeInstance ComputeTarget",
    "azureml.core.compute_target": "ComputeTarget ComputeTargetException",
    "azureml.core.conda_dependencies": "CondaDependencies",
    "azureml.core.dataset": "Dataset",
    "azureml.core.datastore": "Datastore",
    "azureml.core.environment": "CondaDependencies DockerSection Environment PythonSection",
    "azureml.core.experiment": "Experiment",
    "azureml.core.model": "Model",
    "azureml.core.run": "Run _OfflineRun",
    "azureml.core.runconfig": (
        "CondaDependencies DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE Data DataLocation DataPath "
        "DataReferenceConfiguration Dataset "
        "DockerConfiguration MpiConfiguration OutputData OutputOptions PyTorchConfiguration RunConfiguration "
        "TensorflowConfiguration Uri"
    ),
    "azureml.core.script_run_config": "ScriptRunConfig",
    "azureml.core.workspace": "Workspace",
    "azureml.data": "FileDataset LinkFileOutputDatasetConfig LinkTabularOutputDatasetConfig "
    "OutputFileDatasetConfig TabularDataset",
    "azureml.data.constants": "MOUNT_MODE WORKSPACE_BLOB_DATASTORE",
    "azureml.data.abstract_dataset": "AbstractDataset",
    "azureml.data.abstract_datastore": "AbstractDatastore",
    "azureml.data.data_reference": "DataReference",
    "azureml.data.datapath": "DataPath DataPathComputeBinding",
    "azureml.data.dataset_factory": "FileDatasetFactory TabularDatasetFactory",
    "azureml.data.dataset_consumption_config": "DatasetConsumptionConfig",
    "azureml.data.dataset_error_handling": "DatasetExecutionError DatasetValidationError",
    "azureml.data.file_dataset": "FileDataset",
    "azureml.data.output_dataset_config": "OutputFileDatasetConfig",
    "azureml.dataprep.fuse.daemon": "MountContext",
    "azureml.dataprep.fuse.dprepfuse": "MountOptions",
    "azureml.exceptions": (
        "ActivityFailedException ComputeTargetException DatasetTimestampMissingError UserErrorException WebserviceException"
    ),
    "azureml.pipeline.core": "Pipeline PipelineData PipelineParameter PipelineRun StepRun StepSequence",
    "azureml.pipeline.core.graph": "PipelineParameter",
    "azureml.pipeline.core.run": "PipelineRun StepRun",
    "azureml.pipeline.steps": "CommandStep PythonScriptStep",
    "azureml.telemetry": "set_diagnostics_collection",
    "azureml.widgets": "RunDetails",
}
# Of outputs that are links this version has none.
_NOT_HERE = {
    "azureml._restclient.jasmine_client": "JasmineClient",
    "azureml.automl.core.featurization": "FeaturizationConfig",
    "azureml.automl.core.shared": "constants",
    "azureml.automl.runtime": "",
    "azureml.contrib.automl.pipeline.steps": "AutoMLPipelineBuilder",
    "azureml.contrib.notebook": "NotebookRunConfig",
    "azureml.core": "LinkedService SynapseWorkspaceLinkedServiceConfiguration Webservice",
    "azureml.core.compute": "AdlaCompute BatchCompute DatabricksCompute HDInsightCompute RemoteCompute SynapseCompute",
    "azureml.core.model": "InferenceConfig",
    "azureml.core.runconfig": "JarLibrary",
    "azureml.core.webservice": "AciWebservice",
    "azureml.data": "HDFSOutputDatasetConfig",
    "azureml.data.sql_data_reference": "SqlDataReference",
    "azureml.interpret.scoring.scoring_explainer": "LinearScoringExplainer",
    "azureml.opendatasets": "MNIST",
    "azureml.pipeline.core": "PipelineDraft PipelineEndpoint PublishedPipeline Schedule ScheduleRecurrence TrainingOutput",
    "azureml.pipeline.core.graph": "InputPortDef OutputPortDef",
    "azureml.pipeline.core.module": "Module",
    "azureml.pipeline.core.schedule": "Schedule",
    "azureml.pipeline.steps": (
        "AdlaStep AutoMLStep AzureBatchStep DataTransferStep DatabricksStep HyperDriveStep KustoStep ModuleStep "
        "ParallelRunConfig ParallelRunStep SynapseSparkStep"
    ),
    "azureml.tensorboard.export": "export_to_tensorboard",
    "azureml.train.automl.runtime._hts.hts_parameters": "HTSTrainParameters",
    "azureml.train.dnn": "TensorFlow",
    "azureml.train.estimator": "Estimator",
    "azureml.train.hyperdrive.parameter_expressions": "choice",
    "azureml.nobody.knows": "it",
}
_TRY = """
import ast, sys
said = {}
for module, names in ast.literal_eval(sys.stdin.read()).items():
    for name in names.split() or [""]:
        line = f"from {module} import {name}" if name else f"import {module}"
        try:
            exec(line)
        except ImportError as error:
            said[line] = str(error)
        else:
            said[line] = ""
print(said)
"""


def python(code: str, told: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
    environ = with_v1({**os.environ, "PYTHONPATH": str(Path(runtime.__file__).parents[1]), **variables})
    return subprocess.run(
        [sys.executable, "-c", code], input=told, env=environ, capture_output=True, text=True, check=False
    )


def tried(table: dict[str, str]) -> dict[str, str]:
    done = python(_TRY, repr(table))
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = ast.literal_eval(done.stdout)
    return said


def test_what_v1_code_imports_is_there_or_says_why_not() -> None:
    assert {line: error for line, error in tried(_OURS).items() if error} == {}
    not_here = tried(_NOT_HERE)
    assert [line for line, error in not_here.items() if " is not in Moorage: " not in error or len(error) < 50] == []


def test_every_module_of_the_tree_can_be_imported_and_says_what_it_is() -> None:
    modules = [
        ".".join(path.relative_to(TREE).with_suffix("").parts).removesuffix(".__init__") for path in TREE.rglob("*.py")
    ]
    assert len(modules) > 40
    done = python(f"import importlib\nfor name in {modules}: assert importlib.import_module(name).__doc__, name")
    assert done.returncode == 0, done.stderr


def test_the_names_are_moorages_own_classes_and_submodules_come_by_themselves() -> None:
    done = python(
        """
import azureml.core, azureml.exceptions, runtime, pickle
assert azureml.core.Run is runtime.Run is azureml.core.run.Run
assert azureml.core.runconfig.Dataset is not runtime.Dataset
assert azureml.core.VERSION == azureml.core.__version__ and azureml.core.VERSION.startswith("1.")
assert azureml.exceptions.UserErrorException is runtime.UserErrorException
assert issubclass(azureml.exceptions.WebserviceException, azureml.exceptions.AzureMLException)
assert not hasattr(azureml.core, "Wrkspace") and not hasattr(azureml.core, "sin")
assert isinstance(runtime.Run.get_context(), azureml.core.run._OfflineRun)
assert not isinstance(azureml, azureml.core.run._OfflineRun)
from azureml.core import *
assert Dataset is runtime.Dataset and "Workspace" in dir(azureml.core)
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_azureml_that_is_installed_is_named_once_for_all_processes(tmp_path: Path) -> None:
    (tmp_path / "azureml" / "core").mkdir(parents=True)
    code = """
import os, subprocess, sys, azureml.core
assert "compat" in azureml.core.__file__
if "child" not in os.environ:
    subprocess.run([sys.executable, "-c", "import azureml.core"], check=True)
"""
    both = os.pathsep.join([str(Path(runtime.__file__).parents[1]), str(tmp_path)])
    done = python(code, PYTHONPATH=both)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [f"moorage: azureml is Moorage's here, and not the one in {tmp_path}"]


def test_a_python_without_moorage_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import azureml.core"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(TREE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "has no Moorage, which stands in for azureml here; install moorage into it" in done.stderr


@pytest.mark.parametrize("before", ["", "/a", f"{TREE}{os.pathsep}/a"])
def test_the_tree_is_first_on_the_path_and_only_once(before: str) -> None:
    path = with_v1({"PYTHONPATH": before})["PYTHONPATH"].split(os.pathsep)
    assert path == [str(TREE), *(["/a"] if before else [])]
