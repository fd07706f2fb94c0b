"""`azureml.data.azure_storage_datastore`: v1's module of blob and file datastores."""

from azureml._moorage import reexport

__getattr__, __dir__ = reexport(__name__, ("AzureBlobDatastore", "AzureFileDatastore"))
