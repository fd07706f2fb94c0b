"""Strict paths: what a listing says, checked before it becomes a name in a tree.

A path is `/`-separated, relative, and made of names that Linux can hold. Whatever else a service allows in a name (a blob
may be called `../x`, `a//b` or `/etc/passwd`) is refused by naming the path and the rule it breaks, never mended in
silence: a mended name would read other bytes than the ones listed.
"""

import re

from mountd.errors import HostilePathError

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4095  # PATH_MAX less the final NUL
_NAME = rb"(?!\.{1,2}(?:/|\Z))[^/\0]{1,%d}" % MAX_NAME_BYTES
_SOUND = re.compile(rb"%s(?:/%s)*" % (_NAME, _NAME))  # most paths by far, and ten times as fast as rule by rule
_SHOWN = 200  # characters of a path in an error: one line


def encode(path: str) -> bytes:
    """The bytes of `path` as the kernel sees them; surrogate escapes (non-UTF-8 names of local files) go back to bytes."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise HostilePathError(f"{path!r}: holds a lone surrogate, which no file name can; rename the object") from None


def decode(path: bytes) -> str:
    """The inverse of `encode`."""
    return path.decode("utf-8", "surrogateescape")


def split(path: str) -> list[bytes]:
    """The names that `path` consists of, from the root down.

    Raises:
        HostilePathError: naming the path and the rule it breaks.
    """
    encoded = encode(path)
    if len(encoded) <= MAX_PATH_BYTES and _SOUND.fullmatch(encoded):
        return encoded.split(b"/")
    if fault := _fault(encoded):
        shown = path if len(path) <= _SHOWN else path[:_SHOWN] + "…"
        raise HostilePathError(f"{shown!r}: {fault}; rename the object, or leave it out with a narrower source")
    return encoded.split(b"/")


def _fault(path: bytes) -> str | None:
    names = path.split(b"/")
    rules = (
        (not path, "an empty path"),
        (path.startswith(b"/"), "an absolute path"),
        (b"\0" in path, "holds a NUL"),
        (b"" in names, "holds an empty segment ('//')"),
        (b"." in names or b".." in names, "holds a segment '.' or '..'"),
        (len(path) > MAX_PATH_BYTES, f"longer than {MAX_PATH_BYTES} bytes"),
        (len(max(names, key=len)) > MAX_NAME_BYTES, f"holds a name longer than {MAX_NAME_BYTES} bytes"),
    )
    return next((fault for broken, fault in rules if broken), None)
