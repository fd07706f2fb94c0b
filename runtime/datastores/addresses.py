"""The URL of a container, file share or file system, out of v1's words: account, protocol, endpoint. Pure.

`endpoint` is what follows the service's name in a host (`core.windows.net`, a sovereign cloud's, a private one). One that
is an address, `localhost` or has a port is an emulator's: then the account is the first segment of the path.
"""

import ipaddress
from typing import Final, Literal

from runtime.errors import UserErrorException

Service = Literal["blob", "file", "dfs"]

DEFAULT_ENDPOINT: Final = "core.windows.net"
DEFAULT_PROTOCOL: Final = "https"
# The schemes of emulators, whose address does not tell which service it is; by protocol.
_FILE_SCHEMES: Final = {"http": "azfile", "https": "azfiles"}
_LAKE_SCHEMES: Final = {"http": "abfs", "https": "abfss"}


def azure_url(service: Service, account: str, container: str, protocol: str | None, endpoint: str | None) -> str:
    """The base URL of `container` in the storage account `account`.

    Raises:
        UserErrorException: the protocol is neither http nor https, or a name is empty.
    """
    protocol, host = (protocol or DEFAULT_PROTOCOL).lower(), (endpoint or DEFAULT_ENDPOINT).strip("/")
    if protocol not in _FILE_SCHEMES:
        raise UserErrorException(f"protocol {protocol!r}: it is 'https', or 'http' for an emulator")
    if not account or not container:
        raise UserErrorException("a datastore needs the names of an account and of a container, share or file system")
    if not is_emulator(host):
        return f"{protocol}://{account}.{service}.{host}/{container}/"
    if service == "blob":
        return f"{protocol}://{host}/{account}/{container}/"
    if service == "file":
        return f"{_FILE_SCHEMES[protocol]}://{host}/{account}/{container}/"
    return f"{_LAKE_SCHEMES[protocol]}://{container}@{host}/{account}/"


def is_emulator(host: str) -> bool:
    """Whether `host`, with or without a port, names no service of Azure's."""
    name, colon, _ = host.rpartition(":")
    try:
        ipaddress.ip_address((name if colon else host).strip("[]"))
    except ValueError:
        return bool(colon) or host == "localhost"
    return True


def endpoint_of(store_endpoint: str, account: str) -> tuple[str, str]:
    """(protocol, endpoint) as they were registered, of a store's endpoint: the inverse of `azure_url`."""
    protocol, _, address = store_endpoint.partition("://")
    host = address.partition("/")[0]
    for service in ("blob", "file", "dfs"):
        if host.startswith(f"{account}.{service}."):
            return protocol, host.removeprefix(f"{account}.{service}.")
    return protocol, host
