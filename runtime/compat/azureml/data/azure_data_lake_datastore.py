"""`azureml.data.azure_data_lake_datastore`: v1's module of Data Lake datastores."""

from azureml import _absent
from azureml._moorage import reexport

_NOT_HERE = {
    "AzureDataLakeDatastore": _absent.SERVICE,
}
__getattr__, __dir__ = reexport(__name__, ("AzureDataLakeGen2Datastore",), _NOT_HERE)
