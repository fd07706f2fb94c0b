"""A file share from end to end: mounted, downloaded and written to through the code that every store goes through."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.download import download
from mountd.errors import DestinationExistsError
from mountd.stores import registry
from mountd.stores.credentials import Credential
from mountd.uploading.uploader import upload
from tests.support.azurite import KEY
from tests.support.content import content, make_tree
from tests.support.fileshare_server import FileShares
from tests.support.mounts import mounted

OWN = Credential("key", KEY)
SIZES = {"a.bin": 100, "Deep/b.bin": 3_000_000, "Deep/er/ünï c.bin": 0, "dots./x.": 70_000}


@pytest.fixture
def server() -> Iterator[FileShares]:
    with FileShares.start() as running:
        running.make_share("share")
        yield running


@pytest.fixture
def filled(server: FileShares) -> str:
    """The URL of a folder with a file of each size, and an empty folder."""
    for path, size in SIZES.items():
        server.put("share", f"data/{path}", content(path, 0, size))
    server.put("share", "data/empty/gone", b"")
    server.remove("share", "data/empty/gone")
    return server.url("share", "data/")


def check(root: Path) -> None:
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    assert {path for path, each in found.items() if each.is_file()} == set(SIZES)
    assert found["empty"].is_dir()
    for path, size in SIZES.items():
        assert found[path].read_bytes() == content(path, 0, size)


@pytest.mark.fuse
def test_a_share_is_mounted_and_what_changes_there_is_an_error(server: FileShares, filled: str, tmp_path: Path) -> None:
    with mounted(tmp_path, filled, OWN) as mount:
        root = mount.mountpoint
        written_ns = next(info.mtime_ns for info in registry.open_lister(filled, OWN).list("a"))
        assert (root / "a.bin").stat().st_mtime_ns == written_ns
        server.put("share", "data/a.bin", b"other")
        with pytest.raises(OSError, match=r"Stale file handle|Input/output error") as caught:
            (root / "a.bin").read_bytes()
        assert caught.value.errno in {errno.ESTALE, errno.EIO}  # the kernel flattens some
        server.put("share", "data/Deep/er/new.bin", b"not frozen")
        found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        assert found == set(SIZES)
        for path, size in SIZES.items():
            assert path == "a.bin" or (root / path).read_bytes() == content(path, 0, size)


@pytest.mark.fuse
def test_a_job_s_output_is_uploaded_and_can_be_mounted(server: FileShares, tmp_path: Path) -> None:
    made, url = make_tree(tmp_path / "made", SIZES), server.url("share", "out/")
    files = [(made / path, path) for path in SIZES]
    store = registry.open_writer(url, OWN), registry.open_lister(url, OWN)
    done = upload(files, *store)
    assert (done.files, done.size_bytes) == (len(SIZES), sum(SIZES.values()))
    with pytest.raises(DestinationExistsError, match=r"Deep/b\.bin"):
        upload(files, *store)
    with mounted(tmp_path, url, OWN) as mount:
        for path, size in SIZES.items():
            assert (mount.mountpoint / path).read_bytes() == content(path, 0, size)


@pytest.mark.parametrize("verified", [False, True])
def test_a_share_is_downloaded(filled: str, tmp_path: Path, verified: bool) -> None:  # noqa: FBT001 - a parameter
    infos = list(registry.open_lister(filled, OWN).list())
    frozen = [FrozenFile(info.key, info.size, info.etag, info.mtime_ns, info.is_directory) for info in infos]
    write_manifest(tmp_path / "m", [filled], frozen)
    download(tmp_path / "m", tmp_path / "target", credentials={filled: OWN}, verify_wire=verified)
    check(tmp_path / "target")
