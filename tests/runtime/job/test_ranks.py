import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from runtime.job import ranks

RANKS = Path(ranks.__file__)
NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


def started(kind: str, count: int, nodes: int, servers: int, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(RANKS), kind, str(count), str(nodes), str(servers)]
    return subprocess.run(
        [*command, sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


def test_each_rank_is_told_where_it_stands() -> None:
    # One write a line: the ranks share the pipe.
    code = f"import os, json; os.write(1, (json.dumps([os.environ[n] for n in {NAMES}]) + '\\n').encode())"
    done = started("pytorch", 4, 2, 0, code)
    told = sorted(json.loads(line) for line in done.stdout.splitlines())
    port = told[0][5]
    assert told == [[str(n), str(n), "4", str(n // 2), "127.0.0.1", port] for n in range(4)]
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_that_fails_is_the_jobs_end_and_is_named() -> None:
    code = "import os; raise SystemExit(7 * int(os.environ['RANK']))"
    done = started("pytorch", 2, 1, 0, code)
    assert (done.returncode, done.stderr) == (7, "moorage: rank 1 returned 7, so the job is ended\n")


def test_a_killed_rank_is_a_failure() -> None:
    done = started("pytorch", 2, 1, 0, "import os; os.environ['RANK'] == '0' and os.kill(os.getpid(), 9)")
    assert (done.returncode, done.stderr) == (137, "moorage: rank 0 was killed by signal 9, so the job is ended\n")


def test_a_tensorflow_job_is_over_with_its_workers() -> None:
    code = (
        "import json, os, signal; c = json.loads(os.environ['TF_CONFIG']);"
        "worker = c['task']['type'] == 'worker';"
        "os.write(1, (json.dumps(c) + '\\n').encode()) if worker else signal.alarm(20) or signal.pause()"
    )
    command = [sys.executable, "-I", "-S", str(RANKS), "tensorflow", "2", "2", "1", sys.executable, "-c", code]
    # The server outlives the starter, as the keeper ends it in a job; here nobody waits for its end of the pipe.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        told = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert process.wait(60) == 0
        os.killpg(process.pid, signal.SIGKILL)
    assert sorted(each["task"]["index"] for each in told) == [0, 1]
    cluster = told[0]["cluster"]
    assert [len(cluster["worker"]), len(cluster["ps"])] == [2, 1]
    assert told[1]["cluster"] == cluster


def test_lines_of_two_ranks_do_not_tear_each_other() -> None:
    """Two writes a line, as an unbuffered Python makes of a print, and a last line without an end."""
    code = (
        "import os; r = os.environ['RANK'].encode()\n"
        "for _ in range(500): os.write(1, r * 50); os.write(1, b'\\n')\n"
        "os.write(2, b'bar\\r' + r)"
    )
    done = started("pytorch", 2, 1, 0, code)
    lines = done.stdout.splitlines()
    assert sorted(lines) == ["0" * 50] * 500 + ["1" * 50] * 500
    assert sorted(done.stderr) == sorted("bar\r0bar\r1".replace("\r", "\n"))  # text mode reads \r as \n


def test_a_rank_that_is_ended_can_still_print() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'saved\\n'), os._exit(0)));"
        "os.write(1, b'up\\n'); signal.pause()"
    )
    command = [sys.executable, "-I", "-S", str(RANKS), "pytorch", "2", "1", "0", sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["up\n"] * 2
        os.killpg(process.pid, signal.SIGTERM)
        assert process.stdout.read() == "saved\n" * 2


def test_ranks_that_end_before_the_last_has_started_are_not_missed() -> None:
    fails = 'exit "$((RANK == 0 ? 3 : 0))"'
    command = [sys.executable, "-I", "-S", str(RANKS), "pytorch", "32", "1", "0", "/bin/sh", "-c", fails]
    assert subprocess.run(command, check=False, timeout=60, stderr=subprocess.DEVNULL).returncode == 3


def test_ports_differ_and_are_free() -> None:
    ports = ranks._free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_command_that_is_not_there_is_said() -> None:
    command = [sys.executable, "-I", "-S", str(RANKS), "pytorch", "2", "1", "0", "/no/such"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (127, "moorage: /no/such: No such file or directory\n")
