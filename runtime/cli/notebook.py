"""A notebook, executed from its first cell to its last in its own folder, by a kernel of this Python.

What a cell prints is printed as it comes; plots and the like go to the executed notebook only, if one is asked for. The
first cell that fails ends it, and the executed notebook is written all the same, as far as it came.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.errors import JobError, UserErrorException

if TYPE_CHECKING:
    from nbformat import NotebookNode

_KERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


def execute(path: Path, target: Path | None, environ: Mapping[str, str]) -> int:
    """Execute the notebook `path`; write it with its outputs to `target`. Returns 0, or 1 where a cell failed.

    Raises:
        JobError: nbclient or ipykernel is not installed.
        UserErrorException: `path` is no notebook, or its kernel died.
    """
    try:
        import ipykernel  # noqa: F401 # its kernel is started by name
        import nbclient.exceptions
    except ImportError as error:
        raise JobError(f"a notebook needs {error.name}; pip install 'moorage[notebooks]'", 3) from None
    if target is not None and not target.parent.is_dir():
        raise UserErrorException(f"{target.parent}: no such folder to write the notebook to")
    notebook, at = _read(path), [1]
    folder = path.parent.absolute()
    try:
        with tempfile.TemporaryDirectory(prefix="moorage-") as sockets:
            _client(notebook, folder, Path(sockets), at).execute(env=dict(environ), cwd=str(folder))
    except nbclient.exceptions.CellExecutionError as error:
        click.echo(f"moorage: {path}: cell {at[0]}: {error.ename}: {_one_line(error.evalue)}", err=True)
        return 1
    except nbclient.exceptions.DeadKernelError:
        raise UserErrorException(f"{path}: cell {at[0]}: its kernel died; out of memory, perhaps") from None
    finally:
        if target is not None:
            _write(notebook, target)
    return 0


def _client(notebook: "NotebookNode", folder: Path, sockets: Path, at: list[int]) -> Any:
    """What executes the notebook.

    `sockets` is a folder of this user's alone; `at` gets the number of the cell that it is at, from 1 over all.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class OurKernel(AsyncKernelManager):
        """This Python, whatever kernels the user has installed under the notebook's name for one.

        It is spoken to over sockets in a folder of ours, which no other user can open.
        """

        def __init__(self, **given: Any) -> None:
            super().__init__(**given, transport="ipc", ip=str(sockets / "kernel"))

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=_KERNEL, language="python", display_name="Python 3")

    class Telling(NotebookClient):
        """Prints what the cells print."""

        def output(self, outs: Any, msg: Any, display_id: str | None, cell_index: int) -> Any:
            _tell(msg["header"]["msg_type"], msg["content"])
            return super().output(outs, msg, display_id, cell_index)

    def begins(cell: "NotebookNode", cell_index: int) -> None:
        del cell
        at[:] = [cell_index + 1]

    where = {"metadata": {"path": str(folder)}}
    return Telling(notebook, kernel_manager_class=OurKernel, timeout=None, resources=where, on_cell_start=begins)


def _tell(kind: str, content: Mapping[str, Any]) -> None:
    if kind == "stream":
        stream = sys.stderr if content["name"] == "stderr" else sys.stdout
        stream.write(content["text"])
    elif kind in {"execute_result", "display_data"} and (text := content["data"].get("text/plain")):
        sys.stdout.write(f"{text}\n")
    elif kind == "error":
        sys.stderr.write("\n".join(content["traceback"]) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _read(path: Path) -> "NotebookNode":
    import nbformat

    try:
        notebook: NotebookNode = nbformat.read(os.fspath(path), as_version=4)  # type: ignore[no-untyped-call] # theirs
    except Exception as error:  # noqa: BLE001 # whatever is wrong with it, it is no notebook
        raise UserErrorException(f"{path}: not a notebook ({_one_line(str(error))[:200]})") from None
    for cell in notebook.cells:  # of an earlier execution
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _write(notebook: "NotebookNode", target: Path) -> None:
    import nbformat

    draft = target.with_name(f".{target.name}.draft")
    draft.write_text(nbformat.writes(notebook) + "\n", "utf-8")  # type: ignore[no-untyped-call] # theirs
    draft.replace(target)
