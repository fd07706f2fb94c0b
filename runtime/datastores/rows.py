"""The rows of `datastores.toml`, as they are read and written.

    default = "training"
    [datastores.training]
    url = "https://account.blob.core.windows.net/container/"
    [datastores.training.credential]
    reference = "env:TRAINING_KEY"        # or: kind = "key" and secret = "...", or kind = "key" and keyring = "ITEM"

Users may edit it: what is unknown, or fits together in no way, is an error that names the key and never a value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Literal

from runtime.errors import UserErrorException
from runtime.workspace.files import read_toml, toml_text

BUILT_IN: Final = "workspaceblobstore"
_NAME = re.compile(r"[A-Za-z0-9_]{1,255}")
_KEYS = ("default", "datastores", "url", "credential", "kind", "secret", "reference", "keyring")
_FORBID: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A credential: where it is looked up, or its kind with the secret or the keyring's item."""

    __pydantic_config__: ClassVar[dict[str, object]] = _FORBID
    kind: (
        Literal[
            "anonymous", "key", "sas", "connection_string", "azure_default", "service_principal", "managed_identity"
        ]
        | None
    ) = None
    secret: str = field(default="", repr=False)
    reference: str = ""
    keyring: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether its parts fit together."""
        if bool(self.reference) == bool(self.kind):
            return False
        return not (self.secret or self.keyring) or (bool(self.kind) and not (self.secret and self.keyring))


@dataclass(frozen=True, slots=True)
class DatastoreRow:
    """A place, and what opens it."""

    __pydantic_config__: ClassVar[dict[str, object]] = _FORBID
    url: str
    credential: CredentialRow | None = None


@dataclass(slots=True)
class DatastoresFile:
    """The whole file."""

    __pydantic_config__: ClassVar[dict[str, object]] = _FORBID
    default: str = BUILT_IN
    datastores: dict[str, DatastoreRow] = field(default_factory=dict)


def is_name(name: str) -> bool:
    """Whether a datastore may be called so."""
    return _NAME.fullmatch(name) is not None


def read(path: Path) -> DatastoresFile:
    """The file, or what it is where there is none.

    Raises:
        UserErrorException: it was edited into something else; names the key.
    """
    if not path.exists():
        return DatastoresFile()
    file = read_toml(path, DatastoresFile, _KEYS)
    for name, row in file.datastores.items():
        if not is_name(name):
            raise UserErrorException(f"{path}: {name!r} is no name: letters, digits and '_'")
        if row.credential and not row.credential.is_whole:
            raise UserErrorException(
                f"{path}: the credential of '{name}' needs a reference, or a kind with its secret or keyring"
            )
    return file


def text(default: str, datastores: Mapping[str, DatastoreRow]) -> str:
    """The file's text."""
    lines = ["# Moorage's datastores; holds secrets.", f"default = {toml_text(default)}"]
    for name, row in sorted(datastores.items()):
        lines += ["", f"[datastores.{name}]", f"url = {toml_text(row.url)}"]
        if row.credential is not None:
            values = {key: getattr(row.credential, key) for key in ("kind", "secret", "reference", "keyring")}
            lines.append(f"[datastores.{name}.credential]")
            lines += [f"{key} = {toml_text(value)}" for key, value in values.items() if value]
    return "\n".join(lines) + "\n"
