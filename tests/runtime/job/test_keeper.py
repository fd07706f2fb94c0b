"""The keeper alone, with the test as its launcher."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runtime.job import keeper as keeper_module
from tests.runtime.job.jobs import is_gone
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# Forks twice with setsid; the grandchild ignores SIGTERM and writes its pid to the pipe that is its stdout.
FAMILY = """
import os, signal, sys
ready, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, b"%d\\n" % os.getpid())
    os.write(tell, b"!")
    while True:
        signal.pause()
os.wait()
os.read(ready, 1)
{then}
"""


@contextmanager
def keeper(*command: str, grace_s: float) -> "Iterator[tuple[subprocess.Popen[bytes], socket.socket]]":
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = [sys.executable, "-I", "-S", str(keeper_module.__file__), str(theirs.fileno()), str(grace_s), "0"]
        with subprocess.Popen(
            [*argv, *command], pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, start_new_session=True
        ) as process:
            theirs.close()
            try:
                yield process, ours
            finally:
                ours.close()


def messages(lifeline: socket.socket) -> list[dict[str, Any]]:
    with lifeline.makefile("rb") as lines:
        return [json.loads(line) for line in lines]


def family(then: str) -> tuple[str, ...]:
    return (sys.executable, "-c", FAMILY.replace("{then}", then))


def grandchild_of(process: "subprocess.Popen[bytes]") -> int:
    assert process.stdout
    return int(process.stdout.readline())


@pytest.mark.parametrize(("code", "reported"), [("raise SystemExit(7)", 7), ("os.kill(os.getpid(), 9)", -9)])
def test_the_end_of_the_child_ends_its_descendants(code: str, reported: int) -> None:
    with keeper(*family(code), grace_s=0.2) as (process, lifeline):
        grandchild = grandchild_of(process)
        started, ended, done = messages(lifeline)
    assert (list(started), ended, done) == (["started"], {"ended": reported}, {"done": True})
    assert is_gone(started["started"])
    assert is_gone(grandchild)


def test_the_end_of_the_launcher_ends_everything() -> None:
    with keeper(*family("signal.pause()"), grace_s=0.2) as (process, lifeline):
        grandchild = grandchild_of(process)
        lifeline.close()
        process.wait(20)
    assert is_gone(grandchild)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_passed_on_as_it_is(number: int) -> None:
    told = (
        f"import signal, os\nsignal.signal({number}, lambda n, _: os._exit(40))\nprint(1, flush=True)\nsignal.pause()"
    )
    with keeper(sys.executable, "-c", told, grace_s=30) as (process, lifeline):
        grandchild_of(process)  # it is ready
        process.send_signal(number)
        assert {"ended": 40} in messages(lifeline)


def test_a_second_signal_ends_the_grace() -> None:
    deaf = "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint(1, flush=True)\nwhile True: signal.pause()"
    with keeper(sys.executable, "-c", deaf, grace_s=3600) as (process, lifeline):
        grandchild_of(process)
        process.send_signal(signal.SIGTERM)
        until(lambda: _was_told(process.pid), what="the first signal's arrival")
        process.send_signal(signal.SIGTERM)
        assert {"ended": -9} in messages(lifeline)


def _was_told(pid: int) -> bool:
    """True when no SIGTERM is pending for the keeper any more."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return not any(mask & 1 << (signal.SIGTERM - 1) for mask in pending)


def test_a_stopped_child_ends_all_the_same() -> None:
    with keeper(sys.executable, "-c", "import os; print(1, flush=True); os.kill(os.getpid(), 19)", grace_s=3600) as (
        process,
        lifeline,
    ):
        grandchild_of(process)
        process.send_signal(signal.SIGTERM)
        assert {"ended": -15} in messages(lifeline)


def test_a_command_that_cannot_start_is_told_by_its_errno() -> None:
    with keeper("/nowhere/at/all", grace_s=1) as (process, lifeline):
        assert messages(lifeline) == [{"failed": 2, "text": "No such file or directory"}]
        assert process.wait() == 126


def test_the_child_has_no_descriptor_of_ours_and_its_own_limit_for_core_files() -> None:
    look = "import os, resource; print(sorted(map(int, os.listdir('/proc/self/fd')))[:5], resource.getrlimit(4)[0])"
    with keeper(sys.executable, "-c", look, grace_s=1) as (process, _):
        assert process.stdout
        # 0, 1, 2, and the one that lists
        assert process.stdout.read() == b"[0, 1, 2, 3] 0\n"


def test_the_keeper_needs_the_standard_library_only() -> None:
    code = "import sys; import runtime.job.keeper; print([m for m in sys.modules if m.split('.')[0] in ('mountd', 'click')])"
    root = str(Path(str(keeper_module.__file__)).parents[2])
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({root!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    assert told.stdout == "[]\n"
