"""Documents by name in the workspace: one JSON file a kind, whole or as it was, the owner's only.

For what v1 kept in the cloud and asks for by name: environments, compute targets. A change is a read, a change and a
write under the workspace's lock.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder
from runtime.workspace.files import locked, write_whole


def load(workspace: WorkspaceFolder, kind: str) -> dict[str, Any]:
    """All documents of `kind` by name.

    Raises:
        UserErrorException: the file was changed into something else.
    """
    path = _path(workspace, kind)
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserErrorException(f"{path}: not JSON ({error}); mend or remove it") from None
    if not isinstance(found, dict):
        raise UserErrorException(f"{path}: no JSON object; mend or remove it")
    return found


@contextlib.contextmanager
def change(workspace: WorkspaceFolder, kind: str) -> Iterator[dict[str, Any]]:
    """All documents of `kind`, to be changed; written when the block ends without an error."""
    with locked(workspace.path / ".lock"):
        documents = load(workspace, kind)
        yield documents
        write_whole(_path(workspace, kind), json.dumps(documents, indent=1) + "\n")


def _path(workspace: WorkspaceFolder, kind: str) -> Path:
    return workspace.path / f"{kind}.json"
