"""Datastore: v1's face of a named place, and the registrations that make one.

`Datastore(workspace, name)` looks a name up, as in v1. The `register_*` methods keep v1's signatures; unlike v1, `protocol`
and `endpoint` are honoured, so an emulator or a private endpoint can be registered. No attribute and no repr shows a secret.
"""

import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mountd.errors import DestinationExistsError
from runtime import datastores
from runtime.api.data_path import DataPath
from runtime.datastores import DatastoreRecord
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    from runtime.api.workspace import Workspace

_PROBE_DEADLINE_S = 15
_TYPES = {
    "blob": "AzureBlob",
    "datalake": "AzureDataLakeGen2",
    "share": "AzureFile",
    "file": "LocalFolder",
    "https": "Https",
    "memory": "Memory",
}


class Datastore:
    """A named place of a workspace; name None is the default one.

    Raises:
        UnknownNameError: there is none of that name.
    """

    def __init__(self, workspace: "Workspace", name: str | None = None) -> None:
        from mountd.stores.registry import parse_source

        records = datastores.load_all(workspace.folder)
        wanted = name or datastores.default_name(workspace.folder)
        record = records.get(wanted.lower()) or datastores.get(workspace.folder, wanted)
        self.workspace = workspace
        self.name, self.url = record.name, record.url
        self._source = parse_source(record.url)

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
    ) -> "Datastore":
        """Register a blob container; a SAS wins over a key, and without either the environment may hold a credential.

        Raises:
            UserErrorException: the name is taken and `overwrite` is False.
            MountdError: the container cannot be listed; not asked with `skip_validation`.
        """
        from mountd.stores.credentials import Credential

        if create_if_not_exists:
            raise UserErrorException("create_if_not_exists comes with a later version; make the container first")
        credential = None
        if sas_token:
            credential = Credential("sas", sas_token.removeprefix("?"))
        elif account_key:
            credential = Credential("key", account_key)
        address = _blob_address(account_name, protocol or "https", endpoint or "core.windows.net")
        record = DatastoreRecord(datastore_name, datastores.base_url(f"{address}/{container_name}/"), credential)
        if not skip_validation:
            _probe(record)
        datastores.add(workspace.folder, record, overwrite)
        return cls(workspace, datastore_name)

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
        record = DatastoreRecord(datastore_name, datastores.base_url(os.fspath(folder.absolute())))
        datastores.add(workspace.folder, record, overwrite)
        return cls(workspace, datastore_name)

    @property
    def datastore_type(self) -> str:
        """'AzureBlob', 'AzureDataLakeGen2', 'AzureFile', 'LocalFolder' or 'Https'."""
        return _TYPES[self._source.kind]

    @property
    def account_name(self) -> str:
        """The storage account; '' where there is none."""
        return self._source.account

    @property
    def container_name(self) -> str:
        """The container; '' where there is none."""
        return self._source.container

    @property
    def credential_type(self) -> str:
        """'AccountKey', 'Sas', or 'None' (nothing of its own)."""
        credential = datastores.get(self.workspace.folder, self.name).credential
        kinds = {"key": "AccountKey", "connection_string": "AccountKey", "sas": "Sas"}
        return kinds.get(credential.kind, "None") if credential else "None"

    def path(self, path: str | None = None) -> DataPath:
        """A path below this datastore, for `Dataset.File.from_files`."""
        return DataPath(self, path)

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
    ) -> DataPath:
        """Store every file below the folder `src_dir` under `target_path`, verified; all of them or none.

        Raises:
            UserErrorException: no such folder, or a name is there already and `overwrite` is False.
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
    ) -> DataPath:
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
        from mountd.download import download
        from runtime.datasets.file import FileDefinition, freeze_definition
        from runtime.datasets.paths import below_datastore

        wanted = below_datastore(self.name, prefix or "")
        frozen = freeze_definition(self.workspace.folder, FileDefinition((wanted,)))
        below = PurePosixPath(wanted.path)
        folder = Path(target_path) / (below.parent if frozen.single_file else below)
        try:
            return download(frozen.manifest, folder, credentials=frozen.credentials, overwrite=overwrite).files
        except DestinationExistsError as error:
            raise UserErrorException(str(error)) from None

    def __repr__(self) -> str:
        return f"Datastore(name={self.name!r}, datastore_type={self.datastore_type!r}, url={self.url!r})"

    def _upload(self, files: Sequence[tuple[Path, str]], target_path: str | None, overwrite: bool) -> DataPath:  # noqa: FBT001 # private
        from mountd.stores.registry import open_lister, open_writer
        from mountd.uploading.uploader import upload

        record = datastores.get(self.workspace.folder, self.name)
        parts = [part for part in (target_path or "").split("/") if part not in {"", ".", ".."}]  # v1 drops them too
        prefix = "".join(f"{part}/" for part in parts)
        writer = open_writer(record.url, record.credential)
        lister = open_lister(record.url, record.credential)
        try:
            upload(files, writer, lister, prefix=prefix, overwrite=overwrite)
        except DestinationExistsError as error:
            raise UserErrorException(f"{error} (overwrite=True)") from None
        return DataPath(self, prefix)


def _blob_address(account: str, protocol: str, endpoint: str) -> str:
    """The URL above the container; an endpoint that is an address, localhost or has a port is an emulator's."""
    host = endpoint.strip("/")
    return f"{protocol}://{host}/{account}" if _is_path_style(host) else f"{protocol}://{account}.blob.{host}"


def _is_path_style(host: str) -> bool:
    name, colon, _ = host.rpartition(":")
    try:
        ipaddress.ip_address((name if colon else host).strip("[]"))
    except ValueError:
        return bool(colon) or host == "localhost"
    return True


def _probe(record: DatastoreRecord) -> None:
    from mountd.stores.registry import open_lister

    next(iter(open_lister(record.url, record.credential, deadline_s=_PROBE_DEADLINE_S).list()), None)
