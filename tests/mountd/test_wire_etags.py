"""Every request for bytes says which version it wants: what the proxy saw of mounts, downloads and verified reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd import client
from mountd.download import download
from tests.mountd import wire_cases
from tests.mountd.wire_cases import DEADLINE_S, RIGHT, SIZE, Place, at_once, place_of
from tests.support import wire_faults as faults

pytestmark = [pytest.mark.fuse, pytest.mark.azurite]

FILES = ["stream", "random", "planned", "odd\tname"]


@pytest.fixture(params=["web", "blob", "verified"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest) -> Iterator[Place]:
    files = FILES[:3] if kind == "web" else FILES  # a web server's odd names are refused
    with place_of(kind, files, request) as place:
        yield place


def check_pins(place: Place, *, least: int) -> None:
    asked = [request for request in place.proxy.requests if request.reads]
    assert len(asked) >= least
    pinned = {(request.path.rpartition("/")[2], request.if_match) for request in asked}
    assert pinned == {(name, f'"{frozen.etag}"') for name, frozen in place.frozen.items()}


def test_every_get_of_a_mount_carries_the_frozen_etag(kind: str, place: Place, tmp_path: Path) -> None:
    settings = {"verify_wire": str(kind == "verified").lower()}
    with place.mount(tmp_path, DEADLINE_S, **settings) as mount:
        for offset in range(SIZE - 100, 0, -150_000):
            assert wire_cases.read(mount.mountpoint / "random", offset, 100).verdict == RIGHT
        if kind == "web":  # a server that ignores ranges is asked for all of it
            place.proxy.inject(faults.whole(), when=lambda request: request.path.endswith("/stream"), times=2)
        assert wire_cases.read(mount.mountpoint / "stream").verdict == RIGHT
        list(client.warm(mount.mountpoint))
        assert {
            each.verdict
            for each in at_once(lambda name: wire_cases.read(mount.mountpoint / name), [*place.frozen]).values()
        } == {RIGHT}
    check_pins(place, least=12)
    assert any(request.reads and request.range is None for request in place.proxy.requests) is (kind == "web")


def test_every_get_of_a_download_carries_the_frozen_etag(kind: str, place: Place, tmp_path: Path) -> None:
    manifest = place.manifest(tmp_path / "manifest", *place.frozen)
    download(manifest, tmp_path / "copy", credentials=place.credentials, verify_wire=kind == "verified")
    check_pins(place, least=len(place.frozen))
