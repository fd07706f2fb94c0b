"""Our own listing of a container against the SDK's, and against services that lie."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountd.errors import (
    AccessDeniedError,
    CorruptDataError,
    MountdError,
    NotFoundError,
    StoreUnreachableError,
)
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.azure_sdk import _network_reason
from mountd.stores.base import ObjectInfo, Page, Part
from mountd.stores.blob import listing as blob_listing
from mountd.stores.blob.boundaries import boundaries
from mountd.stores.credentials import Credential
from mountd.stores.parts import gather
from mountd.stores.source import parse_source
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.fault_proxy import FaultProxy
from tests.support.listing_server import Blob, ListingServer
from tests.support.wire_faults import Fault, brief, page, short

ODD = (
    *(
        "a//b",
        "a/",
        "a",
        "d/",
        "d/x",
        "d/x/",
        "e f",
        "plus+",
        "per%20cent",
        "amp&<>\"'",
        "Ünï/çödé",
        "\U0001f600/x",
    ),
    *("q?x=1", "hash#", "tab\tx", "semi;colon", "0/1", "0-1", "0.1", "A", "a b/ c", "~", "zz/" * 5 + "deep"),
)


def store_of(url: str, credential: Credential | None = None, deadline_s: float = 20) -> AzureBlobStore:
    return AzureBlobStore(parse_source(url), credential, deadline_s=deadline_s)


def listed(store: AzureBlobStore, prefix: str = "") -> dict[str, ObjectInfo]:
    found = list(store.list(prefix))
    assert len({each.key for each in found}) == len(found)
    return {each.key: each for each in found}


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda names: monkeypatch.setattr(blob_listing, "_PAGE_NAMES", names)


@pytest.fixture(scope="module")
def odd(azurite: Azurite) -> str:
    name = "odd" + os.urandom(6).hex()
    azurite.make_container(name)
    for number, key in enumerate(ODD):
        azurite.put(name, key, b"" if key.endswith("/") or key in {"a", "d/x", "0"} else b"x" * number)
    return name


@pytest.mark.azurite
@pytest.mark.parametrize("names", [1, 2, 3, 7, 5000])
@pytest.mark.parametrize("prefix", ["", "a", "d/", "zz/", "0", "Ünï/"])
def test_it_tells_what_the_sdk_tells(
    azurite: Azurite, odd: str, names: int, prefix: str, small_pages: Callable[[int], None]
) -> None:
    small_pages(names)
    with ContainerClient.from_connection_string(azurite.connection_string, odd) as client:
        told = {
            blob.name: (
                blob.size,
                blob.etag,
                int(blob.last_modified.timestamp()),
                bytes(blob.content_settings.content_md5 or b""),
            )
            for blob in client.list_blobs(name_starts_with=prefix)
        }
    found = listed(store_of(azurite.url(odd), Credential("key", KEY)), prefix)
    ours = {key: (each.size, each.etag, each.mtime_ns // 10**9, each.md5 or b"") for key, each in found.items()}
    assert ours == told
    assert ours


@pytest.mark.azurite
def test_below_a_prefix_keys_are_relative_and_its_own_marker_is_left_out(azurite: Azurite, odd: str) -> None:
    found = listed(store_of(azurite.url(odd, "d/"), Credential("key", KEY)))
    assert found.keys() == {"x", "x/"}
    assert found["x"].size == 0


@pytest.mark.azurite
@pytest.mark.parametrize("kind", ["key", "connection_string", "sas", "anonymous"])
def test_every_credential_lists_and_one_without_the_right_is_told(azurite: Azurite, odd: str, kind: Any) -> None:
    permission = ContainerSasPermissions(list=True)
    token = generate_container_sas(ACCOUNT, odd, account_key=KEY, permission=permission, expiry="2999-01-01T00:00:00Z")
    public = "pub" + os.urandom(6).hex()
    azurite.make_container(public, public=True)
    azurite.put(public, "a b/&", b"1")
    secret = {"key": KEY, "connection_string": azurite.connection_string, "sas": token, "anonymous": ""}[kind]
    name, expected = (public, {"a b/&"}) if kind == "anonymous" else (odd, set(ODD))
    assert listed(store_of(azurite.url(name), Credential(kind, secret))).keys() == expected


@pytest.mark.azurite
@pytest.mark.parametrize(
    ("permission", "expiry"), [("r", "2999-01-01T00:00:00Z"), ("l", "2001-01-01T00:00:00Z"), ("key", ""), ("none", "")]
)
def test_a_refusal_is_a_class_with_a_remedy_and_no_secret(
    azurite: Azurite, odd: str, permission: str, expiry: str
) -> None:
    if permission in {"r", "l"}:
        rights = ContainerSasPermissions(read=permission == "r", list=permission == "l")
        token = generate_container_sas(ACCOUNT, odd, account_key=KEY, permission=rights, expiry=expiry)
        credential = Credential("sas", token)
    else:
        credential = Credential("key", "d3Jvbmcta2V5") if permission == "key" else Credential("anonymous")
    with pytest.raises(AccessDeniedError) as caught:
        list(store_of(azurite.url(odd), credential).list())
    assert "AZURE_STORAGE_SAS_TOKEN" in str(caught.value)
    assert "sig=" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://nowhere.invalid:10000/acct/cont/", "the host name was not found"),
        ("http://127.0.0.1:9/acct/cont/", "the connection was refused"),
        ("https://{address}/acct/cont/", "no TLS can be agreed on"),
    ],
)
def test_a_service_that_cannot_be_reached_is_told_by_what_fails(fresh: ListingServer, url: str, said: str) -> None:
    place = url.format(address=urlsplit(fresh.url).netloc)
    with pytest.raises(StoreUnreachableError, match=said) as caught:
        list(store_of(place, deadline_s=1).list())
    assert str(caught.value).startswith(place)
    assert "; check " in str(caught.value)


def test_a_certificate_that_is_not_valid_is_told() -> None:
    text = "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate'))"
    assert _network_reason(OSError(text)) == "the certificate is not valid"


@pytest.mark.azurite
def test_a_missing_container_is_named(azurite: Azurite) -> None:
    with pytest.raises(NotFoundError, match="no such container"):
        list(store_of(azurite.url("nowhere"), Credential("key", KEY)).list())


def tree(*keys: str) -> list[Blob]:
    return [Blob(key, number) for number, key in enumerate(sorted(keys))]


segments = st.lists(st.text("ab0129/.é\U0001f600z", min_size=1, max_size=3), min_size=1, max_size=3)
names = st.lists(
    st.tuples(st.sampled_from(["", "a/", "0/b/"]), segments.map("/".join)).map("".join), max_size=60, unique=True
)


@given(
    keys=names,
    page=st.integers(1, 9),
    ranged=st.booleans(),
    by_utf16=st.booleans(),
    below=st.sampled_from(["", "a/", "0/b/"]),
    prefix=st.sampled_from(["", "a", "a/", "0"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_shape_is_told_once(
    server: ListingServer, keys: list[str], page: int, *, ranged: bool, by_utf16: bool, below: str, prefix: str
) -> None:
    order = (lambda key: key.encode("utf-16-be")) if by_utf16 else str.encode
    server.blobs, server.ranged, server.order = [Blob(key, len(key)) for key in keys], ranged, order
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blob_listing, "_PAGE_NAMES", page)
        found = listed(store_of(server.url + below), prefix)
    # What a source is called is no file in it.
    told = [key for key in keys if key.startswith(below + prefix) and key != below]
    expected = {key.removeprefix(below): len(key) for key in told}
    assert {key: each.size for key, each in found.items()} == expected


@pytest.fixture(scope="module")
def server() -> Iterator[ListingServer]:
    with ListingServer.start() as running:
        yield running


@pytest.fixture
def fresh(server: ListingServer) -> ListingServer:
    server.reset()
    return server


@pytest.mark.parametrize("ranged", [True, False])
@pytest.mark.parametrize(
    "keys",
    [
        [f"{number:06}.jpg" for number in range(3000)],
        [f"img_{number}.jpg" for number in range(3000)],
        [f"{number * 7919 % 65536:04x}" for number in range(3000)],
        [f"{folder}/{number}" for folder in ("test", "train", "val") for number in range(1000)],
        [f"{number % 700}/one/{number}" for number in range(3000)],
        [f"a/b/c/d/{number}" for number in range(3000)],
    ],
    ids=["zero-padded", "counted", "hexadecimal", "three folders", "many folders", "deep"],
)
def test_idle_threads_take_parts_and_waste_little(
    fresh: ListingServer, keys: list[str], small_pages: Callable[[int], None], *, ranged: bool
) -> None:
    small_pages(50)
    fresh.blobs, fresh.ranged, fresh.delay_s = tree(*keys), ranged, 0.01
    assert listed(store_of(fresh.url)).keys() == set(keys)
    assert len(fresh.requests) < 2 * len(keys) / 50 + 150
    if ranged:
        assert fresh.most_at_once >= 3


def test_an_old_service_is_asked_once_whether_it_knows_ranges(
    fresh: ListingServer, small_pages: Callable[[int], None]
) -> None:
    small_pages(10)
    fresh.blobs, fresh.refuses_ranges = tree(*(f"{number:04}" for number in range(200))), True
    assert len(listed(store_of(fresh.url))) == 200
    assert sum("startFrom" in each for each in fresh.requests) == 1


def test_directories_of_hierarchical_accounts_are_told_and_empty_ones_are_kept(
    fresh: ListingServer, small_pages: Callable[[int], None]
) -> None:
    keys = [f"a/{number:03}" for number in range(100)] + [f"a-b/{number}" for number in range(10)]
    fresh.blobs = [*tree(*keys), *(Blob(name, 0, directory=True) for name in ("a", "a-b", "empty"))]
    fresh.hierarchical, fresh.order = True, lambda key: key.replace("/", "\0").encode()
    for names in (7, 5000):
        small_pages(names)
        found: dict[str, ObjectInfo] = {}
        for each in store_of(fresh.url).list():
            assert each.key not in found or each.is_directory
            found[each.key] = each
        assert {key for key, each in found.items() if not each.is_directory} == set(keys)
        assert {key for key, each in found.items() if each.is_directory} == {"a", "a-b", "empty"}


HEAD = '<?xml version="1.0" encoding="utf-8"?>'
PROPERTIES = (
    "<Properties><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>e</Etag>"
    "<Content-Length>{size}</Content-Length></Properties>"
)


def page_of(*names: str, marker: str = "", size: str = "1", head: str = HEAD) -> str:
    blobs = "".join(f"<Blob><Name>{name}</Name>{PROPERTIES.format(size=size)}</Blob>" for name in names)
    return f"{head}<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ([page_of("a", size="-1")], "size '-1'"),
        ([page_of("a", size="many")], "size 'many'"),
        ([page_of("a", size="9" * 30)], "size '999"),
        ([page_of("a").replace("<Etag>e</Etag>", "<Etag></Etag>")], "without an ETag"),
        ([page_of("")], "without a name"),
        ([page_of("a").replace("Thu, 01 Jan", "Once")], "time 'Once"),
        ([page_of("a").replace("<Etag>", "<Content-MD5>AAAA</Content-MD5><Etag>")], "MD5 'AAAA'"),
        ([page_of("a", marker="1"), page_of("b", marker="1")], "circles"),
        ([page_of("a", marker="1"), page_of("b", marker="2"), page_of("a", marker="1")], "'a' again"),
        ([page_of("b", marker="1"), page_of("a")], "'a' again, or too late"),
        ([page_of(marker=str(number)) for number in range(2000)], "empty pages"),
    ],
)
def test_a_page_that_lies_is_told(fresh: ListingServer, pages: list[str], said: str) -> None:
    fresh.scripted, fresh.refuses_ranges = [each.encode() for each in pages], True
    with pytest.raises(CorruptDataError, match=said) as caught:
        list(store_of(fresh.url).list())
    assert fresh.url in str(caught.value)


def test_a_name_that_was_not_asked_for_is_told(fresh: ListingServer) -> None:
    fresh.scripted = [page_of("b/c").encode()]
    with pytest.raises(CorruptDataError, match="'b/c', which was not asked for"):
        list(store_of(fresh.url).list("a"))


@pytest.mark.parametrize(
    "body",
    [
        page_of("a", "b").encode()[:-40],
        b"",
        b"<EnumerationResults><Error/></EnumerationResults>",
        b"<html>log in</html>" * 100,
        page_of("a", head='<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>').encode(),
        page_of("a").encode("utf-16"),
        page_of("a").encode().replace(b"<Name>a", b"<Name>\xff"),
    ],
    ids=["cut", "empty", "another document", "a page for people", "a document type", "another encoding", "no UTF-8"],
)
def test_broken_xml_is_asked_for_again_and_then_an_error(fresh: ListingServer, body: bytes) -> None:
    fresh.scripted = [body, page_of("a").encode()]
    assert listed(store_of(fresh.url)).keys() == {"a"}
    fresh.scripted = [body] * 1000
    with pytest.raises(StoreUnreachableError, match="not well-formed"):
        list(store_of(fresh.url, deadline_s=1).list())


def test_names_that_xml_cannot_hold_come_encoded_and_snapshots_are_left_out(fresh: ListingServer) -> None:
    body = page_of("plain").replace("<Name>plain</Name>", '<Name Encoded="true">a%EF%BF%BEb%25</Name>')
    old = f"<Blob><Name>s</Name><Snapshot>2026</Snapshot>{PROPERTIES.format(size=1)}</Blob>"
    fresh.scripted = [body.replace("<Blobs>", f"<Blobs>{old}").encode()]
    assert listed(store_of(fresh.url)).keys() == {"a\ufffeb%"}


@given(
    st.text("01289af.zé", min_size=1), st.text("01289af.zé", min_size=1), st.text("0af", max_size=2), st.integers(0, 9)
)
def test_cuts_lie_between_and_ascend(one: str, other: str, prefix: str, count: int) -> None:
    first, last = sorted((prefix + one, prefix + other))
    for end in ("", prefix + "\x7f"):
        cuts = boundaries(first, last, prefix, end, count)
        assert cuts == sorted(set(cuts))
        assert len(cuts) <= count
        assert all(last < cut and (not end or cut < end) for cut in cuts)


def test_pages_are_told_before_their_rest_and_an_error_ends_it() -> None:
    class Broken:
        url = "memory://x/"

        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            raise NotImplementedError

        def list_part(self, part: Part, idle: int) -> Page:
            assert idle >= 0
            if part.prefix.count("x") == 3:
                raise NotFoundError("enough")
            return Page((), tuple(Part(part.prefix + each) for each in "xyz" if len(part.prefix) < 3))

    told: list[str] = []

    def take() -> None:
        for part, _ in gather(Broken(), [Part("")]):
            assert not part.prefix or part.prefix[:-1] in told
            told.append(part.prefix)

    with pytest.raises(MountdError, match="enough"):
        take()


def test_the_query_holds_no_more_than_was_asked(fresh: ListingServer) -> None:
    fresh.blobs = tree("a b+%/c")
    assert listed(store_of(fresh.url), "a b+%/").keys() == {"a b+%/c"}
    asked = parse_qs(urlsplit(fresh.requests[0]).query)
    assert asked["prefix"] == ["a b+%/"]
    assert "marker" not in asked


@pytest.mark.azurite
@pytest.mark.parametrize("fault", [brief(), short(), page(), page(xml=True)], ids=lambda fault: fault.name)
def test_a_page_that_is_spoilt_on_the_wire_is_asked_for_again(azurite: Azurite, odd: str, fault: Fault) -> None:
    with FaultProxy.start(azurite.endpoint) as proxy:
        proxy.inject(fault, when=lambda _: True, times=1)
        found = listed(store_of(f"{proxy.endpoint}/{ACCOUNT}/{odd}/", Credential("key", KEY)))
        assert found.keys() == set(ODD)
        assert proxy.report[fault.name] == 1
