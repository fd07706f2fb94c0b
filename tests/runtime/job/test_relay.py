import os
import subprocess
import sys
from pathlib import Path

from runtime.job.relay import Relay
from tests.support.content import content

# A relay between the child on the command line and this process's stdout; says when it is done.
RELAY = """
import subprocess, sys
from pathlib import Path
from runtime.job.relay import Relay
with Relay(Path(sys.argv[1]), passthrough=True) as relay:
    child = subprocess.Popen(sys.argv[2:], stdout=relay.out, stderr=relay.err)
    relay.release_child_ends()
    child.wait()
    relay.drain()
    relay.say("done,\\nreally")
"""


def relayed(log: Path, code: str) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-c", RELAY, str(log), sys.executable, "-c", code]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_nothing_is_lost_when_the_child_ends_at_once(tmp_path: Path) -> None:
    log, size = tmp_path / "log", 3_000_000
    data = tmp_path / "data"
    data.write_bytes(content("x", 0, size))
    with relayed(
        log, f"import os; d = open({str(data)!r}, 'rb').read(); os.write(2, b'e'); \nwhile d: d = d[os.write(1, d):]"
    ) as each:
        out, err = each.communicate(timeout=30)
    assert out == content("x", 0, size)
    assert err == b"emoorage: done, really\n"
    logged = log.read_bytes()
    assert len(logged) == size + len(err)
    assert logged.endswith(b"moorage: done, really\n")


def test_a_reader_that_went_away_costs_neither_the_log_nor_the_child(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with relayed(log, "import os\nfor _ in range(1000): os.write(1, b'x' * 1000)") as each:
        assert each.stdout
        each.stdout.close()
        assert each.wait(30) == 0
    assert log.read_bytes().count(b"x") == 1_000_000


def test_a_process_outside_of_the_job_that_holds_the_pipe_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with Relay(log, passthrough=False) as relay:
        held = os.dup(relay.out)
        os.write(held, b"last words")
        relay.drain()
        os.close(held)
    assert log.read_bytes() == b"last words"
