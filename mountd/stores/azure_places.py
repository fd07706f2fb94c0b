"""Containers and file shares, made where a user asks for them to be there.

Invariant: one that is there already is left as it is; a new one is private.
"""

from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceExistsError

from mountd.errors import BadInputError
from mountd.stores.azure_sdk import sdk_credential, sdk_translated, timeouts_of, transport
from mountd.stores.credentials import Credential, resolve
from mountd.stores.retry import Deadline, retry

if TYPE_CHECKING:
    from mountd.stores.source import Source


def create(source: "Source", credential: Credential | None, *, deadline_s: float) -> None:
    """Make the container or share that `source` names.

    Raises:
        BadInputError: it is no such place, or the service refuses the name.
        MountdError: the account is out of reach, or refuses the credential.
    """
    if source.kind not in _VERBS:
        raise BadInputError(f"{source.store_url}: only containers and file shares can be made here; make it first")
    anonymous = credential is None or credential.kind == "anonymous"
    name = source.store_url

    def attempt(limit_s: float) -> None:
        with sdk_translated(name, pinned=False, anonymous=anonymous), _client(source, credential) as client:
            try:
                getattr(client, _VERBS[source.kind])(**timeouts_of(limit_s))
            except ResourceExistsError:
                return

    retry(name, attempt, Deadline(deadline_s))


_VERBS = {"blob": "create_container", "share": "create_share"}


def _client(source: "Source", credential: Credential | None) -> Any:
    options: dict[str, Any] = {
        "credential": sdk_credential(resolve(credential, source.account), source.account),
        "transport": transport(),
        "retry_total": 0,
        "logging_enable": False,
    }
    if source.kind == "blob":
        from azure.storage.blob import ContainerClient

        return ContainerClient(source.endpoint, source.container, **options)
    try:
        from azure.storage.fileshare import ShareClient
    except ImportError:
        raise BadInputError(
            f"{source.store_url}: file shares need a package more: pip install 'moorage[fileshare]'"
        ) from None
    return ShareClient(source.endpoint, source.container, **options)
