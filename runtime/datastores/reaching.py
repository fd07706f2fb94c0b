"""The way to what lies in the workspace's datastores: this process's own, or the helper's in a job.

A job's command has no credential: the launcher keeps them from it, and sets MOORAGE_HELPER to the address of a helper that
has them. What the v1 classes do there with a datastore of the job's workspace (list, freeze, download, upload) goes through
that helper. Everywhere else the stores are asked by this process, with the credential that it found.

`open_files` reads frozen files without a mount: in a job through its helper, elsewhere through one of this process's own,
started when it is first wanted and shared with its forks.
"""

import atexit
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mountd.errors import MountdError
from runtime import datastores
from runtime.datastores import DatastoreRecord
from runtime.errors import UserErrorException
from runtime.workspace import VARIABLE, WorkspaceFolder

if TYPE_CHECKING:
    from mountd.client.helper import Grant, Helper, HelperFiles
    from mountd.client.helper_processes import HelperSeat, OwnHelper
    from mountd.freeze import FreezeSource
    from mountd.stores.base import Lister, ObjectInfo
    from mountd.stores.credentials import Credential

ADDRESS = "MOORAGE_HELPER"
_IDLE_S = 900.0
_LOOKED_UP_LATER = ("file:", "command:")
_own: "OwnHelper | None" = None


class Frozen(Protocol):
    """A frozen dataset: its manifest, and what opens its sources."""

    @property
    def manifest(self) -> Path:
        """The manifest file."""

    @property
    def credentials(self) -> "Mapping[str, Credential]":
        """The credential of each source, by its URL."""

    @property
    def withheld(self) -> frozenset[str]:
        """Variables that no process which reads it may have."""


def helper_of(workspace: WorkspaceFolder, environ: Mapping[str, str] = os.environ) -> "Helper | None":
    """The helper of the job that this process is of, if the job is this workspace's."""
    address = environ.get(ADDRESS)
    if not address or environ.get(VARIABLE) != str(workspace.path):
        return None
    from mountd.client.helper import Helper

    return Helper(address)


def get(workspace: WorkspaceFolder, name: str) -> DatastoreRecord:
    """As `datastores.get`; in a job a credential that is kept from it is none, and no error."""
    try:
        return datastores.get(workspace, name)
    except MountdError:
        record = datastores.load_all(workspace).get(name.lower())
        if record is None or helper_of(workspace) is None:
            raise
        return replace(record, credential=None)


def grants(workspace: WorkspaceFolder) -> "list[Grant]":
    """What a helper of this workspace may open: its datastores. One whose credential is not found refuses, when asked."""
    from mountd.client.helper import Grant

    granted = []
    for record in datastores.load_all(workspace).values():
        if record.reference.startswith(_LOOKED_UP_LATER):
            granted.append(Grant(record.name, record.url, reference=record.reference))
            continue
        try:
            granted.append(Grant(record.name, record.url, datastores.get(workspace, record.name).credential))
        except (MountdError, UserErrorException) as error:
            granted.append(Grant(record.name, record.url, refusal=f"datastore '{record.name}': {error}"))
    return granted


def seat(workspace: WorkspaceFolder, inputs: "Sequence[Mapping[str, Credential]]") -> "HelperSeat | None":
    """Where a job's helper sits, for the launcher: all datastores, and the sources of the inputs. None on other systems."""
    if sys.platform != "linux":
        return None
    from mountd.client.helper import Grant
    from mountd.client.helper_processes import HelperSeat, order_of

    bare = [Grant("", url, credential) for each in inputs for url, credential in each.items()]
    return HelperSeat(order_of([*grants(workspace), *bare]), datastores.secret_variables(workspace))


def open_files(workspace: WorkspaceFolder, frozen: Frozen) -> "HelperFiles":
    """The files of a frozen dataset, for reads without a mount; a context manager, safe to fork and to spawn.

    Raises:
        MountdError: no helper can be started.
        UserErrorException: this is not Linux.
    """
    if sys.platform != "linux":
        raise UserErrorException("reads without a mount need Linux; download the dataset instead")
    helper = helper_of(workspace) or _own_helper(frozen)
    return helper.open(frozen.manifest)


def _own_helper(frozen: Frozen) -> "Helper":
    global _own  # noqa: PLW0603  # one a process tree
    from mountd.client.helper import Grant, Helper
    from mountd.client.helper_processes import OwnHelper, order_of

    granted = [Grant("", url, credential) for url, credential in frozen.credentials.items()]
    if _own is None:
        _own = OwnHelper(order_of(granted, idle_s=_IDLE_S), frozen.withheld)
        atexit.register(_own.close)
    _own.grant(granted)
    _own.ensure()
    return Helper(_own.address, _own.ensure)


def freeze(workspace: WorkspaceFolder, sources: "Sequence[FreezeSource]", target: Path) -> str | None:
    """Freeze `sources` through the job's helper; the digest, None where there is no helper."""
    helper = helper_of(workspace)
    if helper is None:
        return None
    return helper.freeze([(each.url, each.pattern, each.under) for each in sources], target)


def download(
    workspace: WorkspaceFolder,
    frozen: Frozen,
    target: Path,
    *,
    overwrite: bool,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Bring the files of a dataset into the folder `target`; how many there are. Errors as mountd's download.

    `settings` are mountd's, for a download of this process's own.
    """
    helper = helper_of(workspace)
    if helper is not None:
        return helper.download(frozen.manifest, target, overwrite=overwrite)
    from mountd.download import download as fetch

    return fetch(frozen.manifest, target, credentials=frozen.credentials, overwrite=overwrite, **(settings or {})).files


def upload(
    workspace: WorkspaceFolder,
    record: DatastoreRecord,
    files: Sequence[tuple[Path, str]],
    prefix: str,
    *,
    overwrite: bool,
) -> None:
    """Store files below `prefix` of a datastore; errors as mountd's uploader."""
    helper = helper_of(workspace)
    if helper is not None:
        helper.upload(files, record.name, prefix, overwrite=overwrite)
        return
    from runtime.datastores import uploads

    uploads.upload(record, record.credential, files, prefix, overwrite=overwrite)


def lister(
    workspace: WorkspaceFolder, datastore: str, folder: str, url: str, credential: "Credential | None"
) -> "Lister":
    """A lister of the base URL `url`, which is `folder` of `datastore` ('' for a URL of no datastore)."""
    helper = helper_of(workspace)
    if helper is not None and datastore:
        return _HelperLister(helper, datastore, folder, url)
    from mountd.stores.registry import open_lister

    return open_lister(url, credential)


@dataclass(frozen=True, slots=True)
class _HelperLister:
    """A folder of a datastore, listed by the helper."""

    helper: "Helper"
    datastore: str
    folder: str
    url: str

    def list(self, prefix: str = "") -> "Iterator[ObjectInfo]":
        """As a store's lister."""
        for each in self.helper.list(self.datastore, self.folder + prefix):
            yield replace(each, key=each.key.removeprefix(self.folder))
