"""A right to use a store: a value whose secret is never shown.

A `Credential` comes from the environment or from the option `--credential`, which names a place and never holds the value
itself (argv is readable by everyone on the machine). `resolve` makes of it what one storage account takes: a connection
string becomes the key or the SAS token in it.

Invariants: no repr, text or error of this module holds a secret; nothing here writes to disk; an account's credential is
never used for another account.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self, get_args

from mountd.errors import AccessDeniedError, BadInputError, NotFoundError

Kind = Literal["anonymous", "key", "sas", "connection_string", "azure_default"]

_FROM_ENVIRONMENT: Final[tuple[tuple[str, Kind], ...]] = (
    ("AZURE_STORAGE_CONNECTION_STRING", "connection_string"),
    ("AZURE_STORAGE_KEY", "key"),
    ("AZURE_STORAGE_SAS_TOKEN", "sas"),
)

#: Every environment variable that must not reach a child process.
SECRET_VARIABLES: Final = (
    *(name for name, _ in _FROM_ENVIRONMENT),
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_MASTER_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_ENCRYPTION_KEY",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
    "AZURE_ENCRYPTION_KEY",
    "AZURE_FABRIC_SESSION_TOKEN",
)

#: What to do when there is no credential, or the store refuses it; for the end of an error message.
REMEDY: Final = (
    "set AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, "
    "or give --credential file:PATH, env:NAME, azure-default or anonymous"
)

# The emulator's account and key stand in Microsoft's documentation; `UseDevelopmentStorage=true` is short for them.
_EMULATOR = {
    "accountname": "devstoreaccount1",
    "accountkey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """A right to use a store. `secret` is a key in base64, a SAS token, a connection string, or empty."""

    kind: Kind
    secret: str = field(default="", repr=False)

    def to_json(self) -> dict[str, str]:
        """The value with its secret, for a sealed memfd or a file of mode 0600; never for a log."""
        return {"kind": self.kind, "secret": self.secret}

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> Self:
        """The inverse of `to_json`.

        Raises:
            BadInputError: the kind is unknown, or a field is missing.
        """
        kind, secret = data.get("kind"), data.get("secret", "")
        for known in get_args(Kind):
            if kind == known and isinstance(secret, str):
                return cls(known, secret)
        raise BadInputError(f"a credential needs a kind out of {', '.join(get_args(Kind))}")


def from_environment(environ: Mapping[str, str] = os.environ) -> Credential | None:
    """The credential in the environment: connection string, key or SAS token, the first that is set; else None."""
    for name, kind in _FROM_ENVIRONMENT:
        if value := environ.get(name, "").strip():
            return Credential(kind, value.removeprefix("?") if kind == "sas" else value)
    return None


def from_option(text: str, environ: Mapping[str, str] = os.environ) -> Credential:
    """The credential that `--credential` names: `file:PATH`, `env:NAME`, `azure-default` or `anonymous`.

    What the file or variable holds is told by its form: a connection string, a SAS token or a key.

    Raises:
        BadInputError: another form (whose value is not repeated: it may be a secret), or a content of no known form.
        NotFoundError: the file or variable does not exist.
        AccessDeniedError: the file may not be read.
    """
    kind, _, rest = text.partition(":")
    if text == "anonymous":
        return Credential("anonymous")
    if text == "azure-default":
        return Credential("azure_default")
    if kind == "file" and rest:
        return _told_by_form(_file(Path(rest)), f"the file {rest}")
    if kind == "env" and rest.isidentifier():
        if not environ.get(rest, "").strip():
            raise NotFoundError(f"--credential env:{rest}: the environment variable is not set")
        return _told_by_form(environ[rest], f"the environment variable {rest}")
    raise BadInputError(
        "--credential takes file:PATH, env:NAME, azure-default or anonymous; a value itself is not accepted, because "
        "everyone on this machine can read a command line"
    )


def resolve(credential: Credential | None, account: str) -> Credential:
    """What the storage account `account` takes: anonymous, key, sas or azure_default, with the bare secret.

    Raises:
        AccessDeniedError: the connection string is for another account, or holds neither key nor SAS token, or the key
            is no base64.
    """
    if credential is None:
        return Credential("anonymous")
    found = (
        _from_connection_string(credential.secret, account) if credential.kind == "connection_string" else credential
    )
    if found.kind == "key" and not _is_base64(found.secret):
        raise AccessDeniedError(f"the key given for the storage account {account!r} is not base64; copy it again")
    return found


def _file(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"--credential file:{path}: no such file") from None
    except PermissionError:
        raise AccessDeniedError(f"--credential file:{path}: this user may not read it") from None
    except (OSError, ValueError):
        raise BadInputError(f"--credential file:{path}: not a text file") from None


def _told_by_form(text: str, where: str) -> Credential:
    value = text.strip().removeprefix("?")
    fields = _fields(value)
    if fields.keys() & {"accountkey", "sharedaccesssignature", "usedevelopmentstorage"}:
        return Credential("connection_string", value)
    if "sig=" in value:
        return Credential("sas", value)
    if _is_base64(value):
        return Credential("key", value)
    raise BadInputError(f"{where} holds neither a connection string, nor a SAS token, nor an account key in base64")


def _fields(connection_string: str) -> dict[str, str]:
    parts = (part.partition("=") for part in connection_string.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in parts if name.strip()}


def _from_connection_string(text: str, account: str) -> Credential:
    fields = _fields(text)
    if fields.get("usedevelopmentstorage", "").lower() == "true":
        fields = _EMULATOR
    name = fields.get("accountname", account)
    if name != account:
        raise AccessDeniedError(
            f"the connection string is for the storage account {name!r}, and the source lies in {account!r}; {REMEDY}"
        )
    if key := fields.get("accountkey"):
        return Credential("key", key)
    if token := fields.get("sharedaccesssignature"):
        return Credential("sas", token.removeprefix("?"))
    raise AccessDeniedError("the connection string holds neither AccountKey nor SharedAccessSignature; copy it again")


def _is_base64(text: str) -> bool:
    try:
        return bool(text) and bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
