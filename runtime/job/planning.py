"""The plan of a job: names in the catalog become frozen manifests, and these a layout.

A command that does not exist is found here. The catalog, the datastores and this machine are read, and nothing is made.
"""

import os
import shutil
from collections.abc import Mapping

from mountd.errors import BadInputError
from runtime.datasets import file
from runtime.datasets.granting import what_opens
from runtime.errors import JobError, UserErrorException
from runtime.job.layout import InputFacts, Layout, Surroundings, lay_out
from runtime.job.spec import JobSpec
from runtime.workspace import WorkspaceFolder


def plan(
    workspace: WorkspaceFolder, spec: JobSpec, environ: Mapping[str, str] = os.environ
) -> tuple[Layout, dict[str, file.FrozenDataset]]:
    """The layout of `spec` and what is behind each input; reads the catalog, makes nothing.

    Raises:
        UserErrorException, MountdError: a dataset, datastore, token or command that is not there.
    """
    facts: dict[str, InputFacts] = {}
    frozen: dict[str, file.FrozenDataset] = {}
    for each in spec.inputs:
        record = file.find_record(workspace, each.dataset)
        frozen[each.name] = opened = file.open_record(workspace, record)
        facts[each.name] = InputFacts(record.id, record.digest, record.version, opened.single_file, record.name)
    around = Surroundings(
        workspace.path,
        workspace.runs_path,
        workspace.spool_path,
        environ,
        _secret_names(workspace, spec),
        _why_no_fuse() if any(each.mode == "mount" for each in spec.inputs) else None,
        workspace.identity(),
        no_output_mount=_why_no_output_mount() if any(each.mode == "mount" for each in spec.outputs) else None,
    )
    layout = lay_out(spec, facts, around)
    _check_command(layout)
    return layout, frozen


def _why_no_fuse() -> str | None:
    from mountd import client

    return client.why_no_fuse()


def _why_no_output_mount() -> str | None:
    from mountd import client

    return client.why_no_fuse("pyfuse3")


def _secret_names(workspace: WorkspaceFolder, spec: JobSpec) -> frozenset[str]:
    """The variables that the child must not see; on the way each datastore that an output goes to is seen to take some."""
    from mountd.stores import registry
    from runtime import datastores

    for output in spec.outputs:
        record = datastores.get(workspace, output.datastore)
        try:  # it asks nobody; a command may run for days before its files are wanted
            registry.open_writer(record.url, what_opens(record.url, record.credential))
        except BadInputError as error:
            raise UserErrorException(f"output '{output.name}': {error}") from None
    return datastores.secret_variables(workspace)


def _check_command(layout: Layout) -> None:
    """Find out before anything is mounted that the command could never start."""
    if not layout.cwd.is_dir():
        raise JobError(f"{layout.cwd}: no such folder to run the command in", 4)
    if layout.starter:
        _check_program(layout, layout.starter[0])
    _check_program(layout, layout.argv[0])


def _check_program(layout: Layout, name: str) -> None:
    if "/" in name:
        path = layout.cwd / name
        if not path.is_file():
            raise JobError(f"{name}: no such command in {layout.cwd}", 4)
        if not os.access(path, os.X_OK):
            raise JobError(f"{name}: not executable; chmod +x it, or name its interpreter first", 5)
    elif shutil.which(name, path=layout.environment.get("PATH")) is None:
        raise JobError(f"{name}: command not found on PATH", 4)
