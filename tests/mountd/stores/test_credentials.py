import json
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mountd.errors import AccessDeniedError, BadInputError
from mountd.stores.credentials import Credential, Kind, resolve

KEY = "c2VjcmV0LWtleS1vZi10aGlzLXRlc3Q="
SAS = "sv=2024-01-01&sp=rl&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.windows.net"


@given(st.sampled_from(get_args(Kind)), st.text(min_size=12))
def test_no_rendering_shows_the_secret_and_json_keeps_it(kind: Kind, secret: str) -> None:
    assume(secret not in repr(Credential(kind)))  # hypothesis tries words of our own source, such as the kinds' names
    credential = Credential(kind, secret)
    for rendering in (repr(credential), str(credential), f"{credential}", f"{[credential]}"):
        assert secret not in rendering
    assert Credential.from_json(json.loads(json.dumps(credential.to_json()))) == credential


@pytest.mark.parametrize(
    "data", [{}, {"kind": "password", "secret": "hunter2hunter2"}, {"kind": "key", "secret": None}]
)
def test_damaged_json_is_bad_input_without_the_value(data: dict[str, str]) -> None:
    with pytest.raises(BadInputError) as caught:
        Credential.from_json(data)
    assert "hunter2" not in str(caught.value)


def test_resolve_takes_key_or_token_out_of_a_connection_string() -> None:
    assert resolve(Credential("connection_string", CONNECTION), "acct") == Credential("key", KEY)
    with_sas = f"BlobEndpoint=https://acct.blob.core.windows.net;SharedAccessSignature={SAS}"
    assert resolve(Credential("connection_string", with_sas), "acct") == Credential("sas", SAS)
    assert resolve(Credential("connection_string", "UseDevelopmentStorage=true"), "devstoreaccount1").kind == "key"
    assert resolve(None, "acct") == Credential("anonymous")
    assert resolve(Credential("azure_default"), "acct") == Credential("azure_default")


@pytest.mark.parametrize(
    "credential",
    [
        Credential("connection_string", CONNECTION.replace("acct", "other")),
        Credential("connection_string", "AccountName=acct"),
        Credential("key", "hunter2 is no base64"),
    ],
)
def test_resolve_refuses_what_does_not_fit_without_showing_it(credential: Credential) -> None:
    with pytest.raises(AccessDeniedError) as caught:
        resolve(credential, "acct")
    assert KEY not in str(caught.value)
    assert "hunter2" not in str(caught.value)
