"""A file share for tests of its store: the server, a proxy before it, and ways to fill and ask it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.fileshare import ShareSasPermissions, generate_share_sas

from mountd.stores import registry
from mountd.stores.azure_files import AzureFilesStore
from mountd.stores.credentials import Credential
from tests.support.azurite import ACCOUNT, KEY
from tests.support.fault_proxy import FaultProxy, Request
from tests.support.fileshare_server import FileShares

OWN = Credential("key", KEY)


@pytest.fixture
def server() -> Iterator[FileShares]:
    with FileShares.start() as running:
        running.make_share("share")
        yield running


@pytest.fixture
def proxy(server: FileShares) -> Iterator[FaultProxy]:
    with FaultProxy.start(server.account_url.removesuffix(f"/{ACCOUNT}")) as running:
        yield running


def open_store(url: str, credential: Credential | None = OWN, deadline_s: float = 20) -> AzureFilesStore:
    return AzureFilesStore(registry.parse_source(url), credential, deadline_s=deadline_s)


def behind(proxy: FaultProxy, prefix: str = "") -> str:
    return f"azfile{proxy.endpoint.removeprefix('http')}/{ACCOUNT}/share/{prefix}"


def sas(permission: str, minutes: int = 5) -> Credential:
    end = datetime.now(UTC) + timedelta(minutes=minutes)
    return Credential(
        "sas", generate_share_sas(ACCOUNT, "share", KEY, ShareSasPermissions.from_string(permission), end)
    )


def keys(store: AzureFilesStore, prefix: str = "") -> list[str]:
    return sorted(info.key + "/" * info.is_directory for info in store.list(prefix))


def fill(server: FileShares, *paths: str) -> None:
    for path in paths:
        server.put("share", path, path.encode())


def is_step(step: str) -> Callable[[Request], bool]:
    return lambda request: step in request.query
