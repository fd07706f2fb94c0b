"""The typed datastores of v1, with its attributes: blob container, file share, Data Lake, and the folder of this machine.

`Datastore(workspace, name)` returns one of these. `account_key`, `sas_token` and `client_secret` are looked up each time
they are asked for, because v1 scripts build clients of their own from them; no repr shows them, and nothing keeps them.
"""

import json
from typing import TYPE_CHECKING, Any, ClassVar

from runtime import datastores
from runtime.api.datastore import Datastore
from runtime.datastores.addresses import endpoint_of

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

    from mountd.stores.credentials import Credential


class LocalFolderDatastore(Datastore):
    """A folder of this machine (not in v1)."""

    datastore_type: ClassVar[str] = "LocalFolder"


class WebDatastore(Datastore):
    """Files of a web server (not in v1)."""

    datastore_type: ClassVar[str] = "Https"


class _AzureDatastore(Datastore):
    """What lies in a storage account."""

    @property
    def protocol(self) -> str:
        """'https', or 'http' for an emulator."""
        return endpoint_of(self._source.endpoint, self.account_name)[0]

    @property
    def endpoint(self) -> str:
        """What follows the service's name in the host, or the host of an emulator."""
        return endpoint_of(self._source.endpoint, self.account_name)[1]

    @property
    def credential_type(self) -> str:
        """'AccountKey', 'Sas', 'ServicePrincipal', or 'None' (nothing of its own)."""
        kinds = {"key": "AccountKey", "sas": "Sas", "service_principal": "ServicePrincipal"}
        found = self._resolved()
        return kinds.get(found.kind, "None") if found is not None else "None"

    @property
    def account_key(self) -> str | None:
        """The account's key, if that is its credential."""
        return self._secret("key")

    @property
    def sas_token(self) -> str | None:
        """The SAS token, if that is its credential."""
        return self._secret("sas")

    def _secret(self, kind: str) -> str | None:
        found = self._resolved()
        return found.secret if found is not None and found.kind == kind else None

    def _resolved(self) -> "Credential | None":
        from mountd.stores.credentials import resolve

        found = datastores.get(self.workspace.folder, self.name).credential
        return resolve(found, self.account_name) if found is not None else None

    def _client_arguments(self) -> dict[str, Any]:
        from mountd.stores.azure_sdk import sdk_credential

        found = self._resolved()
        credential = sdk_credential(found, self.account_name) if found is not None else None
        return {"account_url": self._source.endpoint, "credential": credential}


class AzureBlobDatastore(_AzureDatastore):
    """A blob container."""

    datastore_type: ClassVar[str] = "AzureBlob"

    @property
    def blob_service(self) -> "BlobServiceClient":
        """Microsoft's client for the account, with this datastore's credential."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(**self._client_arguments())


class AzureFileDatastore(_AzureDatastore):
    """A file share."""

    datastore_type: ClassVar[str] = "AzureFile"


class AzureDataLakeGen2Datastore(_AzureDatastore):
    """A file system of a storage account with a hierarchical namespace."""

    datastore_type: ClassVar[str] = "AzureDataLakeGen2"

    @property
    def tenant_id(self) -> str | None:
        """The tenant of the service principal."""
        return self._principal("tenant_id")

    @property
    def client_id(self) -> str | None:
        """The service principal's own id."""
        return self._principal("client_id")

    @property
    def client_secret(self) -> str | None:
        """The service principal's secret."""
        return self._principal("client_secret")

    @property
    def resource_url(self) -> str:
        """What tokens are asked for."""
        return self._principal("resource_url") or "https://storage.azure.com/"

    @property
    def authority_url(self) -> str:
        """Who is asked for tokens."""
        return self._principal("authority_url") or "https://login.microsoftonline.com"

    def _principal(self, name: str) -> str | None:
        secret = self._secret("service_principal")
        return json.loads(secret).get(name) if secret else None


CLASSES: dict[str, type[Datastore]] = {
    "file": LocalFolderDatastore,
    "https": WebDatastore,
    "blob": AzureBlobDatastore,
    "share": AzureFileDatastore,
    "datalake": AzureDataLakeGen2Datastore,
}
