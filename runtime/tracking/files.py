"""The files of a run: what was uploaded to it, and what its script left in `outputs/` and `logs/`.

    runs/<run id>/files/<name>

A file is whole or absent: it is copied beside its place and then linked there, which also settles who was first. A name that
is taken is an error, as in v1; what a script left at the end of its job replaces nothing either.

`look` before the child and `collect` after it: a folder may hold files of earlier jobs, and those are not this run's. A copy
stops where the disk would be full, and says so.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from runtime.errors import UnknownNameError, UserErrorException

COLLECTED = ("outputs", "logs")
_FOLDER = "files"
_SPARE_BYTES = 1 << 30  # room that collecting leaves on the disk
_MAX_FILES = 100_000  # of one job
_BLOCK_BYTES = 1 << 20
Seen = Mapping[str, tuple[int, ...]]


def checked_name(name: object) -> str:
    """The name of a run's file, as v1 writes it: relative, with `/`.

    Raises:
        UserErrorException: no file could be called so.
    """
    text = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(text, str) or not text.strip("/") or "\0" in text:
        raise UserErrorException(f"{name!r} is no name for a file of a run; write it as outputs/model.pkl")
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if text.startswith("/") or ".." in parts or not parts or any(len(os.fsencode(part)) > 255 for part in parts):
        raise UserErrorException(f"{name!r} is no name for a file of a run: it is relative, without '..'")
    return "/".join(parts)


def add(folder: Path, name: object, source: "Path | BinaryIO") -> str:
    """Copy a file or stream to the run in `folder`; return its name.

    Raises:
        UserErrorException: the name is taken, or lies in a file.
        OSError: the source cannot be read, or the disk does not take it.
    """
    checked = checked_name(name)
    with _incoming(folder) as part:
        with part.open("wb") as file:
            if isinstance(source, Path):
                with source.open("rb") as given:
                    shutil.copyfileobj(given, file, _BLOCK_BYTES)
            else:
                shutil.copyfileobj(source, file, _BLOCK_BYTES)
        _place(folder, checked, part)
    return checked


def _place(folder: Path, name: str, part: Path) -> None:
    target = folder / _FOLDER / name
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.link(part, target)
    except (FileExistsError, NotADirectoryError):
        raise UserErrorException(f"the run has a file {name!r} already; give this one another name") from None


@contextlib.contextmanager
def _incoming(folder: Path) -> Iterator[Path]:
    where = folder / ".incoming"
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=where)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another process has one there
            where.rmdir()


def names(folder: Path) -> list[str]:
    """The files of the run in `folder`, in order."""
    root = folder / _FOLDER
    found = (Path(where) / each for where, _, below in os.walk(root) for each in below)
    return sorted(path.relative_to(root).as_posix() for path in found)


def find(folder: Path, name: object) -> Path:
    """Where the file (or folder of files) `name` of the run lies.

    Raises:
        UnknownNameError: the run has none.
    """
    path = folder / _FOLDER / checked_name(name)
    if not path.exists():
        known = names(folder)
        some = f"; it has {', '.join(known[:5])}{' …' if len(known) > 5 else ''}" if known else "; it has none"
        raise UnknownNameError(f"the run has no file {str(name)!r}{some}")
    return path


def look(cwd: Path, folder: Path) -> Seen:
    """What lies in the collected folders of `cwd` now; every change of a file changes its entry.

    Where `cwd` is a copy made for the run in `folder`, they are made first: v1 has them there, and scripts rely on it.
    """
    if cwd.is_relative_to(folder):
        for name in COLLECTED:
            with contextlib.suppress(OSError):
                (cwd / name).mkdir(exist_ok=True)
    return {name: (at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns) for name, _, at in _walk(cwd, ())}


def collect(
    folder: Path,
    cwd: Path,
    before: Seen,
    without: Collection[Path],
    say: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    """Copy what is new in `outputs/` and `logs/` of `cwd` since `before`; folders of inputs and outputs are not looked into.

    Nothing here is an error: what cannot be kept is said, and stays where it is.
    """
    own = cwd.is_relative_to(folder)  # a copy of the source made for this run: nobody writes there again
    for number, (name, path, at) in enumerate(_walk(cwd, without)):
        if before.get(name) == (at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns):
            continue
        if number >= _MAX_FILES or stopped():
            say(f"{cwd}: not all files of {' and '.join(COLLECTED)} became files of the run; the others stay there")
            return
        try:
            if own:
                _place(folder, checked_name(name), path)
                continue
            if shutil.disk_usage(folder).free - at.st_size < _SPARE_BYTES:
                say(f"{path}: not kept with the run, its disk is nearly full; it stays there")
                continue
            add(folder, name, path)
        except UserErrorException:
            if (folder / _FOLDER / name).is_file():  # the script uploaded it itself
                continue
            say(f"{path}: its name cannot be kept with the run; it stays there")
        except OSError as error:
            say(f"{path}: not kept with the run: {error.strerror}; it stays there")


def _walk(cwd: Path, without: Collection[Path]) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Name, path and attributes of every regular file; links are followed nowhere."""
    for top in COLLECTED:
        if (cwd / top).is_symlink():
            continue
        for where, folders, below in os.walk(cwd / top):
            at = Path(where)
            folders[:] = [each for each in folders if at / each not in without and not (at / each).is_mount()]
            if at in without:
                folders.clear()
                continue
            for each in sorted(below):
                path = at / each
                with contextlib.suppress(OSError):  # gone meanwhile
                    attributes = path.lstat()
                    if path.is_file() and not path.is_symlink():
                        yield PurePosixPath(path.relative_to(cwd)).as_posix(), path, attributes
