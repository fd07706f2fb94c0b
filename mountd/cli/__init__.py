"""The commands `mountd` and `mount.moorage`.

    mounting.py   mount, unmount, upgrade, status (health.py: status --check)
    data.py       freeze, verify, download
    reading.py    warm, plan
    top.py        top
    cache.py      cache status, cache trim, cache clear
    machine.py    doctor (machine_checks.py, store_checks.py), config

Errors end here, in `main`: one line on stderr and the exit code of their class, a traceback only with --debug.
"""

import os
import signal
import sys
from collections.abc import Sequence

import click

from mountd import log
from mountd.cli.cache import cache
from mountd.cli.data import download, freeze, verify
from mountd.cli.machine import config, doctor
from mountd.cli.mounting import mount, status, unmount, upgrade
from mountd.cli.reading import plan, warm
from mountd.cli.top import top
from mountd.errors import AccessDeniedError, BadInputError, DefectError, MountdError, NotFoundError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="moorage", prog_name="mountd")
@click.option("--debug", is_flag=True, help="Log everything, and show tracebacks.")
@click.pass_context
def mountd(context: click.Context, *, debug: bool) -> None:
    """Mount frozen datasets: Azure blobs, https or local folders at a path, read-only, for ever the same bytes."""
    context.obj = "DEBUG" if debug else "WARNING"
    log.open_log(context.obj, sys.stderr)


_COMMANDS = (mount, unmount, status, upgrade, top, warm, plan, freeze, verify, download, cache, doctor, config)
for _command in _COMMANDS:
    mountd.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `mountd` and leave with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _stand_in_for_closed()
    _end_orderly()
    sys.exit(run(arguments))


def _end_orderly() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that what is half-made is removed."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _stand_in_for_closed() -> None:
    """Open /dev/null for each standard stream that was closed: they are None then, and a socket would get their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in this order, the lowest number is given
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def mount_helper() -> None:
    """Run `mount.moorage SOURCE DIR [-o OPTIONS]`, as mount(8) calls it for `mount -t moorage`."""
    _stand_in_for_closed()
    try:
        arguments = helper_arguments(sys.argv[1:])
    except click.UsageError as error:
        click.echo(f"mount.moorage: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    _end_orderly()
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Nothing is raised."""
    debug = "--debug" in arguments
    try:
        result = mountd.main(list(arguments), prog_name="mountd", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return 0  # `mountd status | head`
    except Exception as error:  # noqa: BLE001  # the last resort: a defect is one line, too
        return _fail(error, debug=debug)
    return result if isinstance(result, int) else 0


def helper_arguments(arguments: Sequence[str]) -> list[str]:
    """The `mountd` command line for what mount(8) passes: SOURCE DIR [-sfnv] [-o a,b=c]."""
    places: list[str] = []
    options: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "-o":
            options += next(words, "").split(",")
        elif not word.startswith("-"):
            places.append(word)
    if len(places) != len(("SOURCE", "DIR")):
        raise click.UsageError("mount.moorage SOURCE DIR [-o option,option=value]")
    flags = [_flag(option) for option in options if option and option.partition("=")[0] not in _MOUNT_8]
    return ["mount", *flags, *places]


# What mount(8) says to every helper: a mount of ours is read-only, nosuid and nodev already, the rest is for mount(8).
_MOUNT_8 = frozenset(
    {
        "ro",
        "rw",
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "noatime",
        "relatime",
        "_netdev",
        "nofail",
    }
)


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def _fail(error: Exception, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    text, code = _told(error)
    click.echo("mountd: " + log.redact(" ".join(text.splitlines())), err=True)
    return code


def _told(error: Exception) -> tuple[str, int]:
    """The line that says `error`, and its exit code."""
    if isinstance(error, MountdError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.filename is not None:  # the user's to mend; without a name it is ours
        kind = {PermissionError: AccessDeniedError, FileNotFoundError: NotFoundError}.get(type(error), BadInputError)
        return f"{os.fsdecode(error.filename)}: {error.strerror}", kind.exit_code
    return f"a defect: {type(error).__name__}: {error}; see --debug", DefectError.exit_code
