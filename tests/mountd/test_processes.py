import os
import subprocess
import sys
from pathlib import Path

import pytest

from mountd import processes
from mountd.processes import ProcessId
from tests.support.waiting import until

SLEEPER = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]


def start(environment: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        SLEEPER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})}
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_process_is_alive_until_it_has_ended_even_unreaped() -> None:
    with start() as process:
        identity = ProcessId.of(process.pid)
        assert identity.is_alive()
        assert identity.kill()
        until(lambda: not identity.is_alive(), what="the end")  # a zombie now: nobody has waited for it
        assert not identity.kill()


def test_another_process_of_the_same_number_is_not_the_same() -> None:
    me = ProcessId.of(os.getpid())
    assert me.is_alive()
    assert not ProcessId(me.pid, me.start_ticks + 1).is_alive()
    assert not ProcessId(me.pid, me.start_ticks + 1).kill()


def test_a_number_given_again_while_marks_are_read_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends after its environment was read, and another gets its number: that one must not be killed."""
    mark, asked = f"MOORAGE_TEST_MARK={os.getpid()}", []
    name, _, value = mark.partition("=")
    original = Path.read_bytes

    def read(path: Path) -> bytes:
        asked.append(("environment", path.parent.name))
        return original(path)

    def of(_: type[ProcessId], pid: int) -> ProcessId:
        asked.append(("identity", str(pid)))
        return ProcessId(pid, 1)

    with start({name: value}) as marked:
        monkeypatch.setattr(Path, "read_bytes", read)
        monkeypatch.setattr(ProcessId, "of", classmethod(of))
        assert marked.pid in {each.pid for each in processes.with_mark(mark)}
        marked.kill()
    assert [what for what, pid in asked if pid == str(marked.pid)] == ["identity", "environment"]


def test_processes_are_found_by_the_mark_they_were_started_with() -> None:
    mark = f"MOORAGE_TEST_MARK={os.getpid()}"
    name, _, value = mark.partition("=")
    with start({name: value}) as marked, start() as other:
        found = {each.pid for each in processes.with_mark(mark)}
        marked.kill()
        other.kill()
    assert found == {marked.pid}
    assert list(processes.with_mark(mark)) == []
