"""`azureml.data.abstract_datastore`: v1's root of datastores, of which Moorage has one class."""

from runtime import Datastore as AbstractDatastore

__all__ = ["AbstractDatastore"]
