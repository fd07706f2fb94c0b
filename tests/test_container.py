"""The container: the Dockerfile's steps carried out in a Debian tree, and its entrypoint as process 1 in it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import dockerfile
from tests.support.content import content, make_tree
from tests.support.dockerfile import Image
from tests.support.users import root_only
from tests.support.waiting import until

ROOT = Path(__file__).parents[1]
UID = 1000
JOB = """
set -eu
sum=$(cat "$1"/a "$1"/folder/b | cksum)
grep -c " $1 fuse.moorage " /proc/mounts || true
echo "$sum" >"$2/sum"
exit "$3"
"""
# Three times a child of a child that nobody waits for; what becomes of it is told by the state letters of all processes.
ORPHANS = """
for n in 1 2 3; do (sh -c 'sleep 0.05 & echo $! >>"$0"' "$1"); done
for n in $(seq 100); do
    left=0; for pid in $(cat "$1"); do [ ! -e /proc/$pid ] || left=1; done
    [ $left = 1 ] || break; sleep 0.1
done
cat /proc/[0-9]*/stat | grep -c ') Z ' || true
echo left $left
"""

full = [pytest.mark.full, root_only, pytest.mark.timeout(600)]


def test_what_is_read_of_a_dockerfile() -> None:
    text = '# a\nFROM x AS y\n\nRUN a \\\n    # within\n    && b\nCMD ["c"]\n'
    assert dockerfile.instructions(text) == [("FROM", "x AS y"), ("RUN", "a      && b"), ("CMD", '["c"]')]


def test_the_image_is_small_and_no_secret_is_named() -> None:
    steps = dockerfile.instructions((ROOT / "Dockerfile").read_text())
    assert steps[0] == ("FROM", "python:3.12-slim")
    runs = " ".join(rest for name, rest in steps if name == "RUN")
    assert all(words in runs for words in ("--no-install-recommends", "rm -rf /var/lib/apt/lists/*", "--no-cache-dir"))
    assert not any(word in runs for word in ("gcc", "-dev", "build-essential"))
    assert dict(steps)["USER"] == "moorage"
    assert not {"ARG", "ADD", "ENV"} & {name for name, _ in steps}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    tree = tmp_path_factory.mktemp("image") / "tree"
    tree.mkdir(mode=0o755)
    return dockerfile.build(ROOT / "Dockerfile", ROOT, tree)


class Container:
    """A workspace with a dataset of one small folder, and the image's commands in it."""

    def __init__(self, image: Image, folder: Path) -> None:
        self.image, self.folder = image, folder

    def run(self, *arguments: str, code: int = 0, **flags: bool | str) -> subprocess.CompletedProcess[str]:
        command = self.image.command(self.folder, *arguments, **flags)  # type: ignore[arg-type]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == code, done
        return done

    def job(self, name: str, code: int = 0, **flags: bool | str) -> subprocess.CompletedProcess[str]:
        """Run the job, which says how many mounts it sees at its input; its output is `out/NAME`."""
        words = ["run", "--input", "data=tree", "--output", f"out=store/{name}:upload", "--", "sh", "-c", JOB, "sh"]
        return self.run(*words, "{inputs.data}", "{outputs.out}", str(code), code=code, **flags)


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Container:
    for each in (tmp_path, *tmp_path.parents[:3]):
        each.chmod(each.stat().st_mode | 0o755)
    make_tree(tmp_path / "tree", {"a": 5000, "folder/b": 300_000})
    (tmp_path / "store").mkdir()
    for each in (tmp_path, tmp_path / "store"):
        os.chown(each, UID, UID)
    made = Container(image, tmp_path)
    made.run("init")
    made.run("datastore", "add", "source", f"file://{tmp_path}/tree/")
    made.run("datastore", "add", "store", f"file://{tmp_path}/store/")
    made.run("dataset", "register", "tree", "source/")
    return made


def children(pid: int) -> str:
    """The children of `pid`, zombies included, as the kernel lists them."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()


class TestContainer:
    pytestmark = full

    def test_inputs_are_mounted_and_outputs_uploaded(self, container: Container) -> None:
        done = container.job("mounted")
        assert (done.stdout, "download" in done.stderr) == ("1\n", False), done
        expected = content("a", 0, 5000) + content("folder/b", 0, 300_000)
        told = subprocess.run(["cksum"], input=expected, capture_output=True, check=True).stdout
        assert (container.folder / "store" / "mounted" / "sum").read_bytes() == told

    def test_root_mounts_as_well(self, container: Container) -> None:
        assert container.job("root", user="root").stdout == "1\n"

    @pytest.mark.parametrize("user", ["moorage", "root"])
    @pytest.mark.parametrize("lacks", ["device", "sys_admin"])
    def test_without_a_flag_inputs_are_downloaded_and_one_line_says_so(
        self, container: Container, lacks: str, user: str
    ) -> None:
        done = container.job(f"without-{lacks}-{user}", user=user, **{lacks: False})
        assert done.stdout == "0\n", done
        assert len([line for line in done.stderr.splitlines() if "download" in line]) == 1, done
        assert (container.folder / "store" / f"without-{lacks}-{user}" / "sum").exists()

    def test_the_exit_code_is_the_commands_and_a_failed_jobs_outputs_stay(self, container: Container) -> None:
        container.job("failed", code=37)
        assert not (container.folder / "store" / "failed").exists()

    def test_sigterm_reaches_the_command_through_process_1(self, container: Container) -> None:
        script = 'trap "echo asked; exit 5" TERM; echo "$$" >pid; echo up; while :; do sleep 0.1; done'
        command = container.image.command(container.folder, "run", "--", "sh", "-c", script)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            first = int(children(process.pid))
            os.kill(first, signal.SIGTERM)
            assert process.stdout.read() == "asked\n"
            assert process.wait(60) == 5

    def test_process_1_reaps_what_others_leave_to_it(self, container: Container) -> None:
        command = container.image.command(container.folder, "run", "--", "sh", "-c", "echo up; exec sleep 60")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            first = int(children(process.pid))
            before = children(first)
            inside = ["nsenter", "--pid", "--target", str(first), "sh", "-c", "sleep 0.3 & exit 0"]  # as `docker exec`
            subprocess.run(inside, check=True)
            assert children(first) != before  # it is the child of process 1 now
            until(lambda: children(first) == before, what="the end of what was left, also as a zombie")
            os.kill(first, signal.SIGTERM)
            assert process.wait(60) == 128 + signal.SIGTERM

    def test_what_the_command_orphans_is_reaped(self, container: Container) -> None:
        pids = container.folder / "pids"
        done = container.run("run", "--", "sh", "-c", ORPHANS, "sh", str(pids))
        assert done.stdout.split("\n")[:2] == ["0", "left 0"], done
        assert len(pids.read_text().split()) == 3

    def test_no_compiler_and_no_cache_is_left(self, image: Image) -> None:
        assert not any((image.tree / "usr" / "bin" / name).exists() for name in ("gcc", "cc", "make"))
        assert not list((image.tree / "var" / "lib" / "apt" / "lists").glob("*Packages*"))
        assert not (image.tree / "root" / ".cache").exists()
        assert not (image.tree / "src").exists()
