"""Identities, with azure-identity's own client: its servers are played here, and a real Blob server checks the tokens."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mountd.errors import AccessDeniedError, BadInputError, StoreUnreachableError
from mountd.stores import registry
from mountd.stores.credentials import Credential
from mountd.stores.credentials import identity as identities
from mountd.stores.credentials.identity import identity_of
from mountd.stores.credentials.origins import principal
from tests.support.azurite import Azurite
from tests.support.certificates import Certificate, make_certificate
from tests.support.content import content
from tests.support.token_server import CLIENT, SECRET, TENANT, TokenServer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in certificate.trusted.items():
        monkeypatch.setenv(name, value)
    identity_of.cache_clear()
    yield
    identity_of.cache_clear()


@contextmanager
def entra(certificate: Certificate, **fields: str) -> Iterator[tuple[TokenServer, Credential]]:
    """A server, and a service principal that it lets in unless `fields` say otherwise."""
    with TokenServer.start(certificate) as server:
        told = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET, "authority_url": server.endpoint}
        yield server, principal(told | fields)


@pytest.mark.azurite
def test_a_service_principal_lists_reads_and_writes_with_one_token(certificate: Certificate) -> None:
    tls = ("--cert", str(certificate.certificate), "--key", str(certificate.key), "--oauth", "basic")
    with Azurite.start(*tls) as azurite, entra(certificate) as (server, robot):
        url = azurite.make_container("identity")
        assert url.startswith("https:")
        registry.open_writer(url, robot).write("a.bin", content("a", 0, 1000))
        info = next(registry.open_lister(url, robot).list())
        reader = registry.open_reader(url, robot)
        assert bytes(reader.read("a.bin", 10, 100, info.etag)) == content("a", 10, 100)
        verified = registry.open_reader(url, robot, verified=True)
        assert bytes(verified.read("a.bin", 10, 100, info.etag)) == content("a", 10, 100)
    assert len(server.asked) == 1
    assert server.scopes == ["https://storage.azure.com/.default"]


def test_a_wrong_client_secret_is_refused_with_the_services_code_and_is_not_repeated(certificate: Certificate) -> None:
    with entra(certificate, client_secret="hunter2-hunter2") as (server, robot):  # noqa: S106 # nobody's
        for ask in (
            lambda: registry.open_reader("https://acct.blob.core.windows.net/cont/", robot).read("a", 0, 1, "1"),
            lambda: list(registry.open_lister("https://acct.blob.core.windows.net/cont/", robot).list()),
        ):
            with pytest.raises(
                AccessDeniedError, match=r"service principal: no token is given \(AADSTS7000215\)"
            ) as caught:
                ask()
            assert "hunter2" not in str(caught.value)
        assert server.asked


def test_a_token_is_kept_until_shortly_before_its_end(certificate: Certificate) -> None:
    with entra(certificate) as (server, robot):
        first = identity_of(robot).token()
        assert identity_of(robot).token() is first
        server.lasts_s = 5  # less than is worth a request
        identity_of.cache_clear()
        short = identity_of(robot)
        assert len(server.asked) == 1
        short.token()
        short.token()
    assert len(server.asked) == 3


@pytest.mark.warns
def test_a_token_near_its_end_goes_on_while_no_other_is_to_be_had(
    certificate: Certificate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_PAUSE_S", 0.0)
    with entra(certificate) as (server, robot):
        server.lasts_s = 200
        asked = identity_of(robot)
        first = asked.token()
        server.secret = "another"  # noqa: S105 # nobody's
        assert asked.token() is first
        assert "no token is given (AADSTS7000215)" in caplog.text
        assert "good for" in caplog.text
        server.secret = SECRET
        assert asked.token() is not first


def test_threads_that_need_a_token_at_once_ask_for_one(certificate: Certificate) -> None:
    with entra(certificate) as (server, robot):
        asked, tokens, start = identity_of(robot), set[str](), threading.Barrier(8)

        def ask() -> None:
            start.wait(20)
            tokens.add(asked.token().token)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (len(tokens), len(server.asked)) == (1, 1)


def test_a_token_never_goes_over_plain_http(certificate: Certificate) -> None:
    with entra(certificate) as (server, robot):
        for url in (
            "http://127.0.0.1:9/acct/cont/",
            "abfs://cont@127.0.0.1:9/acct/",
            "azfile://127.0.0.1:9/acct/cont/",
        ):
            for opened in (registry.open_reader, registry.open_lister, registry.open_writer):
                with pytest.raises(BadInputError, match="a login goes over https only"):
                    opened(url, robot)
        assert not server.asked


def test_nobody_who_gives_tokens_is_a_store_out_of_reach() -> None:
    told = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET, "authority_url": "https://localhost:9"}
    with pytest.raises(StoreUnreachableError, match="whoever gives tokens does not answer; check the network"):
        identity_of(principal(told)).token()


def test_a_managed_identity_is_given_by_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with TokenServer.start() as server:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.endpoint)
        assert identity_of(Credential("managed_identity")).token().token.count(".") == 2
        assert identity_of(Credential("managed_identity", CLIENT)).token().token.count(".") == 2
        with pytest.raises(AccessDeniedError, match="managed identity: no token is given; assign one"):
            identity_of(Credential("managed_identity", "another")).token()
    assert all("resource=https" in path for path in server.asked)


def test_azure_default_finds_the_managed_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    with TokenServer.start() as server:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.endpoint)
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        assert identity_of(Credential("azure_default")).token().token.count(".") == 2


@pytest.mark.parametrize("kind", ["azure_default", "managed_identity", "service_principal"])
def test_an_identity_names_the_extra_that_lacks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    credential = Credential.from_json({"kind": kind, "secret": json.dumps({"tenant_id": "t", "client_id": "c"})})
    with pytest.raises(BadInputError, match=r"needs a package more: pip install 'moorage\[identity\]'"):
        registry.open_reader("https://acct.blob.core.windows.net/cont/", credential)


def test_half_a_principal_and_a_missing_certificate_are_bad_input(tmp_path: Path) -> None:
    for fields in (
        {"tenant_id": TENANT},
        {"tenant_id": TENANT, "client_id": CLIENT, "certificate_path": f"{tmp_path}/no"},
    ):
        with pytest.raises(BadInputError, match="the service principal cannot be used"):
            identity_of(principal(fields))
