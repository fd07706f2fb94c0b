import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from runtime.job import processes
from tests.runtime.job.jobs import is_gone


def test_an_identity_is_one_process_for_good() -> None:
    mine = processes.identity(os.getpid())
    assert mine is not None
    assert mine.state() == "alive"
    assert replace(mine, start=mine.start + 1).state() == "dead"
    assert replace(mine, boot="another boot").state() == "dead"
    assert replace(mine, host=f"not-{socket.gethostname()}").state() == "elsewhere"


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        one = processes.identity(process.pid)
        assert one is not None
        assert one.state() == "alive"
        assert process.stdin
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not reaped
        assert one.state() == "dead"
        assert processes.identity(process.pid) is None


def test_children_by_ps_are_the_children_by_proc() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.pid in processes.children(os.getpid())
        assert processes._children_by_ps(os.getpid()) == processes.children(os.getpid())
        assert process.stdin
        process.stdin.close()


def test_ending_descendants_spares_whom_it_is_told_to() -> None:
    code = """
import os, subprocess, sys
from runtime.job import processes
processes.become_subreaper()
sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
spared, other = subprocess.Popen(sleeper), subprocess.Popen(sleeper)
processes.end_descendants(5, spare={spared.pid})
print(spared.pid, other.pid, processes.children(os.getpid()) == {spared.pid}, spared.poll())
other.returncode = 0
spared.kill(); spared.wait()
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    spared, other, alone, poll = told.stdout.split()
    assert (alone, poll) == ("True", "None")
    assert is_gone(int(other))
    assert is_gone(int(spared))


def test_marked_processes_are_ended_and_others_not() -> None:
    mark = f"MOORAGE_RUN_ID=test_{os.getpid()}"
    name, _, value = mark.partition("=")
    sleeper = [sys.executable, "-c", "import signal; print(1, flush=True); signal.pause()"]
    with (
        subprocess.Popen(sleeper, stdout=subprocess.PIPE, env={**os.environ, name: value}) as ours,
        subprocess.Popen(sleeper, stdout=subprocess.PIPE, env={**os.environ, name: value + "0"}) as other,
    ):
        for each in (ours, other):
            assert each.stdout
            each.stdout.readline()
        assert processes.marked(mark) == {ours.pid}
        reaper = __import__("threading").Thread(target=ours.wait)
        reaper.start()
        assert processes.end_marked(mark, 5) == {ours.pid}
        reaper.join()
        assert ours.returncode == -signal.SIGTERM
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("pid", [2**22 + 1, 0])
def test_nobody_has_no_children(pid: int) -> None:
    assert processes.children(pid) == set()
    assert processes.identity(pid) is None
