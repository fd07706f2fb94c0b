"""The parts of v1 that are not here: each says so, and what to do instead, when it is imported.

A finder at the end of `sys.meta_path` is asked for a module below `azureml` only when the tree has no file for it. It
raises rather than finds: `import azureml.x` fails with a reason and not with a bare "No module named".
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

AUTOML = "automated ML is a cloud service; train with scikit-learn or LightGBM in a ScriptRunConfig"
HYPERDRIVE = "a search over settings is a loop here: submit one ScriptRunConfig for each, and compare their metrics"
ESTIMATOR = "estimators ended with v1.20; give the script to a ScriptRunConfig"
SERVING = "a model is not served from here; load its file in a server of your own"
SERVICE = "it talks to the cloud workspace, and here is none"
PUBLISHING = "there is no service to publish to; run the script that submits the pipeline, by cron for a schedule"
CLOUD_STEP = "a pipeline runs on this machine; use a PythonScriptStep or a CommandStep"
PORT = "use PipelineData or OutputFileDatasetConfig"
OPEN_DATASETS = (
    "fetch the files once and name them by Dataset.File.from_files, or map their URL to a copy with MOORAGE_URL_MAP"
)
EXPLAINING = "explanations come from interpret-community or shap, which need no workspace"
SPARK = "there is no Spark pool behind a workspace folder; start pyspark in a ScriptRunConfig"
SQL = "references to databases are not supported; use Dataset.Tabular.from_sql_query((datastore, query))"

_BRANCHES = {
    "azureml._restclient": SERVICE,
    "azureml._run_impl": SERVICE,
    "azureml.accel": SERVING,
    "azureml.automl": AUTOML,
    "azureml.contrib": "contributed packages are not supported",
    "azureml.contrib.automl": AUTOML,
    "azureml.contrib.notebook": "run a notebook with `moorage v1 NOTEBOOK.ipynb`, as a CommandStep in a pipeline",
    "azureml.core.image": SERVING,
    "azureml.core.webservice": SERVING,
    "azureml.data.sql_data_reference": SQL,
    "azureml.explain": EXPLAINING,
    "azureml.interpret": EXPLAINING,
    "azureml.mlflow": "log with Run.log, or to an MLflow server of your own",
    "azureml.opendatasets": OPEN_DATASETS,
    "azureml.pipeline.core.module": CLOUD_STEP,
    "azureml.pipeline.core.pipeline_draft": PUBLISHING,
    "azureml.pipeline.core.pipeline_endpoint": PUBLISHING,
    "azureml.pipeline.core.schedule": PUBLISHING,
    "azureml.responsibleai": EXPLAINING,
    "azureml.tensorboard": "point tensorboard at the logs that the run wrote",
    "azureml.train.automl": AUTOML,
    "azureml.train.dnn": ESTIMATOR,
    "azureml.train.estimator": ESTIMATOR,
    "azureml.train.hyperdrive": HYPERDRIVE,
    "azureml.train.sklearn": ESTIMATOR,
}
_ELSE = "see docs/azureml-v1.md for what is"


def reason(module: str) -> str:
    """Why there is no such module: what its nearest branch says."""
    path = module
    while path and path not in _BRANCHES:
        path = path.rpartition(".")[0]
    return _BRANCHES.get(path, _ELSE)


class _Refusing(MetaPathFinder):
    """Asked last, so whatever of azureml gets here has no file in the tree."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 # the protocol's
        target: ModuleType | None = None,  # noqa: ARG002 # as above
    ) -> ModuleSpec | None:
        """Raise for a module below azureml; leave every other to whoever comes next."""
        if not fullname.startswith("azureml."):
            return None
        raise ModuleNotFoundError(f"{fullname} is not in Moorage: {reason(fullname)}", name=fullname)


def install() -> None:
    """Ask us last, once."""
    if not any(isinstance(finder, _Refusing) for finder in sys.meta_path):
        sys.meta_path.append(_Refusing())
