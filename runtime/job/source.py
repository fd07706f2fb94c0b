"""The copy of a job's source folder: what the child runs in, so that a script edited after `submit` changes no job.

`take` copies what v1 would have sent: every file but those that `.amlignore` names (`.gitignore` where there is none, as
git reads it), and never version control, notebooks' checkpoints, `outputs`, nor a workspace that lies inside. The
folder is measured first: more than v1's 300 MB is an error that names the largest parts, before anything is written.
Links are followed, since what they lead to need not be there later.

Invariant: the copy is whole or absent.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import UserErrorException

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

LIMIT_BYTES = 300 << 20
_NEVER = (
    ".git",
    ".azureml",
    ".moorage",
    ".ipynb_checkpoints",
    "__pycache__",
    "/outputs",
    "/azureml-logs",
    ".amlignore",
)
_FILES_OF_RULES = (".amlignore", ".gitignore")  # the first that is there


def take(source: Path, target: Path, *, without: Path) -> None:
    """Copy the folder `source` to `target`, which is not there yet; `without` is a folder that is left out.

    Raises:
        UserErrorException: it holds more than v1's limit, or something that cannot be read or is no file.
    """
    files = list(_files(source, _rules(source), without))
    _check_size(source, files)
    try:
        target.mkdir(mode=0o700, parents=True)
        for path in files:
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise UserErrorException(f"{error.filename or target}: {error.strerror}, while {source} was copied") from None
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _rules(source: Path) -> "GitIgnoreSpec":
    from pathspec import GitIgnoreSpec

    lines = list(_NEVER)
    for name in _FILES_OF_RULES:
        if (path := source / name).is_file():
            lines += path.read_text("utf-8", "replace").splitlines()
            break
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise UserErrorException(f"{path}: {error}; mend that line") from None


def _files(source: Path, rules: "GitIgnoreSpec", without: Path) -> Iterator[Path]:
    """Every file that belongs to the copy; a folder that is left out is not entered."""
    above: dict[str, frozenset[str]] = {str(source): frozenset({os.path.realpath(source)})}
    for folder, folders, names in os.walk(source, followlinks=True, onerror=_refuse):
        here = Path(folder)
        parents = above.pop(folder)
        for name in list(folders):
            path, real = here / name, os.path.realpath(here / name)
            if real in parents or real == str(without) or rules.match_file(f"{path.relative_to(source).as_posix()}/"):
                folders.remove(name)
            else:
                above[str(path)] = parents | {real}
        for name in names:
            if not rules.match_file((here / name).relative_to(source).as_posix()):
                yield here / name


def _refuse(error: OSError) -> None:
    raise UserErrorException(f"{error.filename}: {error.strerror}; name it in .amlignore, or make it readable")


def _check_size(source: Path, files: list[Path]) -> None:
    parts: Counter[str] = Counter()
    for path in files:
        if not path.is_file():
            raise UserErrorException(f"{path}: no file that could be copied; remove it, or name it in .amlignore")
        parts[path.relative_to(source).parts[0]] += path.stat().st_size
    if parts.total() > LIMIT_BYTES:
        largest = ", ".join(f"{name} ({size >> 20} MB)" for name, size in parts.most_common(3))
        raise UserErrorException(
            f"source_directory {source} holds {parts.total() >> 20} MB, and a job's copy of it at most "
            f"{LIMIT_BYTES >> 20}: the largest are {largest}; put data into a dataset, or name it in .amlignore"
        )
