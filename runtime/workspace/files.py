"""Small files that are whole or absent, a lock between processes, and TOML that users may edit.

`write_whole` writes beside the target, syncs, and renames over it, so that a reader sees the old text or the new one.
`locked` serialises a read-modify-write between processes by `flock` on a file of its own (never on the file that is
replaced: a lock on an inode that a rename has unlinked protects nothing). Where there is no `fcntl` there is no lock, and
the last writer wins with a whole file. `read_toml` checks what it reads against a dataclass; `toml_text` is what writing
needs, as the standard library only reads TOML.
"""

import contextlib
import errno
import json
import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from runtime.errors import UserErrorException

LOCK_DEADLINE_S = 30.0
_Value = TypeVar("_Value")


def write_whole(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8), readable by the owner only; on any error the old file stays."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk: the system does not say whose
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can sync a folder at all."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, *, deadline_s: float = LOCK_DEADLINE_S) -> Iterator[None]:
    """Hold the lock file `path` (made if missing) against every other process and thread.

    Raises:
        UserErrorException: another process held it for longer than `deadline_s`.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX: see the module's text
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + deadline_s
    try:
        while not _try_lock(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if time.monotonic() > end:
                raise UserErrorException(
                    f"{path} has been locked by another process for {deadline_s:g} s; end that process and try again"
                )
            time.sleep(0.01)  # flock has no wait with a deadline
        yield
    finally:
        os.close(descriptor)


def _try_lock(flock: Callable[[int, int], None], descriptor: int, operation: int) -> bool:
    try:
        flock(descriptor, operation)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def toml_text(value: str) -> str:
    """`value` as a TOML basic string, quotes included."""
    # JSON's escapes are TOML's, except for DEL, and for surrogate pairs, which ensure_ascii=False avoids.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_toml(path: Path, kind: type[_Value], keys: Sequence[str]) -> _Value:
    """Read a TOML file that a user may have edited as the dataclass `kind`; `keys` are all that may stand in it.

    Raises:
        UserErrorException: not TOML, an unknown key (with a suggestion), a missing one, or a value of another type. No
            value is repeated: it may be a secret.
    """
    import pydantic

    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserErrorException(f"{path}: not TOML ({error}); mend that line") from None
    try:
        return pydantic.TypeAdapter(kind).validate_python(document)
    except pydantic.ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise UserErrorException(f"{path}: {_fault_text(dict(fault), keys)}") from None


def _fault_text(fault: dict[str, Any], keys: Sequence[str]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] != "unexpected_keyword_argument":
        return f"'{where}': {fault['msg']}; mend it by hand"
    import difflib

    near = difflib.get_close_matches(where.rpartition(".")[2], keys, 1)
    return f"unknown key '{where}'" + (f"; did you mean '{near[0]}'?" if near else "; remove it")
