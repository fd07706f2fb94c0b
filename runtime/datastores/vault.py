"""The secrets of a workspace's users: values in the keyring, their names in `secrets.json`.

v1 has a key vault beside each workspace. Here a value is an item of the operating system's keyring (`keeping`), and never in
a file of ours; the file says which item belongs to which name, because a keyring cannot be asked for what it holds.
"""

import json
import re
from typing import Final

from mountd.errors import AccessDeniedError
from runtime.datastores import keeping
from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder
from runtime.workspace.files import locked, write_whole

_FILE: Final = "secrets.json"
_LOCK: Final = ".secrets.lock"
_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,127}")


def put(folder: WorkspaceFolder, name: str, value: str) -> None:
    """Keep `value` as the secret `name`, in the place of an earlier one.

    Raises:
        UserErrorException: the name is none, or there is no keyring that keeps it.
    """
    if not _NAME.fullmatch(name):
        raise UserErrorException(f"{name!r} is no name for a secret; use letters, digits and '-', at most 127")
    item = keeping.keep(folder.path, f"secret:{name}", value, "it is not kept")
    if not item:
        raise UserErrorException(
            f"secret '{name}': there is no keyring here that keeps it; install moorage[keyring] and a keyring, or hand it "
            "to the script by an environment variable"
        )
    with locked(folder.path / _LOCK):
        items = _items(folder)
        earlier = items.get(name)
        _write(folder, items | {name: item})
    if earlier:
        keeping.forget(earlier)


def get(folder: WorkspaceFolder, name: str) -> str:
    """The secret `name`.

    Raises:
        UnknownNameError: there is none of that name.
        UserErrorException: the keyring does not give it.
    """
    items = _items(folder)
    if name not in items:
        raise UnknownNameError(f"no secret {name!r} in this workspace; there are: {', '.join(sorted(items)) or 'none'}")
    try:
        return keeping.fetch(items[name], name)
    except AccessDeniedError:
        raise UserErrorException(f"secret '{name}': the keyring does not give it; unlock it, or set it again") from None


def names(folder: WorkspaceFolder) -> list[str]:
    """The names of all secrets."""
    return sorted(_items(folder))


def remove(folder: WorkspaceFolder, name: str) -> None:
    """Forget the secret `name`; none of that name is no error."""
    with locked(folder.path / _LOCK):
        items = _items(folder)
        item = items.pop(name, None)
        _write(folder, items)
    if item:
        keeping.forget(item)


def _items(folder: WorkspaceFolder) -> dict[str, str]:
    path = folder.path / _FILE
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserErrorException(f"{path}: cannot be read ({error}); mend or remove it") from None
    return {str(name): str(item) for name, item in dict(found).items()}


def _write(folder: WorkspaceFolder, items: dict[str, str]) -> None:
    write_whole(folder.path / _FILE, json.dumps(items, indent=1, sort_keys=True) + "\n")
