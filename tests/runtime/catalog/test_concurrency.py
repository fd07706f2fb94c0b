"""Many processes at once: one of them makes or migrates the catalog, and every registration gets a version of its own."""

import subprocess
import sys
from collections import Counter

import pytest

from runtime.catalog import open_catalog
from runtime.workspace import WorkspaceFolder
from tests.runtime.catalog.catalogs import digest, execute

_PROCESSES = 16
# One process imports what is large and forks sixteen, which come at one moment to a catalog that none of them has made: the
# pipe ends when the last of them has closed its end.
_REGISTER = """
import os, sys, traceback
from pathlib import Path
import alembic.command, psycopg
from runtime.catalog import open_catalog, sql  # sql: SQLAlchemy too
from runtime.workspace import WorkspaceFolder

def register(name):
    for number in range(int(sys.argv[3])):
        with open_catalog(WorkspaceFolder(Path(sys.argv[1]))) as catalog:
            version = catalog.register("digits", "{}", f"{name}-{number}", 1, 1, create_new_version=True).version
        os.write(1, f"{version}\\n".encode())

gate, opener = os.pipe()
children = []
for name in range(int(sys.argv[2])):
    if (pid := os.fork()) == 0:
        code = 1
        try:
            os.close(opener)
            os.read(gate, 1)
            register(name)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    children.append(pid)
os.close(opener)
sys.exit(any([os.waitpid(pid, 0)[1] for pid in children]))
"""


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.full)])
def test_sixteen_processes_that_register_at_once_get_sixteen_versions(workspace: WorkspaceFolder, times: int) -> None:
    command = [sys.executable, "-c", _REGISTER, str(workspace.path), str(_PROCESSES), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = list(range(1, _PROCESSES * times + 1))
    assert sorted(map(int, done.stdout.split())) == wanted
    with open_catalog(workspace) as catalog:
        there = catalog.versions("digits")
    assert [each.version for each in there] == wanted
    assert max(Counter(each.digest for each in there).values()) == 1


_REGISTER_ON = """
import sys
from pathlib import Path
from runtime.catalog import Made, open_catalog
from runtime.workspace import WorkspaceFolder
for number in range(10_000):
    with open_catalog(WorkspaceFolder(Path(sys.argv[1]))) as catalog:
        made = Made(f"{sys.argv[2]}-{number}", "out")
        print(catalog.register("digits", "{}", made.run_id, 1, 1, create_new_version=True, made=made).version, flush=True)
"""


def test_processes_that_are_killed_leave_whole_versions_only(workspace: WorkspaceFolder) -> None:
    open_catalog(workspace).close()
    told: list[int] = []
    for number in range(3):
        others = [
            subprocess.Popen(
                [sys.executable, "-c", _REGISTER_ON, str(workspace.path), f"{number}-{name}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("a", "b")
        ]
        for other in others:  # in the midst of it: each has registered, at another number in every round
            assert other.stdout is not None
            told += [int(other.stdout.readline()) for _ in range(1 + 3 * number)]
        for other in others:
            other.kill()
            told += [int(line) for line in other.communicate(timeout=60)[0].split("\n")[:-1]]
    execute(workspace, "SELECT 1")  # a server may still be at the last word of a dead client; writers wait for that
    with open_catalog(workspace) as catalog:
        there = catalog.versions("digits")
        made_by = {each.version: [link.run_id for link in catalog.lineage(each).made_by] for each in there}
        assert made_by == {each.version: [each.digest] for each in there}
        assert [each.version for each in there] == list(range(1, len(there) + 1))
        assert len(set(told)) == len(told)
        assert set(told) <= set(made_by)  # what was acknowledged is there
        assert catalog.register("digits", "{}", digest(1), 1, 1, create_new_version=True).version == len(there) + 1
