"""The command `moorage`: its groups, and the one place where an error becomes a line and an exit code.

A command's module is imported when the command is called, or asked for its own help, so `moorage --help` stays fast.
Every command gets an `Invocation` as its context object; every error that a user can cause leaves as one line on stderr
`moorage: ...` with the code of DESIGN §12. Anything else is a defect of ours: one line and code 70. With --debug its
traceback comes first.
"""

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

import click

from mountd.errors import MountdError
from runtime.errors import AzureMLException, JobError
from runtime.job import first

if TYPE_CHECKING:
    from runtime.workspace import WorkspaceFolder

_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
# What `moorage --help` lists: command -> (module and attribute, the line that help shows).
_COMMANDS = {
    "init": ("runtime.cli.data:init", "Make a workspace here."),
    "datastore": ("runtime.cli.data:datastore", "Places where data lies, with their credentials."),
    "dataset": ("runtime.cli.dataset:dataset", "Frozen, named, versioned lists of files."),
    "run": ("runtime.cli.run:run", "Run a command with its inputs mounted and its outputs kept."),
    "runs": ("runtime.cli.runs:runs", "What has run: logs, metrics, reports."),
    "labels": ("runtime.cli.labels:labels", "What people said of images and texts."),
    "v1": ("runtime.cli.v1:v1", "Run a script or notebook of Azure ML SDK v1 as it is."),
}


@dataclass(slots=True)
class Invocation:
    """One call of `moorage`: the options that stand before the command."""

    workspace_option: str | None = None
    debug: bool = False

    def workspace(self) -> "WorkspaceFolder":
        """The workspace that this call means; raises UnknownNameError, with the remedy, where there is none."""
        from runtime.workspace import find

        return find(explicit=self.workspace_option)

    def workspace_for_run(self) -> "WorkspaceFolder":
        """As `workspace`, but a default one is made where none is named or found."""
        from runtime.workspace import default_for_run

        return default_for_run(explicit=self.workspace_option)


pass_invocation = click.make_pass_decorator(Invocation)


class LazyGroup(click.Group):
    """A group that knows its commands' names and imports them one by one."""

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], name: str, help: str) -> None:  # noqa: A002 # click's name
        super().__init__(name=name, help=help, context_settings={"help_option_names": ["-h", "--help"]})
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        """The names, in the order of the table."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        """Import the command called `cmd_name`, if there is one."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # as above
        """List the commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy.items()])


moorage = LazyGroup(
    lazy=_COMMANDS,
    name="moorage",
    help="Datasets with versions, and jobs that train on them.",
)


def _set_workspace(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    ctx.ensure_object(Invocation).workspace_option = value


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 # click's signature
    ctx.ensure_object(Invocation).debug = value


moorage.params = [
    click.Option(
        ["--workspace"],
        metavar="FOLDER",
        expose_value=False,
        callback=_set_workspace,
        help="The workspace; else MOORAGE_WORKSPACE, else the nearest .moorage/ upwards, else ~/.moorage/default.",
    ),
    click.Option(["--debug"], is_flag=True, expose_value=False, callback=_set_debug, help="Show tracebacks."),
]
click.version_option(package_name="moorage", prog_name="moorage")(moorage)


def main(arguments: Sequence[str] | None = None) -> Never:
    """Run the command line and leave by `sys.exit` with its code; in a container as the child of process 1."""
    _stand_in_for_closed()
    first.stand()
    sys.exit(call(sys.argv[1:] if arguments is None else list(arguments)))


def _stand_in_for_closed() -> None:
    """Open /dev/null for each standard stream that was closed: else a file of ours would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in this order, the lowest number is given
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def call(arguments: Sequence[str]) -> int:
    """Run the command line `arguments`; return the exit code, after one line on stderr where something was wrong."""
    invocation = Invocation()
    try:
        code = moorage.main(list(arguments), "moorage", standalone_mode=False, obj=invocation)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _line("interrupted", 130)
    except Exception as error:  # noqa: BLE001 # the one place where whatever it is becomes a line
        if invocation.debug:
            traceback.print_exc()
        return _line(*_told(error))
    return code if isinstance(code, int) else 0


def _told(error: Exception) -> tuple[str, int]:
    """The line that says `error`, and its exit code."""
    if isinstance(error, MountdError | AzureMLException | JobError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        code = {PermissionError: 5, FileNotFoundError: 4}.get(type(error), 3)
        return f"{os.fsdecode(error.filename)}: {error.strerror}", code
    if isinstance(error, OSError) and error.errno in _REFUSALS:  # such as a full disk below our stdout
        return f"the machine refuses: {error.strerror}", 3
    return f"a defect in Moorage ({type(error).__name__}: {error}); `moorage --debug ...` shows where", 70


def _line(text: str, code: int) -> int:
    click.echo(f"moorage: {' '.join(text.splitlines())}", err=True)
    return code
