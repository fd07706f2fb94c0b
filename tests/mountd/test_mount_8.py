"""mount(8), umount(8), findmnt(8) and fstab with mounts of ours, as a machine's own tools use them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd.stores.registry import file_url
from tests.support.content import make_tree
from tests.support.mount_namespace import MountNamespace, mount_namespace
from tests.support.mounts import is_running
from tests.support.users import root_only
from tests.support.waiting import until

pytestmark = root_only
MOUNTD = Path(sys.executable).with_name("mountd")
SIZES = {"a": 5000, "folder/b": 300_000}


@pytest.fixture
def source(tmp_path: Path) -> str:
    return file_url(make_tree(tmp_path / "a tree", SIZES)).replace("%20", " ")  # with a blank, as one may write it


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    (tmp_path / "m n t").mkdir()
    return tmp_path / "m n t"


@pytest.fixture
def inside(tmp_path: Path, mountpoint: Path) -> Iterator[MountNamespace]:
    environment = {"MOORAGE_CACHE_DIR": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    with mount_namespace(tmp_path / "overlay", environment) as namespace:
        yield namespace
        if namespace.options(mountpoint) is not None:
            namespace.run(MOUNTD, "unmount", "--force", mountpoint)
        assert namespace.options(mountpoint) is None


def pids(inside: MountNamespace, mountpoint: Path) -> set[int]:
    status = json.loads(inside.run(MOUNTD, "status", mountpoint, "--json").stdout)
    return {status[name] for name in ("supervisor_pid", "worker_pid") if status[name]}


def test_mount_and_umount(inside: MountNamespace, mountpoint: Path, source: str) -> None:
    done = inside.run("mount", "-v", "-t", "moorage", source, mountpoint, "-o", "noexec,_netdev,x-note=1,memory=64MiB")
    assert (done.returncode, done.stderr) == (0, "")
    assert "mountd mount --memory=64MiB -- 'file://" in done.stdout
    options = inside.options(mountpoint)
    assert options is not None
    assert options >= {"ro", "nosuid", "nodev", "noatime", "noexec"}
    assert (
        inside.run("cmp", mountpoint / "folder" / "b", Path(source.removeprefix("file://")) / "folder" / "b").returncode
        == 0
    )
    found = json.loads(inside.run("findmnt", "--json", "-t", "fuse.moorage", mountpoint).stdout)["filesystems"][0]
    assert found["source"] == source
    serving = pids(inside, mountpoint)
    assert serving
    done = inside.run("umount", mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: not any(is_running(pid) for pid in serving), what="the end of worker and supervisor")
    assert "no mount of Moorage" in inside.run(MOUNTD, "status", mountpoint).stderr
    assert list((mountpoint.parent / "cache" / "frozen").iterdir()) == []


def test_fstab(inside: MountNamespace, mountpoint: Path, source: str, tmp_path: Path) -> None:
    def escaped(path: object) -> str:
        return str(path).replace(" ", "\\040")

    table = tmp_path / "fstab"
    options = "ro,_netdev,nofail,x-systemd.automount,memory=64MiB"
    table.write_text(f"{escaped(source)} {escaped(mountpoint)} moorage {options} 0 0\n")
    assert "0 parse errors" in inside.run("findmnt", "--verify", "-F", table).stderr
    for _ in range(2):  # the second time it is there already
        done = inside.run("mount", "-a", "-T", table)
        assert (done.returncode, done.stderr) == (0, "")
    assert inside.ours() == 1
    inside.run("umount", "-a", "-t", "fuse.moorage")  # which may fail for a mount of another's
    assert inside.options(mountpoint) is None


def test_fake_checks_and_mounts_nothing(inside: MountNamespace, mountpoint: Path, source: str) -> None:
    assert inside.run("mount", "-f", "-t", "moorage", source, mountpoint).returncode == 0
    assert inside.options(mountpoint) is None
    assert inside.run("mount", "-f", "-t", "moorage", source, mountpoint, "-o", "cachedir=/x").returncode == 1
    assert inside.run("mount", "-f", "-s", "-t", "moorage", source, mountpoint, "-o", "cachedir=/x").returncode == 0


def test_a_failure_is_one_line_and_a_code_of_mount(inside: MountNamespace, mountpoint: Path, source: str) -> None:
    done = inside.run("mount", "-t", "moorage", f"{source}/none", mountpoint)
    assert (done.returncode, len(done.stderr.splitlines())) == (32, 1), done
    done = inside.run("mount", "-t", "moorage", source, mountpoint, "-o", "remount")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done
    sas = "https://account.blob.core.windows.net/c/?sig=SECRET"
    done = inside.run("mount", "-t", "moorage", sas, mountpoint)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done
    assert "SECRET" not in done.stderr
    assert inside.options(mountpoint) is None


def test_what_was_put_on_is_taken_off_with_exec(inside: MountNamespace, mountpoint: Path, source: str) -> None:
    assert inside.run("mount", "-t", "moorage", source, mountpoint, "-o", "users,exec").returncode == 0
    options = inside.options(mountpoint)
    assert options is not None
    assert "noexec" not in options
    assert inside.run("umount", mountpoint).returncode == 0


def test_umount_of_a_busy_mount_says_so_and_leaves_it(inside: MountNamespace, mountpoint: Path, source: str) -> None:
    assert inside.run("mount", "-t", "moorage", source, mountpoint).returncode == 0
    script = 'exec 3<"$1/a"; umount "$1"; echo $?; head -c 100 <&3 | wc -c'
    assert inside.run("sh", "-c", script, "sh", mountpoint).stdout.split() == ["32", "100"]
    assert inside.run("umount", mountpoint).returncode == 0
