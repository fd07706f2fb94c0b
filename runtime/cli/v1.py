"""`moorage v1`: a script or notebook of Azure ML SDK v1, as it is.

A script becomes this very process, so that signals, the terminal and the exit code are its own; a notebook is executed by a
kernel of this Python. Neither is a job: it is what submits jobs, and these find v1's names too.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from runtime.cli import Invocation
from runtime.errors import JobError


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--workspace", metavar="FOLDER", help="As before the command: the workspace.")
@click.option(
    "--url-map", metavar="FILE", help="A TOML of URL prefixes and what is read instead; else MOORAGE_URL_MAP."
)
@click.option("-o", "--output", metavar="FILE", help="Where the executed notebook goes; without it, nowhere.")
@click.argument("script", metavar="SCRIPT|NOTEBOOK")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def v1(
    invocation: Invocation,
    workspace: str | None,
    url_map: str | None,
    output: str | None,
    script: str,
    arguments: Sequence[str],
) -> int:
    """Run SCRIPT with `import azureml...` answered by Moorage, or execute the cells of NOTEBOOK.ipynb.

    The exit code is the script's own; a notebook's is 1 where a cell failed. Options stand before SCRIPT.
    """
    path = _readable(Path(script))
    is_notebook = path.suffix == ".ipynb"
    if is_notebook and len(arguments) == 2 and arguments[0] in {"-o", "--output"}:
        output, arguments = arguments[1], ()
    if is_notebook and arguments:
        raise click.UsageError("a notebook takes no arguments")
    if output is not None and not is_notebook:
        raise click.UsageError("-o is for notebooks; a script's own options stand behind it")
    environ = environment(invocation, workspace, url_map)
    if is_notebook:
        from runtime.cli import notebook

        return notebook.execute(path, Path(output) if output else None, environ)
    return _become(script, arguments, environ)


def environment(invocation: Invocation, workspace: str | None, url_map: str | None) -> dict[str, str]:
    """What the script gets: ours, with v1's names, and what the options say.

    Where a workspace is named, it stands whatever a `config.json` says. Where none is and none is found, a default one is
    made, for scripts that have no `config.json`.
    """
    from runtime.datasets import url_map as maps
    from runtime.job.v1 import with_v1
    from runtime.workspace import VARIABLE

    environ = with_v1(os.environ)
    invocation.workspace_option = named = workspace or invocation.workspace_option
    found = invocation.workspace_for_run()
    if named:
        environ[VARIABLE] = str(found.path)
    if chosen := url_map or environ.get(maps.VARIABLE):
        maps.read_map(Path(chosen))
        environ[maps.VARIABLE] = str(Path(chosen).absolute())
    return environ


def _become(script: str, arguments: Sequence[str], environ: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, script, *arguments], environ)  # noqa: S606 # a list that we built


def _readable(path: Path) -> Path:
    if not path.is_file():
        what = "a folder; name the script in it" if path.is_dir() else "no such script or notebook"
        raise JobError(f"{path}: {what}", 4)
    if not os.access(path, os.R_OK):
        raise JobError(f"{path}: not readable; chmod +r it", 5)
    return path
