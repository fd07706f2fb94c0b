"""A Data Lake from end to end: frozen, mounted, downloaded, found changed, looked at by doctor."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd.download import download
from mountd.errors import DataChangedError
from mountd.freeze import FreezeSource, freeze
from mountd.stores.credentials import Credential
from tests.support.content import content
from tests.support.datalake_server import KEY, DataLakeServer
from tests.support.mounts import mounted

MOUNTD = Path(sys.executable).with_name("mountd")
SIZES = {"a b/ü%41": 5000, "a b/deep/large": 3_000_000, "zero": 0, "top": 10}
CREDENTIAL = Credential("key", KEY)


@pytest.fixture
def server() -> Iterator[DataLakeServer]:
    with DataLakeServer.start() as server:
        server.make("lake")
        for path, size in SIZES.items():
            server.put("lake", f"data/{path}", content(path, 0, size))
        server.make_folder("lake", "data/empty/below")
        server.make_folder("lake", "data/.moorage/outputs")
        yield server


def found(folder: Path) -> dict[str, bytes | None]:
    """Every path below `folder`; None for a directory."""
    below = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: None if path.is_dir() else path.read_bytes() for name, path in below.items()}


EXPECTED = {
    **{path: content(path, 0, size) for path, size in SIZES.items()},
    **dict.fromkeys(("a b", "a b/deep", "empty", "empty/below")),
}


@pytest.mark.fuse
@pytest.mark.parametrize("verify_wire", ["false", "true"])
def test_a_mount_shows_what_was_frozen_and_its_empty_folders(
    server: DataLakeServer, tmp_path: Path, verify_wire: str
) -> None:
    with mounted(tmp_path, server.url("lake", "data/"), CREDENTIAL, verify_wire=verify_wire) as mount:
        assert found(mount.mountpoint) == EXPECTED
        fetched = len(server.asked("read"))
        assert (mount.mountpoint / "top").read_bytes() == content("top", 0, 10)
        assert len(server.asked("read")) == fetched


@pytest.mark.fuse
def test_a_changed_file_is_estale(server: DataLakeServer, tmp_path: Path) -> None:
    with mounted(tmp_path, server.url("lake", "data/"), CREDENTIAL) as mount:
        server.put("lake", "data/top", b"0123456789")
        with pytest.raises(OSError, match="Stale") as caught:
            (mount.mountpoint / "top").read_bytes()
        assert caught.value.errno == errno.ESTALE


def test_a_download_is_the_same_bytes_and_folders(server: DataLakeServer, tmp_path: Path) -> None:
    url, manifest = server.url("lake", "data/"), tmp_path / "manifest"
    summary = freeze([FreezeSource(url, CREDENTIAL)], manifest)
    assert (summary.files, summary.size_bytes) == (len(SIZES), sum(SIZES.values()))
    download(manifest, tmp_path / "copy", credentials={url: CREDENTIAL})
    assert found(tmp_path / "copy") == EXPECTED
    server.put("lake", "data/top", b"0123456789")
    with pytest.raises(DataChangedError, match="data/top"):
        download(manifest, tmp_path / "other", credentials={url: CREDENTIAL})


def test_the_commands_take_the_key_of_the_environment(server: DataLakeServer, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "MOORAGE_"))}
    environment = {**kept, "AZURE_STORAGE_KEY": KEY, "MOORAGE_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [MOUNTD, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    url = server.url("lake", "data")
    run("freeze", url, "-o", "manifest")
    run("verify", "manifest")
    run("diff", "manifest")
    told = {row["check"]: (row["verdict"], row["text"]) for row in json.loads(run("doctor", "--json", url))}
    assert [told[each][0] for each in ("connection", "store clock", "listing")] == ["ok"] * 3
    server.put("lake", "data/top", b"0123456789")
    assert "top" in run("diff", "manifest", code=9)
    environment["AZURE_STORAGE_KEY"] = "d3Jvbmc="
    assert "the credential is refused" in run("freeze", url, "-o", "other", code=5)
    assert not (tmp_path / "other").exists()
