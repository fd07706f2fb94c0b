"""What is killed at every step: an output that is written through its tree, and a job's outputs that are delivered.

Each function is the life of one process, started by `run` from a server that has imported everything and used nothing, so
that a hundred of them take seconds. A process is told at which step to end itself; what it has acknowledged until then
stands in a file, one byte an operation.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mountd.uploading.spool import Spool
from runtime import datastores
from runtime.job import finish, runs
from runtime.job.runs import OutputRecord
from runtime.job.spec import JobSpec
from runtime.outputs import OutputSpec
from runtime.workspace import WorkspaceFolder
from tests.support import outputs
from tests.support.content import content
from tests.support.outputs import Killer, get, move, put, resolve

Operation = tuple[str, ...]
_START_S = 120
#: What a job's end imports late: the server does it once, and not each of its processes.
_LATE = ("alembic.command", "mountd.freeze", "mountd.stores.local", "mountd.uploading.delivery", "runtime.catalog.sql")

#: Writing aside and renaming, renaming and removing what is in the store already, folders that move, names that change kind.
LONG: Sequence[Operation] = (
    ("mkdir", "d"),
    ("put", "d/a", "1000"),
    ("put", "b", "0"),
    ("put", "b", "10"),
    ("commit",),
    ("put", "tmp", "300"),
    ("move", "tmp", "d/a"),
    ("move", "b", "c"),
    ("mkdir", "e"),
    ("move", "d", "e/d"),
    ("commit",),
    ("unlink", "c"),
    ("put", "e/d/a", "20"),
    ("mkdir", "c"),
    ("put", "c/x", "5"),
    ("commit",),
    ("move", "e/d/a", "y"),
    ("commit",),
)
SHORT: Sequence[Operation] = (
    ("put", "a", "1000"),
    ("put", "tmp", "300"),
    ("move", "tmp", "b"),
    ("commit",),
    ("move", "a", "c"),
    ("unlink", "b"),
    ("commit",),
)


def run(life: Callable[..., None], *arguments: object) -> int | None:
    """Live a process to its end; its exit code, negative for a signal."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *_LATE])
    process = context.Process(target=life, args=arguments)
    process.start()
    process.join(_START_S)
    code = process.exitcode
    process.close()
    return code


def write_tree(
    folder: Path, url: str, operations: Sequence[Operation], acknowledged: Path, kill_at: int | None
) -> None:
    """Do the operations that are not acknowledged yet, and commit."""
    killer = Killer(kill_at)
    done = acknowledged.stat().st_size if acknowledged.exists() else 0
    with (
        acknowledged.open("ab", buffering=0) as log,
        outputs.spool(folder, url, step=killer, settle_s=3600.0, uploads=1) as tree,
    ):
        check_kept(tree, operations, done)
        for number, operation in enumerate(operations[done:], done):
            _do(tree, operation, number)
            log.write(b"!")
    acknowledged.with_suffix(".steps").write_text(str(killer.count))


def check_kept(tree: Spool, operations: Sequence[Operation], done: int) -> None:
    """All that was acknowledged is in the tree, but for what the operation after it may have changed."""
    touched = set(operations[done][1:]) if done < len(operations) else set[str]()
    for path, data in truth(operations[:done]).items():
        if not any(path == name or path.startswith(f"{name}/") for name in touched):
            assert get(tree, path) == data, path


def truth(operations: Sequence[Operation]) -> dict[str, bytes]:
    """What is to be there after the operations, done to a dictionary."""
    files: dict[str, bytes] = {}
    for number, (verb, *names) in enumerate(operations):
        if verb == "put":
            files[names[0]] = _bytes(names[1], number)
        elif verb == "unlink":
            del files[names[0]]
        elif verb == "move":
            old, new = names
            for path in [each for each in files if each == old or each.startswith(f"{old}/")]:
                files[new + path.removeprefix(old)] = files.pop(path)
    return files


def _bytes(size: str, number: int) -> bytes:
    return content(f"operation {number}", 0, int(size))


def _do(tree: Spool, operation: Operation, number: int) -> None:
    """One operation; if a process died in it, it may be done already."""
    verb, *names = operation
    if verb == "put":
        put(tree, names[0], _bytes(names[1], number))
    elif verb == "commit":
        tree.commit("run")
    elif verb == "mkdir":
        with suppress(FileExistsError):
            tree.mkdir(*_place(tree, names[0]), 0o755)
    elif verb == "unlink":
        with suppress(FileNotFoundError):
            tree.unlink(*_place(tree, names[0]))
    else:
        with suppress(FileNotFoundError):
            move(tree, *names)
            return
        resolve(tree, names[1])  # it was moved before


def _place(tree: Spool, path: str) -> tuple[int, bytes]:
    folder, _, name = path.rpartition("/")
    return resolve(tree, folder), name.encode()


def finish_job(workspace_path: Path, run_id: str, steps: Path, kill_at: int | None) -> None:
    """What a launcher does after its child: store and register the outputs, and end the record."""
    workspace = WorkspaceFolder(workspace_path)
    killer = Killer(kill_at)
    record = runs.read(workspace, run_id)
    first = record.status == "Running"
    if first:
        record = runs.take(workspace, record, status="Finalizing")
        record = finish.finish_outputs(workspace, record, print, killer)
        assert finish.incomplete(record) is None, record
        runs.write(workspace, record, status="Completed", exit_code=0)
    else:
        finish.resume(workspace, run_id, print, killer)
    steps.write_text(json.dumps(killer.count))


def make_job(workspace: WorkspaceFolder, url: str, run_id: str, sizes: dict[str, int], names: Sequence[str]) -> None:
    """The record of a job whose child has just succeeded, with what it left in its outputs."""
    credential = outputs.credential_for(url)
    datastores.add(workspace, datastores.DatastoreRecord("place", url, credential))
    specs = tuple(OutputSpec(name, "place", f"{name}/{{run-id}}", register_as=name) for name in names)
    spec = JobSpec(run_id, "job", ("true",), os.fspath(workspace.path), outputs=specs)
    record = runs.create(workspace, spec)
    written = []
    for each in specs:
        folder = workspace.spool_path / run_id / each.name
        for path, size in sizes.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content(f"{each.name} {path}", 0, size))
        written.append(OutputRecord(each.name, "place", each.prefix(run_id), os.fspath(folder), register_as=each.name))
    runs.write(workspace, record, status="Running", child_exit_code=0, outputs=tuple(written))
