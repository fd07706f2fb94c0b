"""A Data Lake with one file system, and our store of it.

The fixture must be imported by the test modules that use it.
"""

from collections.abc import Iterator

import pytest

from mountd.stores import registry
from mountd.stores.azure_datalake import AzureDataLakeStore
from mountd.stores.credentials import Credential
from tests.support.datalake_server import KEY, DataLakeServer

KEY_CREDENTIAL = Credential("key", KEY)
LAKE = "lake"


@pytest.fixture
def server() -> Iterator[DataLakeServer]:
    with DataLakeServer.start() as server:
        server.make(LAKE)
        yield server


def open_store(
    server: DataLakeServer, prefix: str = "", credential: Credential | None = KEY_CREDENTIAL, deadline_s: float = 20
) -> AzureDataLakeStore:
    return AzureDataLakeStore(registry.parse_source(server.url(LAKE, prefix)), credential, deadline_s=deadline_s)


def tree(server: DataLakeServer) -> dict[str, bytes | None]:
    """Every path; None for a directory."""
    nodes = server.account.filesystems[LAKE].nodes
    return {path: None if node.is_directory else node.data for path, node in nodes.items() if path}


def listed(store: AzureDataLakeStore, prefix: str = "") -> list[str]:
    return [info.key + "/" * info.is_directory for info in store.list(prefix)]
