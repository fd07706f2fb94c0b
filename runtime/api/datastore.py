"""Datastore: v1's face of a named place, and the registrations that make one.

`Datastore(workspace, name)` looks a name up, as in v1. The `register_*` methods keep v1's signatures; unlike v1, `protocol`
and `endpoint` are honoured, so an emulator or a private endpoint can be registered. What it returns is of the class of its
type (`azure_datastores`). No repr shows a secret.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Self, cast

from mountd.errors import DestinationExistsError
from runtime import datastores
from runtime.api.data_path import DataReference
from runtime.api.sql_datastores import SqlRegistrations, find
from runtime.datastores import DatastoreRecord
from runtime.datastores.addresses import azure_url
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    from mountd.stores.credentials import Credential
    from mountd.stores.source import Source
    from runtime.api.azure_datastores import AzureBlobDatastore, AzureDataLakeGen2Datastore, AzureFileDatastore
    from runtime.api.workspace import Workspace


class Datastore(SqlRegistrations):
    """A named place of a workspace; name None is the default one.

    Raises:
        UnknownNameError: there is none of that name.
    """

    workspace: "Workspace"
    name: str
    url: str
    datastore_type: ClassVar[str] = "Memory"
    _source: "Source"

    def __new__(cls, workspace: "Workspace", name: str | None = None) -> Self:
        """The datastore as the class of its type."""
        from mountd.stores.registry import parse_source
        from runtime.api.azure_datastores import CLASSES

        records = datastores.load_all(workspace.folder)
        wanted = name or datastores.default_name(workspace.folder)
        if wanted.lower() not in records and (database := find(workspace, wanted)) is not None:
            return cast("Self", database)  # of a class of its own, as it has no files
        record = records.get(wanted.lower()) or datastores.get(workspace.folder, wanted)
        source = parse_source(record.url)
        kind = CLASSES.get(source.kind, cls)
        self = super().__new__(kind if issubclass(kind, cls) else cls)
        self.workspace, self.name, self.url, self._source = workspace, record.name, record.url, source
        return self

    @classmethod
    def get(cls, workspace: "Workspace", datastore_name: str) -> "Datastore":
        """The datastore of that name."""
        return cls(workspace, datastore_name)

    @classmethod
    def get_default(cls, workspace: "Workspace") -> "Datastore":
        """The datastore that is used where none is named."""
        return cls(workspace)

    @classmethod
    def register_azure_blob_container(  # noqa: PLR0917 # v1's signature
        cls,
        workspace: "Workspace",
        datastore_name: str,
        container_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        create_if_not_exists: bool = False,  # noqa: FBT001, FBT002 # as above
        skip_validation: bool = False,  # noqa: FBT001, FBT002 # as above
        blob_cache_timeout: int | None = None,  # noqa: ARG003 # v1's; frozen files need none
        grant_workspace_access: bool = False,  # noqa: FBT001, FBT002 # as above
        subscription_id: str | None = None,
        resource_group: str | None = None,
    ) -> "AzureBlobDatastore":
        """Register a blob container; a SAS wins over a key, and without either the environment may hold a credential.

        Raises:
            UserErrorException: the name is taken and `overwrite` is False.
            MountdError: the container cannot be listed; not asked with `skip_validation`.
        """
        _check_access(grant_workspace_access, subscription_id, resource_group)
        url = azure_url("blob", account_name, container_name, protocol, endpoint)
        record = DatastoreRecord(datastore_name, url, _account_credential(sas_token, account_key))
        made = cls._register(
            workspace, record, overwrite=overwrite, create=create_if_not_exists, validate=not skip_validation
        )
        return cast("AzureBlobDatastore", made)

    @classmethod
    def register_azure_file_share(  # noqa: PLR0917 # v1's signature
        cls,
        workspace: "Workspace",
        datastore_name: str,
        file_share_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        create_if_not_exists: bool = False,  # noqa: FBT001, FBT002 # as above
        skip_validation: bool = False,  # noqa: FBT001, FBT002 # as above
    ) -> "AzureFileDatastore":
        """Register a file share; credentials and errors as `register_azure_blob_container`."""
        url = azure_url("file", account_name, file_share_name, protocol, endpoint)
        record = DatastoreRecord(datastore_name, url, _account_credential(sas_token, account_key))
        made = cls._register(
            workspace, record, overwrite=overwrite, create=create_if_not_exists, validate=not skip_validation
        )
        return cast("AzureFileDatastore", made)

    @classmethod
    def register_azure_data_lake_gen2(  # noqa: PLR0917 # v1's signature
        cls,
        workspace: "Workspace",
        datastore_name: str,
        filesystem: str,
        account_name: str,
        tenant_id: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        resource_url: str | None = None,
        authority_url: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        subscription_id: str | None = None,
        resource_group: str | None = None,
        grant_workspace_access: bool = False,  # noqa: FBT001, FBT002 # as above
    ) -> "AzureDataLakeGen2Datastore":
        """Register a file system of a Data Lake, for a service principal or whoever the environment says; nobody is asked.

        Raises:
            UserErrorException: the name is taken and `overwrite` is False, or the principal is given by half.
        """
        _check_access(grant_workspace_access, subscription_id, resource_group)
        told = {"tenant_id": tenant_id, "client_id": client_id, "client_secret": client_secret}
        given = {name: value for name, value in told.items() if value}
        credential = None
        if given:
            if lacking := sorted(told.keys() - given.keys()):
                raise UserErrorException(f"a service principal also needs {', '.join(lacking)}")
            from mountd.stores.credentials.origins import principal

            places = {"resource_url": resource_url or "", "authority_url": authority_url or ""}
            credential = principal(given | places)
        url = azure_url("dfs", account_name, filesystem, protocol, endpoint)
        record = DatastoreRecord(datastore_name, url, credential)
        made = cls._register(workspace, record, overwrite=overwrite, create=False, validate=False)
        return cast("AzureDataLakeGen2Datastore", made)

    @classmethod
    def register_local_folder(
        cls,
        workspace: "Workspace",
        datastore_name: str,
        path: str | os.PathLike[str],
        overwrite: bool = False,  # noqa: FBT001, FBT002 # as its sisters
    ) -> "Datastore":
        """Register a folder of this machine (not in v1)."""
        folder = Path(path)
        if not folder.is_dir():
            raise UserErrorException(f"{folder}: no such folder; make it first")
        record = DatastoreRecord(datastore_name, os.fspath(folder.absolute()))
        return cls._register(workspace, record, overwrite=overwrite, create=False, validate=True)

    @classmethod
    def register_web_folder(
        cls,
        workspace: "Workspace",
        datastore_name: str,
        url: str,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # as its sisters
    ) -> "Datastore":
        """Register a web server's folder, whose files are named one by one (not in v1); nobody is asked."""
        record = DatastoreRecord(datastore_name, url)
        return cls._register(workspace, record, overwrite=overwrite, create=False, validate=False)

    @classmethod
    def _register(
        cls, workspace: "Workspace", record: DatastoreRecord, *, overwrite: bool, create: bool, validate: bool
    ) -> "Datastore":
        """Keep the record; all that can fail is tried first, so that nothing is half registered."""
        from runtime.datastores import checking

        datastores.check_name(workspace.folder, record.name, overwrite=overwrite)
        if find(workspace, record.name) is not None:
            raise UserErrorException(
                f"datastore '{record.name}' is a database; unregister it first, or take another name"
            )
        asked = dataclasses.replace(record, url=datastores.base_url(record.url))
        asked = datastores.with_environment(asked)
        if create:
            from mountd.stores.registry import create_place

            create_place(asked.url, asked.credential, deadline_s=checking.DEADLINE_S)
        if validate:
            checking.probe(asked)
        datastores.add(workspace.folder, record, overwrite)
        return cls(workspace, record.name)

    @property
    def account_name(self) -> str:
        """The storage account; '' where there is none."""
        return self._source.account

    @property
    def container_name(self) -> str:
        """The container, file share or file system; '' where there is none."""
        return self._source.container

    @property
    def credential_type(self) -> str:
        """'None': it needs none."""
        return "None"

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> DataReference:
        """A path below this datastore: for `Dataset.File.from_files`, or as an input of a job."""
        return DataReference(self, data_reference_name, path)

    def set_as_default(self) -> None:
        """Use this datastore where none is named."""
        datastores.set_default(self.workspace.folder, self.name)

    def unregister(self) -> None:
        """Forget the name; what lies there stays."""
        datastores.remove(self.workspace.folder, self.name)

    def upload(
        self,
        src_dir: str | os.PathLike[str],
        target_path: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        show_progress: bool = True,  # noqa: ARG002, FBT001, FBT002 # v1's; nothing is printed here
    ) -> DataReference:
        """Store every file below the folder `src_dir` under `target_path`, verified; all of them or none.

        Raises:
            UserErrorException: no such folder, or a name is there with other bytes and `overwrite` is False.
        """
        root = Path(src_dir)
        if not root.is_dir():
            raise UserErrorException(f"{root}: no such folder to upload")
        files = sorted(each for each in root.rglob("*") if each.is_file())
        return self._upload([(each, each.relative_to(root).as_posix()) for each in files], target_path, overwrite)

    def upload_files(
        self,
        files: Sequence[str | os.PathLike[str]],
        relative_root: str | os.PathLike[str] | None = None,
        target_path: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        show_progress: bool = True,  # noqa: ARG002, FBT001, FBT002 # as above
    ) -> DataReference:
        """Store `files` under `target_path` by their paths below `relative_root` (None: their common folder)."""
        paths = [Path(os.path.normpath(Path(each).absolute())) for each in files]
        if not paths:
            raise UserErrorException("upload_files was given no file")
        common = relative_root or os.path.commonpath([path.parent for path in paths])
        root = Path(os.path.normpath(Path(common).absolute()))
        if strays := [path for path in paths if not path.is_relative_to(root)]:
            raise UserErrorException(f"{strays[0]} does not lie below relative_root {root}")
        return self._upload([(path, path.relative_to(root).as_posix()) for path in paths], target_path, overwrite)

    def download(
        self,
        target_path: str | os.PathLike[str],
        prefix: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        show_progress: bool = True,  # noqa: ARG002, FBT001, FBT002 # as above
    ) -> int:
        """Fetch the folder or file `prefix` (None: everything) below `target_path`, by full paths; return how many files.

        Raises:
            UserErrorException: a different file is there already and `overwrite` is False.
        """
        from runtime.datasets.file import FileDefinition, freeze_definition
        from runtime.datasets.paths import below_datastore
        from runtime.datastores import reaching

        wanted = below_datastore(self.name, prefix or "")
        frozen = freeze_definition(self.workspace.folder, FileDefinition((wanted,)))
        below = PurePosixPath(wanted.path)
        folder = Path(target_path) / (below.parent if frozen.single_file else below)
        try:
            return reaching.download(self.workspace.folder, frozen, folder, overwrite=overwrite)
        except DestinationExistsError as error:
            raise UserErrorException(str(error)) from None

    def __repr__(self) -> str:
        return f"Datastore(name={self.name!r}, datastore_type={self.datastore_type!r}, url={self.url!r})"

    def _upload(self, files: Sequence[tuple[Path, str]], target_path: str | None, overwrite: bool) -> DataReference:  # noqa: FBT001 # private
        from runtime.datasets.granting import what_opens
        from runtime.datastores import reaching

        record = reaching.get(self.workspace.folder, self.name)
        parts = [part for part in (target_path or "").split("/") if part not in {"", ".", ".."}]  # v1 drops them too
        prefix = "".join(f"{part}/" for part in parts)
        opened = dataclasses.replace(record, credential=what_opens(record.url, record.credential))
        try:
            reaching.upload(self.workspace.folder, opened, files, prefix, overwrite=overwrite)
        except DestinationExistsError as error:
            raise UserErrorException(f"{error} (overwrite=True)") from None
        return DataReference(self, None, prefix)


def _account_credential(sas_token: str | None, account_key: str | None) -> "Credential | None":
    from mountd.stores.credentials import Credential

    if sas_token:
        return Credential("sas", sas_token.removeprefix("?"))
    return Credential("key", account_key) if account_key else None


def _check_access(grant: bool, subscription_id: str | None, resource_group: str | None) -> None:  # noqa: FBT001 # v1's
    """There is no workspace identity to grant anything to; v1's rule is kept, so that scripts hear of their mistakes."""
    if grant and not (subscription_id and resource_group):
        raise UserErrorException("grant_workspace_access needs subscription_id and resource_group")
