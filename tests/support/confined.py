"""A command under the restrictions of a unit file, by the means of the kernel that systemd itself uses.

    python -m tests.support.confined UNIT COMMAND...

Bounding set, NoNewPrivileges, MemoryDenyWriteExecute (the kernel's own, from 6.3 on), and one seccomp filter of
SystemCallFilter and RestrictAddressFamilies, made by libseccomp, which systemd depends on. What cannot be read is an error.
"""

import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 24, 38, 65
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_EQUAL = 4
_CAPABILITIES = {"CAP_DAC_READ_SEARCH": 2, "CAP_SYS_ADMIN": 21}
_LAST_CAPABILITY = 40


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("wanted", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    )


def options(text: str) -> dict[str, str]:
    """The options of a unit file."""
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE))


def main() -> None:
    unit, *command = sys.argv[1:]
    given = options(Path(unit).read_text())
    kept = {_CAPABILITIES[name] for name in given["CapabilityBoundingSet"].split()}
    for number in range(_LAST_CAPABILITY + 1):
        if number not in kept:
            _prctl(_PR_CAPBSET_DROP, number)
    assert given["NoNewPrivileges"] == given["MemoryDenyWriteExecute"] == "yes"
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_MDWE, 1)
    _filter(
        {"execve", *_calls(given["SystemCallFilter"])} - {"socket"},
        [getattr(socket, name) for name in given["RestrictAddressFamilies"].split()],
    )
    os.execvp(command[0], command)  # noqa: S606  # that is what it is for


def _calls(names: str) -> Iterator[str]:
    for name in names.split():
        if not name.startswith("@"):
            yield name
            continue
        told = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        yield from _calls(" ".join(line for line in told.stdout.splitlines()[1:] if not line.strip().startswith("#")))


def _filter(calls: set[str], families: list[int]) -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_REFUSE)))
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # below: not a call of this machine
            assert library.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, 0, None) == 0, name
    call = library.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        wanted = _Comparison(0, _EQUAL, family, 0)
        assert library.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), call, 1, ctypes.byref(wanted)) == 0
    assert library.seccomp_load(context) == 0


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(ctypes.c_ulong(each) for each in (value, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


if __name__ == "__main__":
    main()
