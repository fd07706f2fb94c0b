"""Models: files with a name and numbered versions, kept in the workspace's folder.

    models/<name>/<version>/model.json     what is known of it
    models/<name>/<version>/files/<name of the file or folder>

A version is made in a folder beside its place and renamed into it, so it is whole or absent, and of two processes that
register at once each gets a number of its own. Its files are read-only and never change.
"""

import contextlib
import datetime as dt
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder
from runtime.workspace.files import locked, write_whole

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_LATEST = "latest"


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One version. `file` is the name of its file or folder; `datasets` are (what for, id of a dataset)."""

    name: str
    version: int
    file: str
    created: str
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    framework: str | None = None
    framework_version: str | None = None
    run_id: str | None = None
    datasets: Sequence[Sequence[str]] = ()


def folder_of(workspace: WorkspaceFolder, name: str, version: int) -> Path:
    """The folder of one version, there or not."""
    return _home(workspace, name) / str(version)


def path_of(workspace: WorkspaceFolder, record: ModelRecord) -> Path:
    """Where the file or folder of a model lies."""
    return folder_of(workspace, record.name, record.version) / "files" / record.file


def register(workspace: WorkspaceFolder, source: Path, record: ModelRecord) -> ModelRecord:
    """Keep a copy of `source` as the next version of `record.name`; the version and time of `record` are set here.

    Raises:
        UserErrorException: no model could be called so, or `source` is not there.
    """
    home = _home(workspace, record.name)
    source = source.resolve()
    if not source.exists():
        raise UnknownNameError(
            f"model_path {source}: no such file or folder; a model is what a run or script has written"
        )
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=home))
    try:
        _copy(source, making / "files" / source.name)
        record = replace(record, file=source.name, created=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"))
        number = max(_numbers(home), default=0) + 1
        while True:
            record = replace(record, version=number)
            write_whole(making / "model.json", json.dumps(asdict(record), indent=1) + "\n")
            with contextlib.suppress(OSError):
                making.rename(home / str(number))
                return record
            if not (home / str(number)).exists():  # not that another was faster
                raise UserErrorException(
                    f"{home}: the model cannot be put there; see the rights and the room of its disk"
                )
            number += 1
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir()
    if source.is_dir():
        shutil.copytree(source, target)
        found = [path for path in target.rglob("*") if path.is_file() and not path.is_symlink()]
    else:
        shutil.copyfile(source, target)
        found = [target]
    for path in found:
        path.chmod(0o444)


def get(workspace: WorkspaceFolder, name: str, version: int | str | None = None) -> ModelRecord:
    """A version of a model, the newest if none is said.

    Raises:
        UnknownNameError: there is no such model or version; says what there is.
    """
    home = _home(workspace, name)
    numbers = sorted(_numbers(home))
    if not numbers:
        known = ", ".join(_names(workspace)) or "none"
        raise UnknownNameError(f"no model '{name}' in {workspace.path}; there are: {known}")
    wanted = numbers[-1] if version in {None, _LATEST} else version
    if str(wanted) not in map(str, numbers):
        raise UnknownNameError(f"model '{name}' has no version {version!r}; it has {', '.join(map(str, numbers))}")
    return _read(home / str(wanted) / "model.json")


def list_all(workspace: WorkspaceFolder, name: str | None = None) -> Iterator[ModelRecord]:
    """Every version of every model, or of the one called `name`: by name, the newest version first."""
    for each in _names(workspace) if name is None else [name]:
        home = _home(workspace, each)
        for number in sorted(_numbers(home), reverse=True):
            yield _read(home / str(number) / "model.json")


def change(workspace: WorkspaceFolder, name: str, version: int, tags: Mapping[str, str | None]) -> ModelRecord:
    """Set tags of a version; None takes one away."""
    home = _home(workspace, name)
    with locked(home / ".lock"):
        record = get(workspace, name, version)
        merged = {key: value for key, value in {**record.tags, **tags}.items() if value is not None}
        changed = replace(record, tags=merged)
        write_whole(home / str(version) / "model.json", json.dumps(asdict(changed), indent=1) + "\n")
    return changed


def _home(workspace: WorkspaceFolder, name: object) -> Path:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserErrorException(
            f"{name!r} is no name for a model; use up to 255 letters, digits, '_', '-' and '.', a letter or digit first"
        )
    return workspace.path / "models" / name


def _names(workspace: WorkspaceFolder) -> list[str]:
    return sorted(path.parent.name for path in (workspace.path / "models").glob("*/1"))


def _numbers(home: Path) -> list[int]:
    return [int(path.name) for path in home.glob("*") if path.name.isdecimal()]


def _read(path: Path) -> ModelRecord:
    try:
        return ModelRecord(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserErrorException(f"{path}: not what is known of a model ({error}); remove its folder") from None
