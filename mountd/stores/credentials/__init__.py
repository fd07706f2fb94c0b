"""A right to use a store: a value whose secret is never shown.

A `Credential` comes from one of the `origins`: the environment, or what the option `--credential` names. `resolve` makes of
it what one storage account takes: a connection string becomes the key or the SAS token in it. The kinds that speak of an
identity (`azure_default`, `service_principal`, `managed_identity`) become tokens in `identity`.

Invariants: no repr, text or error of this module holds a secret; nothing here writes to disk; an account's credential is
never used for another account.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self, get_args

from mountd.errors import AccessDeniedError, BadInputError

Kind = Literal["anonymous", "key", "sas", "connection_string", "azure_default", "service_principal", "managed_identity"]

#: The kinds that are an identity, for which Microsoft Entra or the machine gives tokens.
IDENTITIES: Final = frozenset({"azure_default", "service_principal", "managed_identity"})

#: Every environment variable that must not reach a child process.
SECRET_VARIABLES: Final = (
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
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
    """A right to use a store.

    `secret` is a key in base64, a SAS token, a connection string, a service principal as JSON (see `origins`), the client
    id of a managed identity, or empty. `origin` is where it can be looked up again, as the option `--credential` names it
    (`file:PATH`, `env:NAME`, `command:LINE`); it holds no secret, and of two credentials it makes no other ones.
    """

    kind: Kind
    secret: str = field(default="", repr=False)
    origin: str = field(default="", compare=False)

    def to_json(self) -> dict[str, str]:
        """The value with its secret, for a sealed memfd or a file of mode 0600; never for a log."""
        return {"kind": self.kind, "secret": self.secret, "origin": self.origin}

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> Self:
        """The inverse of `to_json`.

        Raises:
            BadInputError: the kind is unknown, or a field is missing.
        """
        kind, secret = data.get("kind"), data.get("secret", "")
        for known in get_args(Kind):
            if kind == known and isinstance(secret, str):
                return cls(known, secret, str(data.get("origin", "")))
        raise BadInputError(f"a credential needs a kind out of {', '.join(get_args(Kind))}")


def resolve(credential: Credential | None, account: str) -> Credential:
    """What the storage account `account` takes: anonymous, key, sas or an identity, with the bare secret.

    Raises:
        AccessDeniedError: the connection string is for another account, or holds neither key nor SAS token, or the key
            is no base64.
    """
    if credential is None:
        return Credential("anonymous")
    found = (
        _from_connection_string(credential.secret, account) if credential.kind == "connection_string" else credential
    )
    if found.kind == "key" and not is_base64(found.secret):
        raise AccessDeniedError(f"the key given for the storage account {account!r} is not base64; copy it again")
    return found


def refuse_plain_login(credential: Credential | None, url: str, endpoint: str) -> None:
    """Keep a login's token from a network without TLS.

    Raises:
        BadInputError: `endpoint`, the service behind `url`, is plain http, and the credential is an identity.
    """
    if credential is not None and credential.kind in IDENTITIES and endpoint.startswith("http:"):
        raise BadInputError(f"{url}: a login goes over https only; use an https address, a key or a SAS token")


def connection_fields(connection_string: str) -> dict[str, str]:
    """The fields of a connection string, by their names in lower case."""
    parts = (part.partition("=") for part in connection_string.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in parts if name.strip()}


def _from_connection_string(text: str, account: str) -> Credential:
    fields = connection_fields(text)
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


def is_base64(text: str) -> bool:
    """Whether `text` has the form of a key."""
    try:
        return bool(text) and bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
