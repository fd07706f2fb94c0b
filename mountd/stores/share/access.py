"""What must be there before a file share is asked: Microsoft's SDK for it, and a credential; nothing heavy is imported."""

from importlib.util import find_spec

from mountd.errors import AccessDeniedError, BadInputError
from mountd.stores.credentials import REMEDY, Credential, refuse_plain_login, resolve
from mountd.stores.source import Source


def resolve_for_share(source: Source, credential: Credential | None) -> Credential:
    """What the account of `source` takes, as `resolve` has it.

    Raises:
        AccessDeniedError: there is no credential, which a share always wants, or it is for another account.
        BadInputError: the SDK is not installed, or a login would go over plain http.
    """
    if find_spec("azure.storage.fileshare") is None:
        raise BadInputError("file shares need a package more: pip install 'moorage[fileshare]'")
    found = resolve(credential, source.account)
    if found.kind == "anonymous":
        never = f"{source.base_url}: access denied, a file share is never public, so anonymous does not do"
        raise AccessDeniedError(f"{never}; {REMEDY}")
    refuse_plain_login(found, source.base_url, source.endpoint)
    return found
