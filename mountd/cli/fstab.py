"""The words of mount(8) and fstab(5), as a command line of `mountd mount`.

    SOURCE  DIR  moorage  ro,_netdev,credential=file:/etc/moorage/sas,cache_size=50GiB  0  0

mount(8) calls `mount.moorage SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`. An option is a setting of ours
(`cache_dir` for `--cache-dir`), the place of a credential, or one of mount(8)'s own. Of these, what a frozen, read-only
mount is anyway asks for nothing, `noexec` and `nosymfollow` are put on the finished mount, and the rest is refused.

Invariants: no option is dropped in silence, unless it asks for what is so already; no value of an option is repeated in an
error, because it may be a secret; a place that everyone can read (fstab, the table of mounts) never gets a credential.
"""

import difflib
import getopt
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mountd import client
from mountd.config import FIELDS
from mountd.errors import BadInputError, MountPointError
from mountd.stores.blob.named import named_version
from mountd.stores.credentials.origins import from_option
from mountd.stores.registry import parse_source

USAGE: Final = "mount.moorage SOURCE DIR [-sfnv] [-o option,option=value]"
#: mount(8)'s own exit codes: its callers know no others.
WRONG_USE, BROKEN, INTERRUPTED, FAILED = 1, 2, 8, 32

# What mount(8), systemd and libmount say to each other. `rw` comes with every mount that does not say `ro`.
_TOLD = "rw defaults auto noauto user nouser users owner noowner group nogroup _netdev nofail comment"
# What a mount of ours is anyway: nothing is written, no time of access is kept, no device and no set-user-id is honoured.
_ALREADY = (
    "ro nosuid nodev exec symfollow noatime nodiratime atime diratime relatime norelatime nostrictatime async sync dirsync "
    "silent loud nomand iversion noiversion lazytime nolazytime"
)
_NOT_FOR_US, _SO_ALREADY = frozenset(_TOLD.split()), frozenset(_ALREADY.split())
_PUT_ON: Final = ("noexec", "nosymfollow")
_REFUSED: Final = {
    "remount": "a mount is not changed while it is used; unmount it, and mount it again",
    "suid": "set-user-id bits are never honoured on it; leave the option out",
    "dev": "devices are never honoured on it; leave the option out",
    "strictatime": "no time of access is kept of frozen files; leave the option out",
    "mand": "it has no mandatory locks; leave the option out",
    **dict.fromkeys(
        ("context", "fscontext", "defcontext", "rootcontext", "seclabel"),
        "it has no SELinux labels of its own; leave the option out",
    ),
    **dict.fromkeys(
        ("bind", "rbind", "move", "loop", "offset", "sizelimit", "encryption", "helper", "uhelper"),
        "this is no way to mount a dataset; leave the option out",
    ),
    **dict.fromkeys(
        [depth + kind for depth in ("", "r") for kind in ("shared", "slave", "private", "unbindable")],
        "mount(8) itself does that: mount --make-KIND DIR, after the mount",
    ),
}
_SETTINGS: Final = {field.name: field for field in FIELDS}
_READ_ONLY: Final = "remount,bind,ro,nosuid,nodev,noatime"


@dataclass(frozen=True, slots=True)
class Request:
    """What mount(8) asked for: `command` is the words after `mountd`, `put_on` what the finished mount gets besides."""

    source: str
    directory: Path
    command: tuple[str, ...]
    put_on: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    fake: bool = False
    verbose: bool = False


def parse(arguments: Sequence[str]) -> Request:
    """Read what mount(8) passes.

    Raises:
        BadInputError: anything that cannot be done as it is asked; without the value of an option.
    """
    try:
        found, places = getopt.gnu_getopt(list(arguments), "sfnvN:o:t:")
    except getopt.GetoptError as error:
        raise BadInputError(f"{error.msg}; usage: {USAGE}") from None
    if len(places) != len(("SOURCE", "DIR")):
        raise BadInputError(f"needs a source and a folder, and got {len(places)} words; usage: {USAGE}")
    given = [flag for flag, _ in found]
    _check_flags(found)
    source, directory = places
    _refuse_secret(source)
    words, put_on, ignored = _sorted_out(_split(",".join(value for flag, value in found if flag == "-o")), given)
    command = ("mount", *words, "--", source, directory)
    return Request(source, Path(directory), command, put_on, ignored, "-f" in given, "-v" in given)


def put_on(request: Request) -> None:
    """Give the finished mount what mount(2) takes for any mount; a mount that cannot have it is ended.

    Raises:
        MountPointError: it was refused.
    """
    if not request.put_on:
        return
    options = ",".join((_READ_ONLY, *request.put_on))
    # mount(8) knows the bits; -i: without a helper, which would be this program again.
    command = ["mount", "-i", "-n", "-o", options, "--", str(request.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        client.stop(request.directory, force=True)
        said = (done.stderr.strip().splitlines() or ["mount(8) failed"])[0]
        raise MountPointError(f"{request.directory}: cannot be {', '.join(request.put_on)}: {said}; nothing is mounted")


def _check_flags(found: Iterable[tuple[str, str]]) -> None:
    for flag, value in found:
        if flag == "-N":
            raise BadInputError(f"-N {value}: other namespaces are entered first: nsenter --mount=NAMESPACE mount ...")
        if flag == "-t" and value not in {"moorage", "fuse.moorage"}:
            raise BadInputError(f"-t {value}: the type is moorage, without a subtype")


def _refuse_secret(source: str) -> None:
    if "://" not in source:
        return  # a manifest
    try:
        parse_source(named_version(source)[0])
    except BadInputError as error:
        if not any(word in str(error) for word in ("SAS token", "password")):
            raise
        raise BadInputError(
            f"{error}; everyone can read fstab and the table of mounts, so put the credential into a file of mode 0600 "
            "and write the option credential=file:PATH"
        ) from None


def _split(text: str) -> Iterator[tuple[str, str | None]]:
    r"""Yield (name, value) of each option; a comma inside `"..."` or after a backslash belongs to the value."""
    for option in re.findall(r'(?:"[^"]*"|\\,|[^,])+', text):
        name, equals, value = option.partition("=")
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        yield name.strip(), value.replace("\\,", ",") if equals else None


def _sorted_out(
    options: Iterable[tuple[str, str | None]], given: Sequence[str]
) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """(flags of `mountd mount`, what to put on the mount, names that nobody knows, which `-s` allows)."""
    words: list[str] = []
    put: dict[str, None] = {}
    unknown: list[str] = []
    for name, value in options:
        known = name.replace("-", "_")
        if known in _SETTINGS or known == "credential":
            words.append(_flag(known, value))
        elif name in _PUT_ON:
            put[name] = None
        elif "no" + name in put:  # `exec` after the `noexec` that `user` brings
            del put["no" + name]
        elif name in _REFUSED:
            raise BadInputError(f"option {name}: {_REFUSED[name]}")
        elif "-s" in given and not _is_known(name):
            unknown.append(name)
        else:
            _check_known(name)
    if put and os.geteuid() != 0:
        raise BadInputError(
            f"option {', '.join(put)}: only root can ask for it; in fstab, where user and users bring it, write "
            "users,exec"
        )
    return words, tuple(put), tuple(unknown)


def _flag(name: str, value: str | None) -> str:
    if name == "credential":
        from_option(value or "", os.environ)  # also when nothing is to be mounted
        return f"--credential={value}"
    field = _SETTINGS[name]
    if (value is None) == (field.metavar is None):
        return field.flag if value is None else f"{field.flag}={value}"
    if value is None:
        raise BadInputError(f"option {name} needs a value: {name}={field.metavar}")
    raise BadInputError(f"option {name} takes no value; leave it out, or write {name} alone")


def _is_known(name: str) -> bool:
    return name in _NOT_FOR_US or name in _SO_ALREADY or name.startswith(("x-", "X-"))


def _check_known(name: str) -> None:
    if _is_known(name):
        return
    ours = [*_SETTINGS, "credential"]
    near = difflib.get_close_matches(name.lower(), [*ours, *_NOT_FOR_US, *_SO_ALREADY, *_PUT_ON], n=1)
    hint = f"did you mean {near[0]}?" if near else f"ours are {', '.join(ours)}"
    raise BadInputError(f"option {name}: not known; {hint}")
