"""The places a credential is looked up in: the environment, a file, a variable, or what a command prints.

The option `--credential` names such a place and never holds the value itself (argv is readable by everyone on the machine).
What is found is told by its form: a connection string, a SAS token, an account key, or a service principal in JSON with the
names that Azure's command line prints (`tenant`, `appId`, `password`) or those of its SDKs (`tenant_id`, `client_id`,
`client_secret`; beside them `certificate_path`, `certificate_password`, `authority_url`, `resource_url`).

A credential remembers its place, so that it can be looked up again when the store refuses it or its end is near. A command
is run without a shell, with a limit of time and length; its words are visible to everyone while it runs.

Invariant: no error repeats what was found.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from mountd.errors import AccessDeniedError, BadInputError, NotFoundError
from mountd.stores.credentials import SECRET_VARIABLES, Credential, Kind, connection_fields, is_base64

#: What the option takes, for usage lines.
FORMS: Final = "file:PATH|env:NAME|command:LINE|azure-default|managed-identity[:CLIENT_ID]|anonymous"

COMMAND_LIMIT_S: Final = 30.0
_CONTENT_LIMIT_BYTES: Final = 64 << 10
_FROM_ENVIRONMENT: Final[tuple[tuple[str, Kind], ...]] = (
    ("AZURE_STORAGE_CONNECTION_STRING", "connection_string"),
    ("AZURE_STORAGE_KEY", "key"),
    ("AZURE_STORAGE_SAS_TOKEN", "sas"),
)
# How the fields of a service principal are spelt: by us, by `az ad sp create-for-rbac`, and by its older `--sdk-auth`.
_PRINCIPAL: Final = {
    "tenant_id": ("tenant_id", "tenant", "tenantId"),
    "client_id": ("client_id", "appId", "clientId"),
    "client_secret": ("client_secret", "password", "clientSecret"),
    "certificate_path": ("certificate_path",),
    "certificate_password": ("certificate_password",),
    "authority_url": ("authority_url", "activeDirectoryEndpointUrl"),
    "resource_url": ("resource_url",),
}
_PRINCIPAL_VARIABLES: Final = {
    "tenant_id": "AZURE_TENANT_ID",
    "client_id": "AZURE_CLIENT_ID",
    "client_secret": "AZURE_CLIENT_SECRET",
    "certificate_path": "AZURE_CLIENT_CERTIFICATE_PATH",
    "certificate_password": "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "authority_url": "AZURE_AUTHORITY_HOST",
}


def from_environment(environ: Mapping[str, str] = os.environ) -> Credential | None:
    """The credential in the environment: connection string, key or SAS token, the first that is set; else None."""
    for name, kind in _FROM_ENVIRONMENT:
        if value := environ.get(name, "").strip():
            return Credential(kind, value.removeprefix("?") if kind == "sas" else value)
    return None


def from_option(text: str, environ: Mapping[str, str] = os.environ) -> Credential:
    """The credential that `--credential` names, in one of `FORMS`.

    `azure-default` with a service principal in the environment is that principal: the worker that asks for tokens has none
    of these variables.

    Raises:
        BadInputError: another form (whose value is not repeated: it may be a secret), or a content of no known form.
        NotFoundError: the file, variable or command does not exist.
        AccessDeniedError: the file may not be read, or the command failed.
    """
    kind, _, rest = text.partition(":")
    if text == "anonymous":
        return Credential("anonymous")
    if text == "azure-default":
        return _principal_of(environ) or Credential("azure_default")
    if kind == "managed-identity" and text != "managed-identity:":
        return Credential("managed_identity", rest)
    if kind == "file" and rest:
        path = Path(rest).absolute()  # whoever reads it again may stand elsewhere
        return _told_by_form(_file(path), f"the file {path}", f"file:{path}")
    if kind == "env" and rest.isidentifier():
        if not environ.get(rest, "").strip():
            raise NotFoundError(f"--credential env:{rest}: the environment variable is not set")
        return _told_by_form(environ[rest], f"the environment variable {rest}", text)
    if kind == "command" and rest.strip():
        return _told_by_form(_printed(rest), "what the command prints", text)
    raise BadInputError(
        f"--credential takes {', '.join(FORMS.split('|'))}; a value itself is not accepted, because everyone on this "
        "machine can read a command line"
    )


def variable_of(credential: Credential) -> str | None:
    """The name of the environment variable that `credential` stands in, if it does."""
    kind, _, name = credential.origin.partition(":")
    return name if kind == "env" else None


def secret_variables(credentials: Iterable[Credential]) -> frozenset[str]:
    """The variables that no process started with these credentials may have: the usual ones, and where these stand."""
    return frozenset(SECRET_VARIABLES) | {name for each in credentials if (name := variable_of(each))}


def handed_on(credential: Credential) -> Credential:
    """As another process gets it: a variable stays with whoever has it, so there it cannot be looked up again."""
    return replace(credential, origin="") if variable_of(credential) else credential


def principal(fields: Mapping[str, str]) -> Credential:
    """A service principal of the fields that `identity` takes; what is empty is left out."""
    return Credential("service_principal", json.dumps({name: value for name, value in fields.items() if value}))


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_CONTENT_LIMIT_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"--credential file:{path}: no such file") from None
    except PermissionError:
        raise AccessDeniedError(f"--credential file:{path}: this user may not read it") from None
    except (OSError, ValueError):
        raise BadInputError(f"--credential file:{path}: not a text file") from None


def _printed(line: str) -> str:
    try:
        words = shlex.split(line)
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_LIMIT_S, check=False
        )
    except FileNotFoundError:
        raise NotFoundError(f"--credential command: {words[0]!r}: no such program") from None
    except subprocess.TimeoutExpired:
        raise AccessDeniedError(
            f"--credential command: {words[0]!r}: no end within {COMMAND_LIMIT_S:.0f} s; see what it waits for"
        ) from None
    except (OSError, ValueError):
        raise BadInputError("--credential command: cannot be run; check its quotes and its rights") from None
    if done.returncode:
        raise AccessDeniedError(
            f"--credential command: {words[0]!r} failed with code {done.returncode}; run it by hand to see why"
        )
    return done.stdout[:_CONTENT_LIMIT_BYTES].decode("utf-8", "replace")


def _told_by_form(text: str, where: str, origin: str) -> Credential:
    value = text.strip().removeprefix("?")
    if value.startswith("{"):
        return Credential("service_principal", _principal(value, where), origin)
    if connection_fields(value).keys() & {"accountkey", "sharedaccesssignature", "usedevelopmentstorage"}:
        return Credential("connection_string", value, origin)
    if "sig=" in value:
        return Credential("sas", value, origin)
    if is_base64(value):
        return Credential("key", value, origin)
    raise BadInputError(
        f"{where} holds neither a connection string, nor a SAS token, nor an account key in base64, nor a service "
        "principal in JSON"
    )


def _principal(text: str, where: str) -> str:
    try:
        told = dict(json.loads(text))
    except (ValueError, TypeError):
        raise BadInputError(f"{where}: begins like a service principal in JSON and is none") from None
    found = {name: next((told[each] for each in spelt if told.get(each)), "") for name, spelt in _PRINCIPAL.items()}
    given = {name: value for name, value in found.items() if value and isinstance(value, str)}
    if not {"tenant_id", "client_id"} <= given.keys() or not {"client_secret", "certificate_path"} & given.keys():
        raise BadInputError(
            f"{where}: a service principal needs tenant_id, client_id, and client_secret or certificate_path"
        )
    return json.dumps(given)


def _principal_of(environ: Mapping[str, str]) -> Credential | None:
    found = {name: environ.get(variable, "") for name, variable in _PRINCIPAL_VARIABLES.items()}
    if found["tenant_id"] and found["client_id"] and (found["client_secret"] or found["certificate_path"]):
        return principal(found)
    return None
