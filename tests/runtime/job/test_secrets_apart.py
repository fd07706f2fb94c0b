"""A secret while a job runs: it is looked for as root in every process and file, and by the job, which is another user."""

import json
import os
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from mountd.stores.credentials import Credential
from runtime import datastores
from runtime.datastores import DatastoreRecord
from runtime.workspace import WorkspaceFolder
from tests.runtime.job import jobs
from tests.support import users
from tests.support.azurite import Azurite
from tests.support.content import content
from tests.support.waiting import until

pytestmark = [pytest.mark.azurite, pytest.mark.fuse, users.root_only]

OURS = (b"runtime.cli", b"keeper.py", b"mountd.supervisor", b"mountd.daemon")
JOB = """
import json, os, sys, time
from pathlib import Path
data, shared, needles = Path(sys.argv[1]), Path(sys.argv[2]), [each[::-1].encode() for each in sys.argv[3:]]
told = {"uid": os.getuid(), "bytes": len((data / "a").read_bytes()), "commands": [], "opened": [], "seen": []}
for folder in Path("/proc").glob("[0-9]*"):
    for name in ("cmdline", "environ", "mem", "maps"):
        try:
            with (folder / name).open("rb") as file:
                found = file.read(0) if name == "mem" else file.read()
        except OSError:
            continue
        if name == "cmdline":
            told["commands"].append(found.decode(errors="replace").replace("\\0", " "))
        elif int(folder.name) != os.getpid() and (found or name == "mem"):  # what has ended is empty
            told["opened"].append(f"{folder.name} {name}")
        if any(needle in found for needle in needles):
            told["seen"].append(f"{folder.name} {name}")
(shared / "told").write_text(json.dumps(told))
(shared / "told").rename(shared / "ready")
while not (shared / "go").exists():
    time.sleep(0.02)
"""
AS_NOBODY = [
    *("setpriv", "--reuid", str(users.NOBODY), "--regid", str(users.NOBODY), "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),  # the interpreter may lie below /root
]


def keep(
    workspace: WorkspaceFolder, url: str, token: str, way: str, folder: Path
) -> tuple[dict[str, str], Path | None]:
    """Register the store `blob`; (the variables of whoever starts the job, the one file that holds the secret)."""
    datastores.add(workspace, DatastoreRecord("unused", url, reference="env:UNUSED_SAS"))
    if way == "env":
        datastores.add(workspace, DatastoreRecord("blob", url, reference="env:TRAINING_SAS"))
        return {"TRAINING_SAS": token, "UNUSED_SAS": token}, None
    if way == "kept":
        datastores.add(workspace, DatastoreRecord("blob", url, Credential("sas", token)))
        return {}, workspace.datastores_path
    (folder / "sas").write_text(token)
    datastores.add(workspace, DatastoreRecord("blob", url, reference=f"file:{folder}/sas"))
    return {}, folder / "sas"


def processes_with(needles: list[bytes]) -> list[str]:
    """`PID NAME` of what of /proc holds one, for root, who may read everything."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                data = (folder / name).read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if any(needle in data for needle in needles):
                found.append(f"{folder.name} {name}")
    return found


def ours_below(pid: int) -> dict[int, bytes]:
    """The processes of Moorage among the descendants of `pid`, and itself."""
    found, waiting = {}, [pid]
    while waiting:
        each = waiting.pop()
        command = Path(f"/proc/{each}/cmdline").read_bytes()
        if any(word in command for word in OURS):
            found[each] = command
        for task in Path(f"/proc/{each}/task").iterdir():
            waiting += [int(child) for child in (task / "children").read_text().split()]
    return found


@pytest.mark.alone
@pytest.mark.parametrize("way", ["file", "kept", "env"])
def test_while_a_job_runs_its_secret_is_nowhere_but_where_it_was_put(
    azurite: Azurite, tmp_path: Path, way: str
) -> None:
    url = azurite.make_container(f"apart-{way}")
    azurite.put(f"apart-{way}", "a", content("a", 0, 5000))
    token = azurite.sas(f"apart-{way}")
    signature = token.partition("sig=")[2].partition("&")[0]
    needles = [signature, unquote(signature)]
    workspace, shared = jobs.make_workspace(tmp_path), tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    variables, holder = keep(workspace, url, token, way, tmp_path)
    variables |= {"MOORAGE_ALLOW_OTHER": "true", "MOORAGE_CACHE_DIR": str(tmp_path / "cache")}
    registered = jobs.moorage(workspace, "dataset", "register", "d", "blob/", variables=variables)
    assert registered.returncode == 0, registered.stderr
    command = [*AS_NOBODY, sys.executable, "-c", JOB, "{inputs.d}", str(shared), *(each[::-1] for each in needles)]
    with jobs.start(workspace, "run", "--input", "d=d:mount", "--", *command, variables=variables) as job:
        until(lambda: (shared / "ready").exists() or job.poll() is not None, what="the job", deadline_s=60)
        assert job.poll() is None, job.communicate()
        try:
            look_as_root(job.pid, [each.encode() for each in needles], tmp_path, holder, way)
        finally:
            (shared / "go").touch()
        out, err = job.communicate(timeout=60)
    assert job.returncode == 0, err
    assert not [each for each in needles if each in out + err]
    look_at_what_the_job_saw(json.loads((shared / "ready").read_text()))


def look_as_root(launcher: int, needles: list[bytes], folder: Path, holder: Path | None, way: str) -> None:
    """While the job runs: no process but whoever was given it in a variable, and no file but the one that keeps it."""
    assert processes_with(needles) == ([f"{launcher} environ"] if way == "env" else [])
    ours = ours_below(launcher)
    words = {word for word in OURS for command in ours.values() if word in command}
    assert words == set(OURS)  # the launcher, keeper, supervisor and worker were among those
    for pid in ours:
        limits = Path(f"/proc/{pid}/limits").read_text()
        (core,) = [line.split() for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core[4] == "0", ours[pid]  # the launcher leaves the hard limit to its job
    runtime_folder = Path(os.environ.get("XDG_RUNTIME_DIR", "/run")) / "mountd" if os.geteuid() else Path("/run/mountd")
    files = [each for top in (folder, runtime_folder) for each in top.rglob("*") if each.is_file()]
    assert any(each.name == "record.json" for each in files)
    assert any(each.name == "catalog.db" for each in files)
    found = [each for each in files if any(needle in _read(each) for needle in needles)]
    assert found == ([holder] if holder is not None else [])
    assert holder is None or holder.name == "sas" or holder.stat().st_mode & 0o777 == 0o600


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # a lock that was let go meanwhile
        return b""


def look_at_what_the_job_saw(told: dict[str, object]) -> None:
    assert (told["uid"], told["bytes"]) == (users.NOBODY, 5000)
    commands = str(told["commands"])
    assert all(word.decode() in commands for word in OURS)  # everybody may read these, and nothing is in them
    assert (told["opened"], told["seen"]) == ([], [])
