"""The commands `mountd` and `mount.moorage`.

    mounting.py   mount, unmount, upgrade, credentials, status (health.py: status --check)
    data.py       freeze, verify, diff, download
    reading.py    warm, plan
    top.py        top
    cache.py      cache status, cache trim, cache clear
    machine.py    doctor (machine_checks.py, store_checks.py), config
    service.py    after-service, for units of systemd
    fstab.py      what mount(8) says to `mount.moorage`

Errors end here, in `main`: one line on stderr and the exit code of their class, a traceback only with --debug.
"""

import errno
import os
import shlex
import signal
import sys
from collections.abc import Sequence

import click

from mountd import log
from mountd.cli import fstab
from mountd.cli.cache import cache
from mountd.cli.data import diff, download, freeze, verify
from mountd.cli.machine import config, doctor
from mountd.cli.mounting import credentials, mount, status, unmount, upgrade
from mountd.cli.reading import plan, warm
from mountd.cli.service import after_service
from mountd.cli.top import top
from mountd.errors import AccessDeniedError, BadInputError, DefectError, MountdError, NotFoundError

INTERRUPTED = 130
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="moorage", prog_name="mountd")
@click.option("--debug", is_flag=True, help="Log everything, and show tracebacks.")
@click.pass_context
def mountd(context: click.Context, *, debug: bool) -> None:
    """Mount frozen datasets: Azure blobs, https or local folders at a path, read-only, for ever the same bytes."""
    context.obj = "DEBUG" if debug else "WARNING"
    log.open_log(context.obj, sys.stderr)


_COMMANDS = (
    *(mount, unmount, status, upgrade, credentials, top, warm, plan, freeze, verify, diff, download, cache),
    *(doctor, config, after_service),
)
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
    _end_orderly()
    sys.exit(_for_mount_8(sys.argv[1:]))


def _for_mount_8(arguments: Sequence[str]) -> int:
    """Mount as mount(8) asks for it; return one of mount(8)'s exit codes."""
    try:
        request = fstab.parse(arguments)
    except Exception as error:  # noqa: BLE001  # as in `run`
        return fstab.BROKEN if _fail(error, name="mount.moorage") == DefectError.exit_code else fstab.WRONG_USE
    for name in request.ignored:
        click.echo(f"mount.moorage: option {name}: not known, and ignored (-s)", err=True)
    if request.verbose:
        click.echo(f"mount.moorage: {shlex.join(('mountd', *request.command))}")
    if request.fake:
        return 0
    code = run(request.command)
    if code:
        return {INTERRUPTED: fstab.INTERRUPTED, DefectError.exit_code: fstab.BROKEN}.get(code, fstab.FAILED)
    try:
        fstab.put_on(request)
    except Exception as error:  # noqa: BLE001  # as in `run`
        _fail(error, name="mount.moorage")
        return fstab.FAILED
    return 0


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


def _fail(error: Exception, *, debug: bool = False, name: str = "mountd") -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    text, code = _told(error)
    click.echo(f"{name}: " + log.redact(" ".join(text.splitlines())), err=True)
    return code


def _told(error: Exception) -> tuple[str, int]:
    """The line that says `error`, and its exit code."""
    if isinstance(error, MountdError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.filename is not None:  # the user's to mend; without a name it is ours
        kind = {PermissionError: AccessDeniedError, FileNotFoundError: NotFoundError}.get(type(error), BadInputError)
        return f"{os.fsdecode(error.filename)}: {error.strerror}", kind.exit_code
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return f"the machine refuses: {error.strerror}", BadInputError.exit_code
    return f"a defect: {type(error).__name__}: {error}; see --debug", DefectError.exit_code
