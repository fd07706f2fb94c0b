"""A job's mounted outputs beside their mount: where each goes, and what becomes of its spool when the mount has ended.

The session mounts them and takes them down before they are finished; then the spool is opened here, by the launcher or by
`moorage runs resume`, and committed. Of a failed job what was closed is brought to the store, where it can be had, and
neither committed nor registered.
"""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mountd.errors import MountdError
from runtime.outputs import OutputSpec, journal_folder
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mountd.stores.credentials import Credential
    from mountd.uploading.committing import Committed
    from mountd.uploading.destination import Step
    from mountd.uploading.spool import Spool

FOLDER: Final = "outputs"  # of a run: its mounted outputs show there


@dataclass(frozen=True, slots=True)
class MountedOutput:
    """Where an output goes, and the folder of its spool; the mount must not have the variables `withheld`."""

    url: str
    spool: Path
    credential: "Credential | None" = field(repr=False)
    withheld: frozenset[str] = frozenset()


def mounted_output(workspace: WorkspaceFolder, spec: OutputSpec, run_id: str) -> MountedOutput:
    """What the mount of an output needs to know.

    Raises:
        UserErrorException, MountdError: as looking up its datastore raises them.
    """
    from runtime import datastores
    from runtime.datasets.granting import what_opens

    record = datastores.get(workspace, spec.datastore)
    credential = what_opens(record.url, record.credential)
    withheld = datastores.secret_variables(workspace)
    return MountedOutput(record.url, journal_folder(workspace, run_id, spec.name), credential, withheld)


def commit(workspace: WorkspaceFolder, spec: OutputSpec, run_id: str, step: "Step | None" = None) -> "Committed":
    """Bring what an output holds to the store, and commit it.

    Raises:
        BadInputError: files were not closed by whoever wrote them; names them.
        MountdError, OSError: as the store and the disk raise them; the next attempt goes on.
    """
    with _spool_of(workspace, spec, run_id, step) as spool:
        return spool.commit(run_id)


def leave(workspace: WorkspaceFolder, spec: OutputSpec, run_id: str) -> tuple[str, bool]:
    """Bring what an output of a failed job holds to the store; the line that says so, and whether all of it is there."""
    place = f"{spec.datastore}/{spec.prefix(run_id)}"
    said = f"output '{spec.name}' of the failed job is not registered; its files are in {place}"
    try:
        with _spool_of(workspace, spec, run_id) as spool:
            left = spool.drain()
    except (MountdError, OSError) as error:
        left = [" ".join(str(error).split())]
    if not left:
        return said, True
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return f"{said}, but for {left[0]}{more}: see {journal_folder(workspace, run_id, spec.name)}", False


@contextlib.contextmanager
def _spool_of(
    workspace: WorkspaceFolder, spec: OutputSpec, run_id: str, step: "Step | None" = None
) -> "Iterator[Spool]":
    from mountd.uploading.destination import Destination, no_step
    from mountd.uploading.spool import open_spool

    to = mounted_output(workspace, spec, run_id)
    destination = Destination.open(to.url, spec.prefix(run_id), to.credential, step=step or no_step)
    with contextlib.closing(open_spool(destination, to.spool)) as spool:
        yield spool
