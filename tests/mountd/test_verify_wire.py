"""`--verify-wire`: a byte that the network flips reaches nobody. Between mount and store stands what flips some."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd import client
from mountd.dataset.extents import FileKey
from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.download import download
from mountd.errors import BadInputError, CorruptDataError, StoreUnreachableError
from mountd.freeze import FreezeSource, freeze
from mountd.fuse import mounting
from mountd.stores import registry
from mountd.stores.credentials import Credential
from tests.support import wire_faults as faults
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.content import content
from tests.support.fault_proxy import FaultProxy, Injection
from tests.support.http_server import HttpServer
from tests.support.mounts import mounted
from tests.support.reading import open_reading
from tests.support.waiting import until

MIB = 1 << 20
SIZES = {"large": 9 * MIB + 5, "middle": 300_000, "small": 100}
CREDENTIAL = Credential("key", KEY)


@pytest.fixture(scope="module")
def container(azurite: Azurite) -> str:
    name = "wire" + os.urandom(6).hex()
    azurite.make_container(name)
    for key, size in SIZES.items():
        azurite.put(name, key, content(key, 0, size))
    return name


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[FaultProxy]:
    with FaultProxy.start(azurite.endpoint) as proxy:
        yield proxy


def url(proxy: FaultProxy, container: str) -> str:
    return f"{proxy.endpoint}/{ACCOUNT}/{container}/"


def flip(proxy: FaultProxy, times: float) -> Injection:
    """Flip a byte in so many answers from now on."""
    proxy.clear()
    return proxy.inject(faults.flip(), times=times)


def ranges(proxy: FaultProxy) -> list[tuple[int, int]]:
    """What was asked for."""
    return [asked.range for asked in proxy.requests if asked.range is not None]


def wrong(folder: Path) -> list[str]:
    return [name for name, size in SIZES.items() if (folder / name).read_bytes() != content(name, 0, size)]


@pytest.mark.azurite
def test_a_flipped_byte_is_asked_for_again(proxy: FaultProxy, container: str) -> None:
    asked_again: list[None] = []
    reader, plain = (
        registry.open_reader(
            url(proxy, container), CREDENTIAL, verified=each, on_retry=lambda: asked_again.append(None)
        )
        for each in (True, False)
    )
    for times in (1, 2):
        flip(proxy, times)
        assert bytes(reader.read("large", 5, 9 * MIB, "")) == content("large", 5, 9 * MIB)
    assert (len(asked_again), proxy.report["flip"]) == (3, 3)
    assert max(end - start for start, end in ranges(proxy)) <= 4 * MIB
    flip(proxy, 1)
    assert bytes(plain.read("middle", 0, 1000, "")) != content("middle", 0, 1000)  # nobody else would have noticed


@pytest.mark.azurite
def test_bytes_that_stay_wrong_are_an_error_that_says_so(proxy: FaultProxy, container: str) -> None:
    flip(proxy, 1000)
    reader = registry.open_reader(url(proxy, container), CREDENTIAL, deadline_s=2, verified=True)
    with pytest.raises(StoreUnreachableError, match="/middle: the bytes that came do not have the MD5") as caught:
        reader.read("middle", 0, 1000, "")
    assert caught.value.errno == errno.EIO


@pytest.mark.azurite
def test_a_service_that_tells_no_md5_is_not_believed(proxy: FaultProxy, container: str) -> None:
    proxy.inject(faults.without_md5())
    reader = registry.open_reader(url(proxy, container), CREDENTIAL, verified=True)
    with pytest.raises(BadInputError, match="/middle: the service tells no MD5"):
        reader.read("middle", 0, 1000, "")


@pytest.mark.azurite
def test_a_body_that_trickles_for_ever_is_an_error_soon_after_the_deadline(proxy: FaultProxy, container: str) -> None:
    store = registry.open_reader(url(proxy, container), CREDENTIAL, deadline_s=1, verified=True)
    with open_reading(store, threads=2, ahead_limit=1, deadline_s=1) as reading:
        proxy.inject(faults.trickle())
        begin_s = time.monotonic()
        with pytest.raises(StoreUnreachableError, match="no answer in time"):
            reading.read(FileKey.of(store.url, 2, 0, "large", "", SIZES["large"]), 0, 1000)
        assert time.monotonic() - begin_s < 20  # all of it would take a hundred
        until(lambda: not reading.fetcher._hedging._allowance.out, what="the end of the call")


@pytest.mark.azurite
@pytest.mark.fuse
def test_with_verify_wire_no_flipped_byte_reaches_a_reader_and_without_it_some_do(
    proxy: FaultProxy, container: str, tmp_path: Path
) -> None:
    for verified in (False, True):
        folder = tmp_path / str(verified)
        folder.mkdir()
        with mounted(folder, url(proxy, container), CREDENTIAL, verify_wire=str(verified).lower()) as mount:
            flips = flip(proxy, 3)
            assert bool(wrong(mount.mountpoint)) is not verified
            assert flips.count == 3
            assert mount.status()["fetch"]["retries"] == (3 if verified else 0)


@pytest.mark.azurite
def test_a_download_verifies_the_wire_when_it_is_told_to(proxy: FaultProxy, container: str, tmp_path: Path) -> None:
    manifest, credentials = tmp_path / "manifest", {url(proxy, container): CREDENTIAL}
    freeze([FreezeSource(url(proxy, container), CREDENTIAL)], manifest)
    flips = flip(proxy, 3)
    download(manifest, tmp_path / "verified", credentials=credentials, verify_wire=True)
    assert flips.count == 3
    assert wrong(tmp_path / "verified") == []
    flip(proxy, 100)
    with pytest.raises(
        CorruptDataError, match="MD5 that the store promised"
    ):  # the whole blob's, which small ones have
        download(manifest, tmp_path / "plain", credentials=credentials)


@pytest.mark.fuse
def test_verify_wire_is_refused_where_nothing_can_be_verified(tmp_path: Path) -> None:
    with HttpServer.start() as server:
        manifest = tmp_path / "manifest"
        write_manifest(manifest, [f"{server.endpoint}/"], [FrozenFile("data.bin", 4, "1", 0)])
        settings = {"verify_wire": "true", "cache_dir": str(tmp_path / "cache")}
        with pytest.raises(BadInputError, match=r"--verify-wire: .*: a web server tells no checksums; leave it out"):
            client.start(manifest, tmp_path / "mnt", settings=settings)
        with pytest.raises(BadInputError, match="--verify-wire"):
            download(manifest, tmp_path / "copy", verify_wire=True)
    assert not (tmp_path / "copy").exists()
    assert mounting.find(tmp_path / "mnt") is None


def test_what_is_read_on_this_machine_needs_no_checksum(tmp_path: Path) -> None:
    registry.require_verifiable([registry.file_url(tmp_path)])
    registry.require_verifiable(["https://host/", "https://account.blob.core.windows.net/container/"])
