"""Downloads: the same bytes as the mount, whole or absent, and resumed."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mountd.download
from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.download import download
from mountd.errors import (
    DataChangedError,
    DestinationExistsError,
    StoreUnreachableError,
)
from mountd.stores import registry
from mountd.stores.base import Buffer
from mountd.stores.credentials import Credential
from mountd.stores.memory import MemoryStore
from tests.support.azurite import Azurite
from tests.support.content import content, make_tree
from tests.support.downloads import (
    BIG,
    RANGE_BYTES,
    SIZES,
    TIME_NS,
    World,
    Wrap,
    as_is,
    check_whole,
    frozen,
    small_ranges,
    world,
    wrapped,
)
from tests.support.http_server import HttpServer

__all__ = ["small_ranges", "world", "wrapped"]  # fixtures


def test_every_byte_time_and_folder_arrives(world: World) -> None:
    done = world.download()
    check_whole(world.target, SIZES)
    assert (done.files, done.size_bytes, done.fetched_bytes) == (4, sum(SIZES.values()), sum(SIZES.values()))
    for info in world.store.list():
        assert (world.target / info.key).stat().st_mtime_ns // 100 == info.mtime_ns // 100
    assert (world.target / "empty").is_dir()
    assert (world.target / "empty").stat().st_mtime_ns // 100 == TIME_NS // 100
    assert sorted(path.name for path in world.target.iterdir()) == ["0", "deep", "empty", "ünï c.txt"]


def test_progress_ends_at_the_total_and_is_told_by_the_calling_thread(world: World) -> None:
    told: list[tuple[int, int]] = []
    tellers: set[int] = set()

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        tellers.add(threading.get_ident())

    download(world.manifest, world.target, progress=progress)
    assert told[0] == (0, sum(SIZES.values()))
    assert told[-1] == (sum(SIZES.values()), sum(SIZES.values()))
    assert told == sorted(told)
    assert tellers == {threading.get_ident()}


def test_a_large_file_comes_in_ranges(world: World, wrapped: Wrap) -> None:
    calls = wrapped(as_is)
    world.download()
    ranges = [offset for key, offset in calls if key == "deep/er/big.bin"]
    assert sorted(ranges) == [number * RANGE_BYTES for number in range(4)]


class TestResuming:
    @pytest.mark.parametrize("md5", [True, False])
    def test_a_second_call_fetches_nothing(self, world: World, wrapped: Wrap, *, md5: bool) -> None:
        world.freeze(md5=md5)
        world.download()
        calls = wrapped(as_is)
        assert world.download().fetched_bytes == 0
        assert calls == []
        check_whole(world.target, SIZES)

    @pytest.mark.parametrize("md5", [True, False])
    def test_a_broken_off_download_goes_on(
        self, world: World, wrapped: Wrap, monkeypatch: pytest.MonkeyPatch, *, md5: bool
    ) -> None:
        world.freeze(md5=md5)

        def fail_at_big(key: str, offset: int, data: Buffer) -> Buffer:
            if key == "deep/er/big.bin" and offset:
                raise StoreUnreachableError("the store is gone")
            return data

        wrapped(fail_at_big)
        with pytest.raises(StoreUnreachableError):
            download(world.manifest, world.target, threads=1)
        assert not (world.target / "deep/er/big.bin").exists()
        assert not list(world.target.glob(".*"))
        present = {str(path.relative_to(world.target)) for path in world.target.rglob("*") if path.is_file()}
        monkeypatch.undo()
        calls = wrapped(as_is)
        world.download()
        assert {key for key, _ in calls}.isdisjoint(present)
        assert len(present) >= 2
        check_whole(world.target, SIZES)

    def test_a_killed_one_leaves_no_half_file_and_its_rest_is_cleaned(self, world: World, tmp_path: Path) -> None:
        source = make_tree(tmp_path / "source", SIZES)
        with_local = tmp_path / "local.sqlite"
        infos = registry.open_lister(registry.file_url(source), None).list()
        write_manifest(with_local, [registry.file_url(source)], [frozen(info) for info in infos])
        script = (
            "import os, pathlib, sys; import mountd.download as d\n"
            "whole = d._finish\n"
            "def finish(file, address):\n"
            "    if file.path.endswith('big.bin'): os._exit(9)\n"
            "    whole(file, address)\n"
            "d._finish = finish\n"
            "d.download(*map(pathlib.Path, sys.argv[1:]))\n"
        )
        command = [sys.executable, "-c", script, str(with_local), str(world.target)]
        assert subprocess.run(command, check=False).returncode == 9
        assert not (world.target / "deep/er/big.bin").exists()
        assert (world.target / ".moorage-download").is_dir()
        download(with_local, world.target)
        check_whole(world.target, SIZES)
        assert not (world.target / ".moorage-download").exists()

    def test_without_its_record_the_md5_decides(self, world: World, wrapped: Wrap) -> None:
        world.download()
        (world.target.parent / ".target.moorage-download").unlink()
        calls = wrapped(as_is)
        assert world.download().fetched_bytes == 0
        assert calls == []

    def test_without_record_and_md5_a_file_is_not_trusted(self, world: World) -> None:
        world.freeze(md5=False)
        world.download()
        (world.target.parent / ".target.moorage-download").unlink()
        with pytest.raises(DestinationExistsError):
            world.download()
        assert world.download(overwrite=True).fetched_bytes == sum(SIZES.values())

    @pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"digest": 3}', b"\xff"])
    def test_a_damaged_record_is_no_record(self, world: World, damage: bytes) -> None:
        world.download()
        (world.target.parent / ".target.moorage-download").write_bytes(damage)
        assert world.download().fetched_bytes == 0

    def test_where_no_record_can_be_kept_the_download_works_all_the_same(self, world: World) -> None:
        (world.target.parent / ".target.moorage-download").mkdir()
        world.download()
        check_whole(world.target, SIZES)

    def test_an_overwriting_download_that_broke_off_still_doubts_what_it_had_not_replaced(
        self, world: World, wrapped: Wrap, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.freeze(md5=False)
        info = next(info for info in world.store.list() if info.key == "ünï c.txt")
        world.target.mkdir()
        impostor = world.target / info.key
        impostor.write_bytes(bytes(info.size))
        os.utime(impostor, ns=(info.mtime_ns, info.mtime_ns))

        def fail(*_: object) -> Buffer:
            raise StoreUnreachableError("the store is gone")

        wrapped(fail)
        with pytest.raises(StoreUnreachableError):
            world.download(overwrite=True)
        monkeypatch.undo()
        world.download(overwrite=True)
        check_whole(world.target, SIZES)


def test_a_second_download_into_a_target_is_refused_and_harms_nothing(world: World) -> None:
    said = list[str]()

    def second(_: int, __: int) -> None:
        if not said:
            with pytest.raises(DestinationExistsError) as refusal:
                download(world.manifest, world.target)
            said.append(str(refusal.value))

    download(world.manifest, world.target, progress=second)
    assert said == [f"{world.target}: another download fills it; wait for its end, then go on"]
    check_whole(world.target, SIZES)
    assert world.download().fetched_bytes == 0


def test_an_error_ends_the_threads(world: World) -> None:
    world.store.delete("0/a.png")
    with pytest.raises(DataChangedError):
        world.download()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("download")]


@settings(deadline=None, max_examples=30)  # files are made
@given(
    st.dictionaries(st.sampled_from(["a", "b/c", "b/d", "e/f/g", "h"]), st.integers(0, 40), min_size=1),
    st.integers(1, 9),
)
def test_whatever_the_sizes_and_ranges_the_bytes_are_the_stores(
    tmp_path_factory: pytest.TempPathFactory, sizes: dict[str, int], range_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    world = World(folder)
    world.fill(sizes)
    world.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mountd.download, "RANGE_BYTES", range_bytes)
        download(world.manifest, world.target, threads=3)
    check_whole(world.target, sizes)


class TestStores:
    def test_a_local_folder_is_copied(self, tmp_path: Path) -> None:
        source = make_tree(tmp_path / "source", SIZES)
        url = registry.file_url(source)
        write_manifest(tmp_path / "m", [url], [frozen(info) for info in registry.open_lister(url, None).list()])
        download(tmp_path / "m", tmp_path / "target")
        assert subprocess.run(["diff", "-r", source, tmp_path / "target"], check=False).returncode == 0

    def test_several_sources_in_one_tree(self, tmp_path: Path) -> None:
        names = [uuid4().hex, uuid4().hex]
        stores = [MemoryStore(name) for name in names]
        infos = [store.put("x", name.encode()) for store, name in zip(stores, names, strict=True)]
        files = [FrozenFile(f"{n}/y", i.size, i.etag, i.mtime_ns, source=n, key="x") for n, i in enumerate(infos)]
        write_manifest(tmp_path / "m", [store.url for store in stores], files)
        download(tmp_path / "m", tmp_path / "target")
        assert [(tmp_path / "target" / f"{n}/y").read_text() for n in (0, 1)] == names

    def test_https(self, tmp_path: Path) -> None:
        with HttpServer.start() as server:
            server.put("/data/big.bin", content("big.bin", 0, BIG), etag='"v1"')
            base = f"{server.endpoint}/data/"
            infos = list(registry.open_lister(base, None).list("big.bin"))
            write_manifest(tmp_path / "m", [base], [frozen(info) for info in infos])
            download(tmp_path / "m", tmp_path / "target")
        check_whole(tmp_path / "target", {"big.bin": BIG})

    @pytest.mark.azurite
    def test_blobs_with_a_credential_by_source(self, tmp_path: Path, azurite: Azurite) -> None:
        base = azurite.make_container("download")
        for path, size in SIZES.items():
            azurite.put("download", path, content(path, 0, size))
        credential = Credential("connection_string", azurite.connection_string)
        infos = list(registry.open_lister(base, credential).list())
        write_manifest(tmp_path / "m", [base], [frozen(info) for info in infos])
        download(tmp_path / "m", tmp_path / "target", credentials={base: credential})
        check_whole(tmp_path / "target", SIZES)
        assert azurite.connection_string not in (tmp_path / ".target.moorage-download").read_text()


def test_it_works_where_linux_is_not(tmp_path: Path) -> None:
    """A process that has none of what only Linux has: the same bytes, from a local folder."""
    source = make_tree(tmp_path / "source", SIZES)
    script = """
import os, sys
for name in ("fcntl", "pwd", "grp", "termios", "resource"):
    sys.modules[name] = None
for name in ("fork", "O_DIRECT", "preadv", "RWF_NOWAIT", "geteuid", "memfd_create", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY"):
    if hasattr(os, name):
        delattr(os, name)
from pathlib import Path
from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.download import download
from mountd.stores import registry
url = registry.file_url(Path(sys.argv[1]))
infos = registry.open_lister(url, None).list()
write_manifest(Path(sys.argv[2]), [url], [FrozenFile(i.key, i.size, i.etag, i.mtime_ns, i.is_directory) for i in infos])
print(download(Path(sys.argv[2]), Path(sys.argv[3])).fetched_bytes)
"""
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "m"), str(tmp_path / "target")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout == f"{sum(SIZES.values())}\n", told.stderr
    check_whole(tmp_path / "target", SIZES)


def test_the_md5_of_the_content_is_what_a_store_tells() -> None:
    info = MemoryStore("md5").put("x", b"x")
    assert info.md5 == hashlib.md5(b"x", usedforsecurity=False).digest()
