"""Process 1 of a container: it forwards, reaps, and ends as the command does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.job import first
from tests.support.users import root_only
from tests.support.waiting import until

pytestmark = root_only
WORK = """
import os, signal, subprocess, sys, time
from runtime.job import first
first.stand()
assert os.getpid() != 1
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("up", flush=True)
exec(sys.argv[1])
"""


def start(work: str) -> "subprocess.Popen[str]":
    """A command that is process 1 of a pid namespace; returns when it works."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", WORK, work]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(
    ("work", "code"),
    [("sys.exit(0)", 0), ("sys.exit(37)", 37), ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL)],
)
def test_it_ends_as_the_command_does(work: str, code: int) -> None:
    with start(work) as process:
        assert process.wait(20) == code


def test_it_forwards_a_signal_and_reaps_whoever_is_left_to_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with start("signal.pause()") as process:
        (process_1,) = children(process.pid)
        (command,) = children(process_1)
        # An orphan from outside, as `docker exec` may leave one: it ends when the gate is there.
        orphan = 'while [ ! -e "$0" ]; do sleep 0.05; done'
        words = [
            "nsenter",
            "--pid",
            "--target",
            str(process_1),
            "sh",
            "-c",
            'sh -c "$1" "$0" & exit 0',
            str(gate),
            orphan,
        ]
        subprocess.run(words, check=True)
        until(lambda: len(children(process_1)) == 2, what="the orphan under process 1")
        gate.touch()
        until(lambda: children(process_1) == [command], what="the end of the orphan, also as a zombie")
        subprocess.run(["kill", "-TERM", str(process_1)], check=True)
        assert process.wait(20) == 7


def test_elsewhere_it_does_nothing() -> None:
    before = children(os.getpid())
    first.stand()
    assert children(os.getpid()) == before
