"""The commands as an operator types them: output, exit codes, one line for each error."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd import client
from mountd.errors import FuseUnavailableError
from mountd.freeze import FreezeSource, freeze
from mountd.fuse import mounting
from mountd.stores.registry import file_url
from tests.support.azurite import Azurite
from tests.support.content import content, make_tree

MOUNTD = Path(sys.executable).with_name("mountd")
SIZES = {"a": 5000, "folder/b": 3_000_000, "empty/": 0, "zero": 0}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "MOORAGE_"))}
    return {**kept, "MOORAGE_CACHE_DIR": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree", SIZES)


class Command:
    """Runs `mountd` and ends what it mounted."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment, self.mountpoint = environment, folder / "mnt"

    def __call__(self, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(MOUNTD), *map(str, arguments)]
        environment = {**self.environment, **more}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)

    def fails(self, code: int, *arguments: object, **more: str) -> str:
        """Run a command that must fail with `code` and one line, which is returned."""
        done = self(*arguments, **more)
        assert done.returncode == code, done
        lines = done.stderr.splitlines()
        assert len(lines) == 1, lines
        assert "Traceback" not in done.stderr
        return lines[0]


@pytest.fixture
def mountd(environment: dict[str, str], tmp_path: Path) -> Iterator[Command]:
    command = Command(environment, tmp_path)
    yield command
    if mounting.find(command.mountpoint):
        command("unmount", "--force", command.mountpoint)
    assert mounting.find(command.mountpoint) is None


@pytest.mark.fuse
@pytest.mark.parametrize("driver", ["native", "pyfuse3"])
def test_a_folder_is_mounted_asked_and_unmounted(mountd: Command, tree: Path, driver: str) -> None:
    assert mountd("mount", file_url(tree), mountd.mountpoint, "--driver", driver).returncode == 0
    assert subprocess.run(["diff", "-r", tree, mountd.mountpoint], check=False).returncode == 0
    status = json.loads(mountd("status", mountd.mountpoint, "--json").stdout)
    assert (status["files"], status["bytes"], status["driver"]) == (3, 3_005_000, driver)
    assert status["source"] == file_url(tree)
    assert str(mountd.mountpoint) in mountd("status").stdout
    assert f"driver {driver}" in mountd("status", mountd.mountpoint).stdout
    done = mountd("unmount", mountd.mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no mount of Moorage" in mountd.fails(4, "unmount", mountd.mountpoint)
    assert "no mount of Moorage" in mountd.fails(4, "status", mountd.mountpoint)
    assert "no mount of Moorage" in mountd.fails(4, "unmount", "--force", mountd.mountpoint)


@pytest.mark.fuse
def test_the_frozen_manifest_of_a_url_goes_with_its_mount(mountd: Command, tree: Path, tmp_path: Path) -> None:
    mountd("mount", file_url(tree), mountd.mountpoint)
    assert len(list((tmp_path / "cache" / "frozen").iterdir())) == 1
    mountd("unmount", mountd.mountpoint)
    assert list((tmp_path / "cache" / "frozen").iterdir()) == []
    make_tree(mountd.mountpoint, {"in the way": 1})
    mountd.fails(6, "mount", file_url(tree), mountd.mountpoint)
    assert list((tmp_path / "cache" / "frozen").iterdir()) == []


@pytest.mark.fuse
def test_a_manifest_is_mounted_as_it_is_and_kept(mountd: Command, tree: Path, tmp_path: Path) -> None:
    assert mountd("freeze", file_url(tree), "-o", tmp_path / "m").returncode == 0
    assert "whole; 3 files" in mountd("verify", tmp_path / "m").stdout
    done = mountd("mount", tmp_path / "m", mountd.mountpoint, "--json")
    assert json.loads(done.stdout)["files"] == 3
    mountd("unmount", mountd.mountpoint)
    assert (tmp_path / "m").exists()


@pytest.mark.fuse
def test_in_the_foreground_sigterm_ends_the_mount(mountd: Command, tree: Path) -> None:
    command = [str(MOUNTD), "mount", file_url(tree), str(mountd.mountpoint), "--foreground", "--json"]
    with subprocess.Popen(command, env=mountd.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "}":
            pass
        assert (mountd.mountpoint / "a").read_bytes() == content("a", 0, 5000)
        process.terminate()
        assert process.wait(20) == 0
    assert mounting.find(mountd.mountpoint) is None


@pytest.mark.fuse
def test_in_the_foreground_a_dead_worker_is_replaced_and_the_line_says_so(mountd: Command, tree: Path) -> None:
    command = [str(MOUNTD), "mount", file_url(tree), str(mountd.mountpoint), "--foreground", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=mountd.environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        status = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        assert status["supervisor_pid"] == process.pid
        os.kill(status["worker_pid"], 9)
        assert subprocess.run(["diff", "-r", tree, mountd.mountpoint], check=False).returncode == 0
        process.terminate()
        assert process.wait(20) == 0
        assert f"worker {status['worker_pid']} died (by signal 9); another takes over" in process.stderr.read()
    assert mounting.find(mountd.mountpoint) is None


@pytest.mark.fuse
@pytest.mark.azurite
def test_a_container_is_mounted_with_a_connection_string(mountd: Command, azurite: Azurite, tree: Path) -> None:
    url = azurite.make_container("commands")
    for name, size in SIZES.items():
        if not name.endswith("/"):
            azurite.put("commands", name, content(name, 0, size))
    secret = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string}
    (tree / "empty").rmdir()
    for fetched in (sum(SIZES.values()), 0):
        done = mountd("mount", url, mountd.mountpoint, **secret)
        assert (done.returncode, done.stderr) == (0, "")
        assert subprocess.run(["diff", "-r", tree, mountd.mountpoint], check=False).returncode == 0
        assert json.loads(mountd("status", mountd.mountpoint, "--json").stdout)["fetch"]["bytes"] == fetched
        mountd("unmount", mountd.mountpoint)
    line = mountd.fails(5, "mount", url, mountd.mountpoint)
    assert "AZURE_STORAGE_CONNECTION_STRING" in line


def test_download_is_the_same_bytes_and_a_second_call_fetches_nothing(
    mountd: Command, tree: Path, tmp_path: Path
) -> None:
    done = mountd("download", file_url(tree), tmp_path / "copy")
    assert (done.returncode, done.stderr) == (0, "")
    assert subprocess.run(["diff", "-r", tree, tmp_path / "copy"], check=False).returncode == 0
    assert "fetched 0 B" in mountd("download", file_url(tree), tmp_path / "copy").stdout


def test_what_a_source_must_not_be_is_one_line(mountd: Command, tree: Path, tmp_path: Path) -> None:
    assert f"file://{tree}" in mountd.fails(3, "mount", tree, mountd.mountpoint)
    assert "no such manifest" in mountd.fails(3, "mount", tmp_path / "absent", mountd.mountpoint)
    assert "no such" in mountd.fails(4, "mount", "file:///no/such/folder", mountd.mountpoint)
    assert "ftp" in mountd.fails(3, "mount", "ftp://x/y", mountd.mountpoint)
    assert "sig" not in mountd.fails(3, "mount", "https://a.blob.core.windows.net/c?sig=TOPSECRET", mountd.mountpoint)
    assert "not a manifest" in mountd.fails(3, "verify", tree / "a")
    assert "no such manifest" in mountd.fails(4, "verify", tmp_path / "absent")


def test_a_store_that_is_not_there_is_exit_8(mountd: Command) -> None:
    url = "http://127.0.0.1:9/devstoreaccount1/container/"
    line = mountd.fails(8, "mount", url, mountd.mountpoint, "--read-deadline", "2s", "--credential", "anonymous")
    assert url in line


def test_a_credential_on_the_command_line_is_refused_and_not_repeated(mountd: Command, tree: Path) -> None:
    line = mountd.fails(3, "mount", file_url(tree), mountd.mountpoint, "--credential", "TOPSECRET")
    assert "TOPSECRET" not in line
    assert "env:" in line


def test_bad_settings_name_where_they_come_from(mountd: Command, tree: Path) -> None:
    place = (file_url(tree), mountd.mountpoint)
    assert "--memory" in mountd.fails(3, "mount", *place, "--memory", "lots")
    assert "MOORAGE_CACHE" in mountd.fails(3, "mount", *place, MOORAGE_CACHE="sometimes")
    assert "--driver: 'kernel' is none of native, pyfuse3" in mountd.fails(3, "mount", *place, "--driver", "kernel")
    assert mountd("mount", *place, "--no-such-flag").returncode == 2


@pytest.mark.fuse
def test_pyfuse3_may_have_as_many_reads_in_flight_where_the_kernel_can_be_told(mountd: Command, tree: Path) -> None:
    script = """
        set -eu
        mountpoint -q /sys/fs/fuse/connections || mount -t fusectl fusectl /sys/fs/fuse/connections
        mountd mount "$0" "$1" --driver pyfuse3
        cat /sys/fs/fuse/connections/"$(mountpoint -d "$1" | cut -d: -f2)"/{max_background,congestion_threshold}
        mountd unmount "$1"
    """
    command = ["unshare", "-m", "--propagation", "private", "bash", "-c", script, file_url(tree)]
    environment = {**mountd.environment, "PATH": f"{MOUNTD.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*command, mountd.mountpoint], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["256", "192"], "")


@pytest.fixture
def no_pyfuse3(mountd: Command, tmp_path: Path) -> Path:
    """Every process finds a pyfuse3 that cannot be imported; the file that is returned is there after the first try."""
    tried = tmp_path / "tried"
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "pyfuse3.py").write_text(f"open({str(tried)!r}, 'w'); raise ImportError('none here')")
    mountd.environment["PYTHONPATH"] = str(tmp_path / "poison")
    return tried


@pytest.mark.fuse
def test_a_missing_pyfuse3_is_one_line_that_says_what_to_install(
    mountd: Command, tree: Path, no_pyfuse3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = mountd.fails(7, "mount", file_url(tree), mountd.mountpoint, "--driver", "pyfuse3")
    assert "none here" in line
    assert "pip install 'moorage[fuse]'" in line
    assert no_pyfuse3.exists()
    assert not mountd.mountpoint.exists()
    freeze([FreezeSource(file_url(tree))], tree.parent / "m")
    monkeypatch.setenv("PYTHONPATH", mountd.environment["PYTHONPATH"])
    monkeypatch.setenv("MOORAGE_DRIVER", "pyfuse3")  # which this process does not look at, but the worker does
    with pytest.raises(FuseUnavailableError, match=r"none here.*moorage\[fuse\]"):
        client.start(tree.parent / "m", mountd.mountpoint, lifeline=True)
    assert mounting.find(mountd.mountpoint) is None


@pytest.mark.fuse
def test_nothing_imports_pyfuse3_unless_it_is_asked_for(mountd: Command, tree: Path, no_pyfuse3: Path) -> None:
    manifest = tree.parent / "m"
    assert mountd("freeze", file_url(tree), "-o", manifest).returncode == 0
    assert mountd("doctor").returncode == 0
    assert mountd("mount", manifest, mountd.mountpoint).returncode == 0
    assert subprocess.run(["diff", "-r", tree, mountd.mountpoint], check=False).returncode == 0
    assert mountd("unmount", mountd.mountpoint).returncode == 0
    assert not no_pyfuse3.exists()


@pytest.mark.fuse
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_a_source_is_frozen_leaves_nothing(
    mountd: Command, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection, and never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}/account/container/"
        command = [str(MOUNTD), "mount", "--credential", "anonymous", url, str(mountd.mountpoint)]
        with subprocess.Popen(command, env=mountd.environment, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = server.accept()
            process.send_signal(number)
            assert process.wait(20) == code
            assert process.stderr is not None
            assert process.stderr.read().strip() == ""
            connection.close()
    assert not list((tmp_path / "cache" / "frozen").iterdir())
    assert mounting.find(mountd.mountpoint) is None


@pytest.mark.fuse
def test_a_manifest_frozen_for_a_mount_that_failed_is_removed(mountd: Command, tree: Path, tmp_path: Path) -> None:
    mountd.mountpoint.mkdir()
    (mountd.mountpoint / "in the way").touch()
    assert "not empty" in mountd.fails(6, "mount", file_url(tree), mountd.mountpoint)
    assert not list((tmp_path / "cache" / "frozen").iterdir())


def test_a_folder_that_cannot_be_made_is_named(mountd: Command, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = mountd.fails(3, "freeze", file_url(tree), "-o", tmp_path / "file" / "m")
    assert line == f"mountd: {tmp_path / 'file'}: File exists"


def test_a_manifest_that_cannot_be_written_is_named_as_it_was_given(
    mountd: Command, tree: Path, tmp_path: Path
) -> None:
    assert mountd.fails(4, "freeze", file_url(tree), "-o", "/proc/m") == "mountd: /proc/m: No such file or directory"
    longest = tmp_path / ("m" * 255)
    assert mountd("freeze", file_url(tree), "-o", longest).returncode == 0
    assert mountd("verify", longest).returncode == 0


def test_freeze_replaces_files_only(mountd: Command, tree: Path, tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for each in (pipe, folder):
        line = mountd.fails(3, "freeze", file_url(tree), "-o", each, "--overwrite")
        assert line == f"mountd: {each}: no file, and a manifest replaces nothing else; choose another name"
    assert pipe.is_fifo()


def test_freeze_does_not_replace_a_file_unasked(mountd: Command, tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    assert "is there already" in mountd.fails(3, "freeze", file_url(tree), "-o", target)
    assert target.read_text() == "mine"
    assert mountd("freeze", file_url(tree), "-o", target, "--overwrite").returncode == 0


def test_doctor_and_config_say_what_is_so(mountd: Command, tmp_path: Path) -> None:
    config = mountd("config", MOORAGE_MEMORY="100MiB").stdout
    assert "MOORAGE_MEMORY" in config
    assert str(tmp_path / "cache") in config
    done = mountd("doctor")
    assert {line.split()[0] for line in done.stdout.splitlines()} <= {"ok", "warn", "fail"}
    assert done.returncode in {0, 7}
    assert (done.returncode == 7) == ("fail" in done.stdout)


@pytest.mark.fuse
def test_the_first_mount_works_with_a_umask_that_lets_the_group_write(
    mountd: Command, tree: Path, tmp_path: Path
) -> None:
    old = os.umask(0o002)
    try:
        done = mountd("mount", file_url(tree), mountd.mountpoint)
    finally:
        os.umask(old)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.fuse
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_commands_work_with_their_standard_streams_closed(mountd: Command, tree: Path, closed: str) -> None:
    def run(words: str) -> int:
        return subprocess.run(
            ["sh", "-c", f"{MOUNTD} {words} {closed}"], env=mountd.environment, check=False
        ).returncode

    assert run(f"mount --cache always {file_url(tree)} {mountd.mountpoint}") == 0
    assert (mountd.mountpoint / "a").read_bytes() == content("a", 0, 5000)
    assert run(f"warm {mountd.mountpoint}") == 0
    assert run(f"top --count 1 --interval 0.1 {mountd.mountpoint}") == 0
    assert run(f"warm {mountd.mountpoint} nothing") == 4


def test_doctor_says_that_a_cache_folder_will_be_refused(mountd: Command, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    assert "fail  cache folder" in mountd("doctor").stdout
