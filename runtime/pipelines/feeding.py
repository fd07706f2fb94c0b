"""What a step left in the store, frozen, as another step's input.

A step may leave an output empty, which v1 mounts as an empty folder; so the rule that an empty dataset is a mistake does
not hold here, and an empty manifest is written.
"""

import tempfile
from pathlib import Path

from mountd.errors import NotFoundError
from runtime.catalog import open_catalog
from runtime.datasets import file
from runtime.datasets.paths import DatasetPath
from runtime.outputs import OutputSpec
from runtime.workspace import WorkspaceFolder


def freeze_output(workspace: WorkspaceFolder, output: OutputSpec, run_id: str) -> str:
    """The id of the dataset of all that the run `run_id` stored as `output`.

    Raises:
        MountdError, UserErrorException: as freezing raises them.
    """
    definition = file.FileDefinition((DatasetPath(output.datastore, output.prefix(run_id)),))
    try:
        return file.save(workspace, definition).id
    except NotFoundError:
        return _save_empty(workspace, definition)


def _save_empty(workspace: WorkspaceFolder, definition: file.FileDefinition) -> str:
    from mountd.dataset.writing import write_manifest

    folder = workspace.manifests_path
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as within:
        draft = Path(within) / "manifest"
        digest = write_manifest(draft, (), ()).digest
        draft.replace(folder / f"{digest}.sqlite")
    with open_catalog(workspace) as catalog:
        return catalog.save(definition.to_json(), digest, 0, 0).id
