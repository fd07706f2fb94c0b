"""A real mount, as programs see it, by either driver. The clauses of docs/semantics.md are named by these tests."""

import ctypes
import errno
import json
import mmap
import os
import platform
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mountd import client
from mountd.dataset.manifest import FrozenFile, write_manifest
from tests.support.content import content, make_tree
from tests.support.mounts import ODD_NAMES, mounted, mounts_below

pytestmark = [pytest.mark.fuse, pytest.mark.usefixtures("driver")]

MIB = 1 << 20
GETDENTS64 = 217 if platform.machine() == "x86_64" else 61
SIZES = {
    "zero": 0,
    "one": 1,
    "extent less one": MIB - 1,
    "extent": MIB,
    "extent and one": MIB + 1,
    "folder/three extents and seven": 3 * MIB + 7,
    "folder/deep/ü": 5000,
    "empty/": 0,
    **{f"many/{n:05}": n % 100 for n in range(3000)},
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"), SIZES)


@pytest.fixture(scope="module", params=["auto", "always"])
def mount(
    request: pytest.FixtureRequest, driver: str, tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[client.Mount]:
    """The tree mounted twice: read in place, and through cache, fetcher and read-ahead."""
    with mounted(tmp_path_factory.mktemp("m"), tree, cache=request.param) as mount:
        assert mount.status()["driver"] == driver
        yield mount


def test_diff_finds_no_difference(mount: client.Mount, tree: Path) -> None:
    done = subprocess.run(["diff", "-r", tree, mount.mountpoint], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_names_sizes_times_and_modes_are_the_frozen_ones(mount: client.Mount, tree: Path) -> None:
    for folder, folders, files in os.walk(mount.mountpoint):
        original = tree / Path(folder).relative_to(mount.mountpoint)
        assert sorted(folders + files) == sorted(each.name for each in original.iterdir())
        for name in files:
            told, expected = (Path(folder) / name).stat(), (original / name).stat()
            assert (told.st_size, told.st_mtime_ns) == (expected.st_size, expected.st_mtime_ns)
            assert told.st_mode == 0o100444
        assert Path(folder).stat().st_mode == 0o40555


def test_any_range_read_by_many_threads_is_the_content(mount: client.Mount) -> None:
    files = [name for name in SIZES if not name.endswith("/")]

    def check(seed: int) -> int:
        rng, wrong = random.Random(seed), 0
        for _ in range(60):
            name = rng.choice(files)
            offset, size = rng.randrange(0, 4 * MIB), rng.choice([1, 4096, 70_000, MIB + 5])
            with (mount.mountpoint / name).open("rb", buffering=0) as stream:
                data = os.pread(stream.fileno(), size, offset)
            wrong += data != content(name, offset, max(0, min(size, SIZES[name] - offset)))
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(check, range(8))) == 0


def test_mmap_shows_the_content(mount: client.Mount) -> None:
    name = "folder/three extents and seven"
    with (
        (mount.mountpoint / name).open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        for offset in (3 * MIB, 0, MIB - 3, 2 * MIB + 11):
            assert mapped[offset : offset + 100] == content(name, offset, min(100, SIZES[name] - offset))


def test_a_descriptor_works_after_dup_and_across_fork(mount: client.Mount) -> None:
    code = "import os, sys; print(len(os.pread(int(sys.argv[1]), 5000, 1)))"
    with (mount.mountpoint / "folder/deep/ü").open("rb") as stream:
        copy = os.dup(stream.fileno())
        try:
            command = [sys.executable, "-c", code, str(copy)]
            done = subprocess.run(command, pass_fds=[copy], capture_output=True, text=True, check=True)
        finally:
            os.close(copy)
    assert done.stdout.strip() == "4999"


def test_what_was_read_is_in_the_page_cache_and_is_not_asked_for_again(mount: client.Mount) -> None:
    for reads in ("the first", "the second"):
        before = mount.status()["reads"]
        assert (mount.mountpoint / "folder/deep/ü").read_bytes() == content("folder/deep/ü", 0, 5000), reads
    assert mount.status()["reads"] == before


def test_a_long_listing_has_every_name_once(mount: client.Mount) -> None:
    with os.scandir(mount.mountpoint / "many") as entries:
        names = [entry.name for entry in entries]
    assert sorted(names) == [f"{n:05}" for n in range(3000)]
    assert len(set(names)) == len(names)


def test_a_listing_goes_on_from_wherever_its_reader_was(mount: client.Mount) -> None:
    descriptor = os.open(mount.mountpoint / "many", os.O_RDONLY | os.O_DIRECTORY)
    try:
        records = list(rest_of_listing(descriptor))
        assert sorted(name for _, name in records) == [b".", b"..", *(b"%05d" % n for n in range(3000))]
        for place in (0, 1, 2, 63, 64, 1500, 2999, len(records) - 1):
            os.lseek(descriptor, records[place][0], os.SEEK_SET)
            assert list(rest_of_listing(descriptor)) == records[place + 1 :]
    finally:
        os.close(descriptor)


def rest_of_listing(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset of the next, name) by getdents64, which os.scandir hides."""
    buffer = ctypes.create_string_buffer(1 << 15)
    while (filled := ctypes.CDLL(None).syscall(GETDENTS64, descriptor, buffer, len(buffer))) > 0:
        start = 0
        while start < filled:
            _, following, length, _ = struct.unpack_from("<QqHB", buffer, start)
            yield following, buffer.raw[start + 19 : start + length].split(b"\0")[0]
            start += length


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "new").write_bytes(b"x"),
        lambda root: (root / "one").write_bytes(b"x"),
        lambda root: (root / "one").unlink(),
        lambda root: (root / "folder").rename(root / "renamed"),
        lambda root: (root / "sub").mkdir(),
        lambda root: (root / "one").chmod(0o777),
        lambda root: os.utime(root / "one"),
        lambda root: (root / "link").symlink_to("a"),
    ],
    ids=["create", "write", "unlink", "rename", "mkdir", "chmod", "utime", "symlink"],
)
def test_every_change_is_erofs(mount: client.Mount, change: object) -> None:
    with pytest.raises(OSError, match="Read-only") as caught:
        change(mount.mountpoint)  # type: ignore[operator]  # a lambda of the list above
    assert caught.value.errno == errno.EROFS


def test_status_has_the_keys_of_the_contract(mount: client.Mount) -> None:
    status = mount.status()
    assert set(status) >= {"mountpoint", "source", "driver", "supervisor_pid", "worker_pid", "restarts", "files"}
    assert set(status) >= {"bytes", "uptime_s", "reads", "fetch", "cache", "memory", "prefetch", "plan"}
    assert set(status["reads"]) == {"count", "bytes", "waited", "wait_us"}
    assert set(status["fetch"]) >= {"requests", "bytes", "errors", "retries", "hedged", "in_flight"}
    assert set(status["cache"]) >= {"hits", "misses", "bytes", "limit_bytes", "corrupt"}
    assert status["files"] == sum(not name.endswith("/") for name in SIZES)
    assert status["supervisor_pid"] == mount.pid


def test_status_is_also_an_attribute_of_the_mount_point(mount: client.Mount) -> None:
    value = os.getxattr(mount.mountpoint, "user.mountd.status")
    assert len(value) == 2048
    assert json.loads(value)["supervisor_pid"] == mount.pid
    with pytest.raises(OSError, match="No data") as caught:
        os.getxattr(mount.mountpoint, "user.other")
    assert caught.value.errno == errno.ENODATA


def test_local_folders_are_read_in_place_and_nothing_is_fetched(tree: Path, tmp_path: Path) -> None:
    with mounted(tmp_path, tree) as mount:
        (mount.mountpoint / "extent").read_bytes()
        status = mount.status()
    assert status["reads"]["bytes"] == MIB
    assert (status["fetch"]["requests"], status["cache"]["bytes"]) == (0, 0)
    assert not (tmp_path / "cache").exists()


def test_what_was_fetched_once_is_not_fetched_again_by_the_next_mount(tree: Path, tmp_path: Path) -> None:
    for expected in (3 * MIB + 7, 0):
        with mounted(tmp_path, tree, cache="always") as mount:
            assert (mount.mountpoint / "folder/three extents and seven").stat().st_size == 3 * MIB + 7
            data = (mount.mountpoint / "folder/three extents and seven").read_bytes()
            assert data == content("folder/three extents and seven", 0, 3 * MIB + 7)
            fetch = mount.status()["fetch"]
            assert expected <= fetch["bytes"] <= expected + fetch["hedged"] * MIB  # a slow machine asks twice


@pytest.mark.parametrize("cache", ["auto", "always"])
def test_a_file_changed_after_the_freeze_is_estale_and_the_others_are_not(tmp_path: Path, cache: str) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 5000, "b": 5000})
    with mounted(tmp_path, tree, cache=cache) as mount:
        (tree / "a").write_bytes(b"x" * 5000)
        with pytest.raises(OSError, match="Stale") as caught:
            (mount.mountpoint / "a").read_bytes()
        assert caught.value.errno == errno.ESTALE
        assert (mount.mountpoint / "b").read_bytes() == content("b", 0, 5000)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_may_lead_to_mount_point_manifest_and_cache(tree: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with mounted(folder, tree, cache="always") as mount:
        assert (mount.mountpoint / "one").read_bytes() == content("one", 0, 1)
        assert mount.status()["mountpoint"] == str(folder / "mnt")
        assert folder / "mnt" in mounts_below(tmp_path)


def test_a_file_that_is_gone_is_estale(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 5000})
    with mounted(tmp_path, tree) as mount:
        (tree / "a").unlink()
        with pytest.raises(OSError, match="Stale"):
            (mount.mountpoint / "a").read_bytes()


def test_a_store_that_does_not_answer_is_eio_within_the_deadline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/folder/"
        write_manifest(tmp_path / "m", [url], [FrozenFile("f", 100, "len:100", 0)])
        settings = {"read_deadline": "2s", "cache_dir": str(tmp_path / "cache")}
        with client.start(tmp_path / "m", tmp_path / "mnt", settings=settings, lifeline=True) as mount:
            with pytest.raises(OSError, match="Input/output") as caught:
                (mount.mountpoint / "f").read_bytes()
            assert caught.value.errno == errno.EIO


def test_no_secret_is_in_argv_environment_or_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", "c2VjcmV0c2VjcmV0")
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 5})) as mount:
        proc = Path(f"/proc/{mount.pid}")
        if os.geteuid() == 0:  # the worker is undumpable: only root may look
            assert b"c2VjcmV0" not in (proc / "environ").read_bytes()
        assert b"c2VjcmV0" not in (proc / "cmdline").read_bytes()
        assert (proc / "cwd").readlink() == Path("/")
        limits = (proc / "limits").read_text()
        assert next(line for line in limits.splitlines() if "core file" in line).split()[4:6] == ["0", "0"]
