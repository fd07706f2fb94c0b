"""Listings of a container by many requests at once, and the pages that they come in."""

import os
import threading
import time
from xml.sax.saxutils import escape

import pytest
from azure.storage.blob import ContainerClient
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.errors import CorruptDataError, StoreUnreachableError
from mountd.stores import blob_listing, registry
from mountd.stores.base import ObjectInfo
from mountd.stores.blob_listing import Page, listed, parse_page
from mountd.stores.credentials import Credential
from mountd.stores.retry import TransientError
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.fault_proxy import FaultProxy
from tests.support.wire_faults import Fault, brief, page, short

_PAGE = 4
_names = st.sets(st.text("ab/ü ", min_size=1, max_size=6).filter(lambda name: not name.startswith("/")), max_size=60)


def info(name: str) -> ObjectInfo:
    return ObjectInfo(name, len(name), "e", 0)


class Container:
    """The service as its documentation says, with small pages; `asked` are its requests."""

    def __init__(self, names: set[str]) -> None:
        self.names, self.asked = sorted(names), list[tuple[str, str, str]]()

    def page(self, prefix: str, delimiter: str, marker: str) -> Page:
        self.asked.append((prefix, delimiter, marker))
        blobs, folders = list[ObjectInfo](), list[str]()
        for name in self.names:
            if not name.startswith(prefix):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            shown = name[: cut + 1] if cut >= 0 else name
            if (marker and shown < marker) or (folders and folders[-1] == shown):
                continue
            if len(blobs) + len(folders) == _PAGE:
                return Page(blobs, folders, shown)
            if cut >= 0:
                folders.append(shown)
            else:
                blobs.append(info(name))
        return Page(blobs, folders, "")


@given(_names, st.sampled_from(["", "a", "a/", "b/a"]))
@settings(deadline=None)
def test_every_blob_is_listed_once_whatever_the_tree(names: set[str], prefix: str) -> None:
    found = [each.key for each in listed(Container(names).page, prefix)]
    assert sorted(found) == sorted(name for name in names if name.startswith(prefix))


def test_few_blobs_cost_one_request_and_a_large_tree_is_listed_by_many_at_once() -> None:
    small = Container({"a/1", "b/2"})
    assert len(list(listed(small.page, ""))) == 2
    assert len(small.asked) == 1
    large = Container({f"top/{folder}/{file}" for folder in range(3) for file in range(40)})
    together = threading.Barrier(3, timeout=20)  # it opens only if three ask at the same time

    def ask(prefix: str, delimiter: str, marker: str) -> Page:
        if prefix.count("/") == 2 and not marker and not delimiter:
            together.wait()
        return large.page(prefix, delimiter, marker)

    assert len(list(listed(ask, ""))) == 120


def test_many_small_folders_cost_hardly_more_requests_than_pages() -> None:
    container = Container({f"{folder:02}/x" for folder in range(16)})
    assert len(list(listed(container.page, ""))) == 16
    assert len(container.asked) <= 16 / _PAGE + 16 / _PAGE + 32
    names = [f"{folder:03}/" for folder in range(1000)] + ["0", "01", "010", "z"]
    groups = blob_listing._groups(names)
    assert len(groups) <= blob_listing._PARTS + 10
    assert sorted(name for _, group in groups for name in group) == sorted(names)
    for common, group in groups:
        assert group == [name for name in names if name.startswith(common)] or len(group) == 1


def test_a_failure_anywhere_ends_the_listing_and_its_threads() -> None:
    container = Container({f"{folder}/{file}" for folder in range(9) for file in range(9)})

    def ask(prefix: str, delimiter: str, marker: str) -> Page:
        if prefix == "7/":
            raise StoreUnreachableError("gone")
        return container.page(prefix, delimiter, marker)

    with pytest.raises(StoreUnreachableError, match="gone"):
        list(listed(ask, ""))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("listing-")]


def test_a_listing_that_is_not_read_to_its_end_leaves_no_thread() -> None:
    container = Container({f"{folder}/{file}" for folder in range(4) for file in range(300)})
    blobs = listed(container.page, "")
    next(blobs)
    blobs.close()  # type: ignore[attr-defined]  # a generator
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("listing-")]


def test_an_empty_directory_of_a_hierarchical_account_is_not_lost() -> None:
    container = Container({f"{folder}/{file}" for folder in range(4) for file in range(9)})

    def ask(prefix: str, delimiter: str, marker: str) -> Page:
        told = container.page(prefix, delimiter, marker)
        return Page(told.blobs, [*told.folders, "none/"], told.marker) if delimiter and not prefix else told

    found = {each.key: each for each in listed(ask, "")}
    assert found["none/"].is_directory
    assert len(found) == 37


def test_pages_that_lead_in_a_circle_are_an_error() -> None:
    def ask(_: str, __: str, marker: str) -> Page:
        return Page([info("x" + marker)], [], "again")

    with pytest.raises(CorruptDataError, match="lead in a circle"):
        list(listed(ask, ""))


def xml(*blobs: str, after: str = "") -> bytes:
    text = "<?xml version='1.0'?><EnumerationResults><Blobs>" + "".join(blobs) + "</Blobs><NextMarker>"
    return (text + escape(after) + "</NextMarker></EnumerationResults>").encode()


def blob(name: str = "<Name>x</Name>", size: str = "5", etag: str = "0x1", more: str = "", metadata: str = "") -> str:
    properties = f"<Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>{etag}</Etag>{more}"
    return f"<Blob>{name}<Properties>{properties}<Content-Length>{size}</Content-Length></Properties>{metadata}</Blob>"


def test_a_page_tells_of_each_blob_what_the_service_says() -> None:
    body = xml(
        blob("<Name>a&amp;b</Name>", more="<Content-MD5>rL0Y20zC+Fzt72VPzMSk2A==</Content-MD5>"),
        blob('<Name Encoded="true">odd%EF%BF%BE%25</Name>', etag='"0x2"'),
        blob("<Name>folder</Name>", "0", metadata="<Metadata><Hdi_isfolder>true</Hdi_isfolder></Metadata>"),
        blob("<Name>real</Name>", "0", more="<ResourceType>directory</ResourceType>"),
        "<BlobPrefix><Name>deep/</Name></BlobPrefix>",
        after="m<1>",
    )
    told = parse_page(body)
    assert told.marker == "m<1>"
    assert told.folders == ["deep/"]
    first, odd, folder, real = told.blobs
    assert (first.key, first.size, first.etag, first.mtime_ns) == ("a&b", 5, "0x1", 1_767_225_600 * 10**9)
    assert first.md5 is not None
    assert first.md5.hex() == "acbd18db4cc2f85cedef654fccc4a4d8"
    assert (odd.key, odd.etag) == ("odd\ufffe%", "0x2")
    assert [each.is_directory for each in told.blobs] == [False, False, True, True]
    assert (folder.key, real.key) == ("folder", "real")


@pytest.mark.parametrize(
    "body", [b"", b"<html>a page</html>", xml(blob())[:-30], xml("<Blob><Properties/></Blob>"), b"<Error/>"]
)
def test_what_is_no_whole_page_is_asked_for_again(body: bytes) -> None:
    with pytest.raises(TransientError):
        parse_page(body)


@pytest.mark.parametrize(
    "broken", [blob(size="-1"), blob(size="many"), blob(etag=""), blob(more="<Content-MD5>?</Content-MD5>")]
)
def test_a_blob_that_cannot_be_is_named(broken: str) -> None:
    with pytest.raises(CorruptDataError, match="'x': the listing tells no length, ETag or time"):
        parse_page(xml(broken))


def test_entities_cannot_blow_a_page_up() -> None:
    entities = '<!ENTITY a "' + "x" * 1000 + '">'
    for last, this in ("ab", "bc", "cd", "de", "ef"):
        entities += f'<!ENTITY {this} "' + f"&{last};" * 100 + '">'
    start_s = time.monotonic()
    with pytest.raises(TransientError):
        parse_page(f"<!DOCTYPE x [{entities}]><EnumerationResults>&f;</EnumerationResults>".encode())
    assert time.monotonic() - start_s < 10


@pytest.mark.azurite
@pytest.mark.parametrize("fault", [brief(), short(), page(), page(xml=True)], ids=lambda fault: fault.name)
def test_a_page_that_is_spoilt_is_asked_for_again(azurite: Azurite, fault: Fault) -> None:
    container = "list" + os.urandom(6).hex()
    azurite.make_container(container)
    azurite.put(container, "x", b"1")
    with FaultProxy.start(azurite.endpoint) as proxy:
        proxy.inject(fault, when=lambda _: True, times=1)
        lister = registry.open_lister(f"{proxy.endpoint}/{ACCOUNT}/{container}/", Credential("key", KEY), deadline_s=10)
        assert [each.key for each in lister.list()] == ["x"]
        assert proxy.report[fault.name] == 1


@pytest.mark.azurite
def test_the_listing_is_the_one_that_microsofts_own_client_gives(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = "list" + os.urandom(6).hex()
    azurite.make_container(container)
    names = {f"t/{folder}/{file} ü&<'\"%+#?" for folder in range(5) for file in range(3)}
    names |= {"d/", "a//b", "t/1", "t/1/", "x\\y", "é", "e\u0301", "t.txt", "z" * 300}
    for name in names:
        azurite.put(container, name, name.encode())
    client = ContainerClient.from_connection_string(azurite.connection_string, container)
    told = {each.name: (each.size, each.etag.strip('"')) for each in client.list_blobs()}
    url, credential = azurite.url(container), Credential("key", KEY)
    assert {each.key: (each.size, each.etag) for each in registry.open_lister(url, credential).list()} == told
    first_page = ContainerClient.list_blobs
    monkeypatch.setattr(  # small pages, so that the tree is walked
        ContainerClient, "list_blobs", lambda self, **asked: first_page(self, results_per_page=4, **asked)
    )
    walked = [(each.key, each.size, each.etag) for each in registry.open_lister(url, credential).list()]
    assert {key: (size, etag) for key, size, etag in walked} == told
    assert len(walked) == len(told)
    below = {each.key for each in registry.open_lister(f"{url}t/", credential).list()}
    assert below == {name.removeprefix("t/") for name in told if name.startswith("t/") and name != "t/"}
    assert blob_listing._REQUESTS > 1
