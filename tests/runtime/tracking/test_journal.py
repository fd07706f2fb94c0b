"""The journal: many processes, kills, torn lines, full disks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import UserErrorException
from runtime.tracking import journal

ROOT = Path(__file__).parents[3]
# Two threads and a forked child in each process: what ranks with DataLoader workers do.
WRITER = """
import os, sys, threading
from pathlib import Path
from runtime.tracking import journal
folder, number, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
def write(who):
    for at in range(count):
        journal.append(folder, f"m{number}-{who}", "scalar", at)
child = os.fork()
if child == 0:
    write("fork")
    os._exit(0)
threads = [threading.Thread(target=write, args=(f"thread{each}",)) for each in range(2)]
[each.start() for each in threads]
[each.join() for each in threads]
assert os.waitpid(child, 0)[1] == 0
"""
FOR_EVER = """
import itertools, sys
from pathlib import Path
from runtime.tracking import journal
for at in itertools.count():
    journal.append(Path(sys.argv[1]), "m", "scalar", at)
    if at == 20:
        print("up", flush=True)
"""


def start(script: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_sixteen_processes_lose_nothing_and_keep_their_order(tmp_path: Path) -> None:
    writers = [start(WRITER, tmp_path, number, 50) for number in range(16)]
    assert [writer.communicate()[0] or writer.returncode for writer in writers] == [0] * 16
    entries, skipped = journal.read(tmp_path)
    assert skipped == []
    found: dict[str, list[int]] = {}
    for entry in entries:
        found.setdefault(entry.name, []).append(entry.value)
    assert len(found) == 16 * 3
    assert all(values == list(range(50)) for values in found.values())


def test_a_kill_loses_nothing_that_was_logged_before(tmp_path: Path) -> None:
    with start(FOR_EVER, tmp_path) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    values = [entry.value for entry in journal.read(tmp_path)[0]]
    assert len(values) > 20
    assert values == list(range(len(values)))


def test_a_torn_line_is_skipped_and_said_and_the_next_is_whole(tmp_path: Path) -> None:
    journal.append(tmp_path, "m", "scalar", 1)
    (path,) = (tmp_path / "metrics").iterdir()
    whole = path.read_bytes()
    for end in range(2, len(whole) - 1):  # a kill may cut anywhere
        path.write_bytes(whole[:end])
        journal.append(tmp_path, "m", "scalar", 2)
        entries, skipped = journal.read(tmp_path)
        assert [entry.value for entry in entries] == [2], end
        assert len(skipped) == 1
        assert str(path) in skipped[0]


def test_a_short_write_is_an_error_and_its_part_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
    with pytest.raises(OSError, match="No space left"):
        journal.append(tmp_path, "m", "scalar", 1)
    monkeypatch.undo()
    journal.append(tmp_path, "m", "scalar", 2)
    assert [entry.value for entry in journal.read(tmp_path)[0]] == [2]


def test_an_entry_has_a_most_size(tmp_path: Path) -> None:
    with pytest.raises(UserErrorException, match="is the most; upload_file takes any size"):
        journal.append(tmp_path, "m", "scalar", "x" * (1 << 20))
    assert journal.read(tmp_path) == ([], [])


def test_lines_that_are_no_entries_are_counted(tmp_path: Path) -> None:
    journal.append(tmp_path, "m", "scalar", 1)
    (tmp_path / "metrics" / "other.jsonl").write_bytes(b'[1]\n{"time": "x"}\n\xff\n\n')
    entries, skipped = journal.read(tmp_path)
    assert ([entry.value for entry in entries], len(skipped)) == ([1], 1)
    assert "3 torn lines" in skipped[0]
