"""Versions and snapshots from the outside: mounts, downloads and `mountd diff` of what was overwritten after the freeze."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient

from mountd.dataset.manifest import Manifest
from mountd.diff import diff
from mountd.download import download
from mountd.errors import BadInputError, NotFoundError
from mountd.freeze import FreezeSource, freeze, freeze_source
from mountd.stores.credentials import Credential
from tests.support.azurite import Azurite
from tests.support.content import content
from tests.support.mounts import mounted
from tests.support.version_server import VersionServer

SIZES = {"deleted": 300_000, "large": 5_000_000, "over/written": 100, "same": 100}
ANYONE = Credential("anonymous", "")
WIRE = pytest.mark.parametrize("verify", ["false", "true"], ids=["plain", "verified"])


@pytest.fixture
def server() -> Iterator[VersionServer]:
    with VersionServer.start() as server:
        for key, size in SIZES.items():
            server.put(key, content(key, 0, size))
        yield server


def overwrite(server: VersionServer) -> None:
    """Everything but `same`, with as many bytes as before."""
    for key in ("large", "over/written"):
        server.put(key, content("new", 0, SIZES[key]))
    server.remove("deleted")


def held(folder: Path) -> dict[str, bool]:
    """For each file whether it holds what was frozen."""
    return {key: (folder / key).read_bytes() == content(key, 0, size) for key, size in SIZES.items()}


def mountd(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("mountd")), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.fuse
@WIRE
def test_a_mount_shows_the_frozen_versions_of_blobs_that_were_overwritten_or_deleted(
    tmp_path: Path, server: VersionServer, verify: str
) -> None:
    with mounted(tmp_path, server.url, ANYONE, verify_wire=verify) as mount:
        overwrite(server)
        assert held(mount.mountpoint) == dict.fromkeys(SIZES, True)
        assert len(server.listings()) == 3  # whatever the number of extents


def test_a_download_brings_the_frozen_versions(tmp_path: Path, server: VersionServer) -> None:
    freeze([FreezeSource(server.url, ANYONE)], tmp_path / "m")
    overwrite(server)
    download(tmp_path / "m", tmp_path / "copy", credentials={server.url: ANYONE})
    assert held(tmp_path / "copy") == dict.fromkeys(SIZES, True)


@pytest.mark.azurite
@pytest.mark.fuse
def test_a_mount_shows_the_snapshot_of_a_blob_that_was_overwritten(tmp_path: Path, azurite: Azurite) -> None:
    name = "snap" + os.urandom(6).hex()
    url = azurite.make_container(name)
    for key, size in SIZES.items():
        azurite.put(name, key, content(key, 0, size))
    with mounted(tmp_path, url, Credential("connection_string", azurite.connection_string)) as mount:
        with BlobClient.from_connection_string(azurite.connection_string, name, "large") as blob:
            blob.create_snapshot()
        azurite.put(name, "large", content("new", 0, 7))
        assert held(mount.mountpoint) == dict.fromkeys(SIZES, True)


def test_diff_tells_of_what_changed_or_is_gone_whether_the_store_keeps_it(
    tmp_path: Path, server: VersionServer
) -> None:
    freeze([FreezeSource(server.url, ANYONE)], tmp_path / "m")
    overwrite(server)
    server.put("new", b"new")
    server.versions = [each for each in server.versions if each.key != "over/written" or each.is_current]
    found = {each.path: (each.kind, each.kept) for each in diff(tmp_path / "m", {server.url: ANYONE}, new=True)}
    assert found == {
        "large": ("changed", True),
        "over/written": ("changed", False),
        "deleted": ("gone", True),
        "new": ("new", None),
    }
    done = mountd("diff", tmp_path / "m", "--credential", "anonymous")
    assert done.returncode == 9
    kept = {line.split()[1].rstrip(":"): "the frozen version is kept" in line for line in done.stdout.splitlines()}
    assert kept == {"large": True, "over/written": False, "deleted": True}
    told = mountd("diff", tmp_path / "m", "--credential", "anonymous", "--json").stdout.splitlines()
    assert {each["path"]: each["kept"] for each in map(json.loads, told)} == kept


def test_diff_goes_on_where_versions_may_not_be_listed(tmp_path: Path, server: VersionServer) -> None:
    freeze([FreezeSource(server.url, ANYONE)], tmp_path / "m")
    overwrite(server)
    server.refused.add("versions")
    found = list(diff(tmp_path / "m", {server.url: ANYONE}))
    assert [(each.path, each.kept) for each in found] == [("large", False), ("over/written", False), ("deleted", False)]


@pytest.mark.fuse
def test_a_source_that_names_a_version_is_frozen_mounted_and_downloaded(tmp_path: Path, server: VersionServer) -> None:
    first = server.find("over/written", "")
    assert first is not None
    overwrite(server)
    source = f"{server.url}over/written?versionid={first.moment}"
    assert freeze_source(source, ANYONE, tmp_path / "m").files == 1
    with Manifest.open(tmp_path / "m") as opened:
        [(path, entry)] = opened.files()
        assert (path, entry.etag, opened.sources) == ("written", first.etag, (f"{server.url}over/",))
    cache = str(tmp_path / "cache")
    done = mountd("download", source, tmp_path / "copy", "--credential", "anonymous", MOORAGE_CACHE_DIR=cache)
    assert done.returncode == 0, done.stderr
    mountpoint = tmp_path / "mnt"
    done = mountd("mount", source, mountpoint, "--credential", "anonymous", MOORAGE_CACHE_DIR=cache)
    assert done.returncode == 0, done.stderr
    try:
        for folder in (tmp_path / "copy", mountpoint):
            assert (folder / "written").read_bytes() == content("over/written", 0, 100)
    finally:
        assert mountd("unmount", mountpoint).returncode == 0


@pytest.mark.azurite
def test_a_source_that_names_a_snapshot_is_frozen_and_downloaded(tmp_path: Path, azurite: Azurite) -> None:
    name = "snap" + os.urandom(6).hex()
    url = azurite.make_container(name)
    azurite.put(name, "d/x", content("old", 0, 900))
    with BlobClient.from_connection_string(azurite.connection_string, name, "d/x") as blob:
        snapshot = blob.create_snapshot()["snapshot"]
    azurite.put(name, "d/x", content("new", 0, 500))
    credential = Credential("connection_string", azurite.connection_string)
    freeze_source(f"{url}d/x?snapshot={snapshot}", credential, tmp_path / "m")
    download(tmp_path / "m", tmp_path / "copy", credentials={f"{url}d/": credential})
    assert (tmp_path / "copy/x").read_bytes() == content("old", 0, 900)


def test_a_version_that_is_not_there_is_named_and_leaves_nothing(tmp_path: Path, server: VersionServer) -> None:
    source = f"{server.url}same?versionid=2025-01-01T00:00:00.0000000Z"
    with pytest.raises(NotFoundError, match=r"same\?versionid=2025-01-01T00:00:00.0000000Z: no such"):
        freeze_source(source, ANYONE, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("http://127.0.0.1:1/acct/cont/folder/?versionid=2025-01-01T00:00:00.0000000Z", "one blob"),
        ("http://127.0.0.1:1/acct/cont?snapshot=2025-01-01T00:00:00.0000000Z", "one blob"),
        ("http://127.0.0.1:1/acct/cont/x?snapshot=", "no moment"),
        ("http://127.0.0.1:1/acct/cont/x?snapshot=yesterday%0a", "no moment"),
        ("http://127.0.0.1:1/acct/cont/x?snapshot=2025-01-01T00:00:00.0000000Z&sig=secret", "SAS token"),
        ("http://127.0.0.1:1/acct/cont/x?snapshot=2025-01-01T00:00:00.0000000Z&versionid=2", "not supported"),
        ("https://host/file?snapshot=2025-01-01T00:00:00.0000000Z", "only Azure blobs"),
        ("abfss://cont@acct.dfs.core.windows.net/x?snapshot=2025-01-01T00:00:00.0000000Z", "only Azure blobs"),
    ],
)
def test_a_moment_where_there_can_be_none_is_refused_in_one_line(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as told:
        freeze_source(source, ANYONE, tmp_path / "m")
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)
