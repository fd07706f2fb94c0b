"""What a store says when it will not: the class of each refusal, its remedy, and no secret in it."""

import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mountd.errors import AccessDeniedError, MountdError, NotFoundError, StoreUnreachableError
from mountd.freeze import FreezeSource, freeze
from mountd.stores import registry
from mountd.stores.credentials import Credential
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.certificates import make_certificate
from tests.support.token_server import TokenServer

ASK: dict[str, Callable[[str, Credential | None, float], object]] = {
    "list": lambda url, credential, s: list(registry.open_lister(url, credential, deadline_s=s).list("a")),
    "read": lambda url, credential, s: registry.open_reader(url, credential, deadline_s=s).read("a", 0, 3, ""),
    "verify": lambda url, credential, s: registry.open_reader(url, credential, deadline_s=s, verified=True).read(
        "a", 0, 3, ""
    ),
    "write": lambda url, credential, s: registry.open_writer(url, credential, deadline_s=s).write("n", b"x"),
    "delete": lambda url, credential, s: registry.open_writer(url, credential, deadline_s=s).delete("n"),
}


@pytest.fixture(scope="module")
def url(azurite: Azurite) -> str:
    found = azurite.make_container("refusals")
    azurite.put("refusals", "a", b"12345")
    return found


def refusal(
    verb: str, url: str, credential: Credential | None, kind: type[MountdError], said: str, deadline_s: float = 20
) -> str:
    with pytest.raises(kind, match=said) as caught:
        ASK[verb](url, credential, deadline_s)
    text = str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "\n" not in text
    assert text.startswith(url)
    secrets = [part.partition("sig=")[2] for part in credential.secret.split("&")] if credential else []
    assert not [each for each in (*secrets, credential.secret if credential else "") if each and each in shown]
    return text


@pytest.mark.azurite
@pytest.mark.parametrize("verb", ASK)
class TestAzurite:
    def test_a_wrong_key(self, url: str, verb: str) -> None:
        refusal(verb, url, Credential("key", "aHVudGVyMmh1bnRlcjI="), AccessDeniedError, "403.*; set AZURE_STORAGE")

    def test_an_expired_token(self, azurite: Azurite, url: str, verb: str) -> None:
        token = Credential("sas", azurite.sas("refusals", "racwdl", lasts=timedelta(hours=-1)))
        refusal(verb, url, token, AccessDeniedError, r"the SAS token expired at \d{4}.* UTC; make a new one")

    def test_a_token_without_the_right_to_one_verb(self, azurite: Azurite, url: str, verb: str) -> None:
        letter = {"list": "l", "read": "r", "verify": "r", "write": "[wc]", "delete": "d"}[verb]
        rights = "".join(each for each in "rcwdl" if each not in letter)
        name = {"verify": "read"}.get(verb, verb)
        token = Credential("sas", azurite.sas("refusals", rights))
        refusal(
            verb, url, token, AccessDeniedError, rf"no right to {name} \(sp={rights}\); make one that has '\w' in it"
        )
        ASK["delete" if verb in {"list", "read", "verify"} else "read"](url, token, 20)  # what it allows goes on

    def test_a_token_of_another_container(self, azurite: Azurite, url: str, verb: str) -> None:
        refusal(verb, url, Credential("sas", azurite.sas("another", "racwdl")), AccessDeniedError, "403")

    def test_a_container_that_is_missing(self, azurite: Azurite, verb: str) -> None:
        credential = Credential("connection_string", azurite.connection_string)
        if verb == "delete":  # what is not there needs no removal
            ASK[verb](azurite.url("missing"), credential, 20)
        else:
            refusal(verb, azurite.url("missing"), credential, NotFoundError, "no such container; (create|check)")

    def test_an_account_that_is_missing(self, url: str, verb: str) -> None:
        elsewhere = url.replace(ACCOUNT, "noaccount")
        if verb == "delete":
            ASK[verb](elsewhere, Credential("key", KEY), 20)
        else:
            text = refusal(verb, elsewhere, Credential("key", KEY), NotFoundError, "no such")
            assert verb != "list" or "no such account or container; check both names" in text


@pytest.mark.parametrize("verb", ASK)
def test_a_name_that_does_not_resolve(verb: str) -> None:
    said = "the host name was not found .* check the account's name, and this machine's DNS"
    refusal(verb, "https://noaccount.blob.invalid/cont/", Credential("key", KEY), StoreUnreachableError, said, 1)


@pytest.mark.parametrize("verb", ASK)
def test_a_certificate_that_nobody_vouches_for(verb: str, tmp_path: Path) -> None:
    said = "the certificate is not valid .* check the clock; name the file .* SSL_CERT_FILE"
    with TokenServer.start(make_certificate(tmp_path)) as server:
        refusal(verb, f"{server.endpoint}/acct/cont/", Credential("key", KEY), StoreUnreachableError, said, 1)
        assert not server.asked


@pytest.mark.azurite
def test_a_freeze_that_is_refused_leaves_no_manifest(azurite: Azurite, url: str, tmp_path: Path) -> None:
    for rights in ("r", "rw"):
        with pytest.raises(AccessDeniedError, match="no right to list"):
            freeze([FreezeSource(url, Credential("sas", azurite.sas("refusals", rights)))], tmp_path / "manifest")
    assert list(tmp_path.iterdir()) == []
