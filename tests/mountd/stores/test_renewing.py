"""Credentials that become others while stores are in use."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from queue import Queue

import pytest

from mountd.errors import AccessDeniedError, NotFoundError
from mountd.stores.base import Buffer, ObjectInfo, Page, Part, PartLister, Within
from mountd.stores.credentials import Credential
from mountd.stores.credentials.renewing import (
    PAUSE_S,
    CredentialProvider,
    RenewingLister,
    RenewingPartLister,
    RenewingReader,
)
from tests.support.waiting import until

OLD, NEW = Credential("key", "b2xk", "file:/key"), Credential("key", "bmV3", "file:/key")
OTHER = Credential("connection_string", "AccountName=other", "file:/key")


class Place:
    """Where a credential is looked up: counts, and can be held up."""

    def __init__(self, *found: Credential | Exception) -> None:
        self._found, self.looks, self.free = list(found), 0, threading.Event()
        self.now_s = 0.0
        self.free.set()

    def look_up(self, _: str) -> Credential:
        self.looks += 1
        self.free.wait(20)
        found = self._found.pop(0) if len(self._found) > 1 else self._found[0]
        if isinstance(found, Exception):
            raise found
        return found

    def provider(self, credential: Credential) -> CredentialProvider:
        return CredentialProvider(credential, self.look_up, lambda: self.now_s)


class Store:
    """Lets one credential in."""

    url, in_place = "https://x/", False

    def __init__(self, credential: Credential | None, allowed: Credential) -> None:
        self._is_let_in = credential == allowed

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        return self.read_within(key, offset, size, etag, Within(1))

    def read_within(self, key: str, offset: int, size: int, etag: str, within: Within) -> Buffer:  # noqa: ARG002 # the protocol's
        if not self._is_let_in:
            raise AccessDeniedError(f"{key}: access denied (HTTP 403); remedy")
        return b"x" * size

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.read(prefix, 0, 1, "")
        yield ObjectInfo("one", 1, "", 0)
        yield ObjectInfo("two", 1, "", 0)


def reader(provider: CredentialProvider, allowed: Credential = NEW) -> RenewingReader:
    return RenewingReader(provider, lambda found: Store(found, allowed), 10)


def test_a_refused_credential_is_looked_up_again_and_the_read_goes_on() -> None:
    place = Place(NEW)
    provider = place.provider(OLD)
    assert reader(provider).read("k", 0, 3, "") == b"xxx"
    assert (provider.current(), place.looks) == (NEW, 1)
    listing = RenewingLister(place.provider(OLD), lambda found: Store(found, NEW)).list()
    assert [info.key for info in listing] == ["one", "two"]


def test_a_place_that_still_has_the_old_one_is_looked_into_once_in_a_while() -> None:
    place = Place(OLD, OLD, NEW)
    store = reader(place.provider(OLD))
    for _ in range(3):
        with pytest.raises(AccessDeniedError, match="403"):
            store.read("k", 0, 1, "")
    assert place.looks == 1
    place.now_s += PAUSE_S
    with pytest.raises(AccessDeniedError):
        store.read("k", 0, 1, "")
    place.now_s += PAUSE_S
    assert store.read("k", 0, 1, "") == b"x"
    assert place.looks == 3


def test_a_credential_without_a_place_is_refused_until_another_is_given() -> None:
    provider = CredentialProvider(Credential("key", "b2xk"))
    store = reader(provider)
    with pytest.raises(AccessDeniedError):
        store.read("k", 0, 1, "")
    provider.replace(NEW)
    assert store.read("k", 0, 1, "") == b"x"


@pytest.mark.warns
def test_a_place_that_is_gone_leaves_the_old_credential(caplog: pytest.LogCaptureFixture) -> None:
    place = Place(NotFoundError("--credential file:/key: no such file"))
    with pytest.raises(AccessDeniedError, match="403"):
        reader(place.provider(OLD)).read("k", 0, 1, "")
    assert "cannot be looked up again: --credential file:/key: no such file" in caplog.text


def test_what_cannot_open_a_store_is_looked_up_again_too() -> None:
    def open_store(found: Credential | None) -> Store:
        if found == OTHER:
            raise AccessDeniedError("the connection string is for the storage account 'other'")
        return Store(found, NEW)

    place = Place(OTHER, NEW)
    store = RenewingReader(place.provider(OLD), open_store, 10)
    with pytest.raises(AccessDeniedError, match="'other'"):
        store.read("k", 0, 1, "")
    place.now_s += PAUSE_S
    assert store.read("k", 0, 1, "") == b"x"


def test_many_threads_that_are_refused_at_once_look_once_and_all_go_on() -> None:
    place = Place(NEW)
    place.free.clear()
    store = reader(place.provider(OLD))
    done: Queue[object] = Queue()
    refused = threading.Barrier(9)

    def read() -> None:
        refused.wait(20)
        try:
            done.put(bytes(store.read("k", 0, 1, "")))
        except AccessDeniedError as error:
            done.put(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    refused.wait(20)
    place.free.set()
    for thread in threads:
        thread.join(20)
    assert [done.get(timeout=1) for _ in threads] == [b"x"] * 8
    assert place.looks == 1


class PartStore(Store):
    """Gives two pages."""

    def list_part(self, part: Part, idle: int) -> Page:
        self.read(part.prefix, 0, 1, "")
        second = replace(part, marker="second")
        return Page([ObjectInfo(f"page {part.marker}", idle, "", 0)], [] if part.marker else [second])


def test_a_listing_in_parts_goes_on_from_page_to_page() -> None:
    allowed = [OLD]
    provider = Place(NEW).provider(OLD)
    lister = RenewingPartLister(provider, lambda found: PartStore(found, allowed[-1]))
    assert isinstance(lister, PartLister)
    first = lister.list_part(Part("p"), 1)
    allowed.append(NEW)
    lister._renewing._opened = OLD, PartStore(OLD, NEW)  # the service has changed its mind of the old one
    (second,) = first.rest
    assert [info.key for info in lister.list_part(second, 1).objects] == ["page second"]


def sas_until(end: datetime, origin: str = "file:/sas") -> Credential:
    return Credential("sas", f"se={end:%Y-%m-%dT%H:%M:%SZ}&sp=rl&sig={end.timestamp():.0f}", origin)


def test_a_token_near_its_end_is_replaced_before_it_is_refused() -> None:
    now = datetime.now(UTC)
    near, far = sas_until(now + timedelta(minutes=2)), sas_until(now + timedelta(hours=8))
    place = Place(far)
    provider = place.provider(near)
    assert provider.current() in {near, far}  # it is good: nobody waits for the other
    until(lambda: provider.current() == far, what="the new token")
    assert place.provider(far).current() == far
    ended = sas_until(now - timedelta(minutes=2))
    assert place.provider(ended).current() == far
    assert place.looks == 2
    assert CredentialProvider(sas_until(now + timedelta(minutes=2), "")).current() is not None


def test_while_a_token_that_is_still_good_is_looked_up_it_is_used() -> None:
    near = sas_until(datetime.now(UTC) + timedelta(minutes=2))
    far = sas_until(datetime.now(UTC) + timedelta(hours=8))
    place = Place(far)
    place.free.clear()
    provider = place.provider(near)
    assert provider.current() == near
    until(lambda: place.looks, what="the look")  # which is held up
    assert provider.current() == near
    place.free.set()
    until(lambda: provider.current() == far, what="the new token")
    assert place.looks == 1


def test_a_refusal_says_what_the_token_tells() -> None:
    expired = Credential("sas", "se=2024-01-01&sp=rl&sig=hunter2")
    with pytest.raises(AccessDeniedError, match=r"^k: access denied: the SAS token expired at 2024-01-01 00:00:00 UTC"):
        reader(CredentialProvider(expired)).read("k", 0, 1, "")
