"""Starting a process that outlives whoever asks for it: a launcher, or the conductor of a pipeline.

What it is to do comes as JSON in a file without a name, on an inherited descriptor: it may be longer than a pipe holds or
a command line may be, and is nobody else's to read. What the process says itself goes to a file.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from runtime.job import runs
from runtime.job.spec import JobSpec
from runtime.workspace import WorkspaceFolder

_LAUNCHER = Path(__file__).with_name("launcher.py")


def start_launcher(workspace: WorkspaceFolder, spec: JobSpec) -> "subprocess.Popen[bytes]":
    """Start the launcher of a run whose record is there."""
    log = runs.folder_of(workspace, spec.run_id) / "launcher.log"
    return start(_LAUNCHER, log, {"workspace": str(workspace.path), "spec": spec.to_json()})


def start(script: Path, log: Path, order: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
    """Start `script` with this Python in a session of its own; its argument is the number of the order's descriptor."""
    with log.open("wb") as said, _on_a_descriptor(order) as given:
        return subprocess.Popen(
            [sys.executable, "-P", str(script), str(given.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=[given.fileno()],
            start_new_session=True,
        )


@contextlib.contextmanager
def _on_a_descriptor(order: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as given:
        given.write(json.dumps(order).encode())
        given.seek(0)
        yield given
