"""The workspace: a folder that holds what a cloud service used to.

    workspace.toml      the mark of a workspace: v1's four identity strings, and the catalog's URL if it is not catalog.db
    catalog.db          names and versions          datastores.toml     places and their credentials
    manifests/          frozen lists, by digest     runs/  spool/       what jobs leave and stage
    workspaceblobstore/ the folder behind the datastore of that name

It is found, in this order, by the option --workspace, by MOORAGE_WORKSPACE, as the nearest `.moorage/` upwards from the
current folder, or as ~/.moorage/default. A folder without `workspace.toml` is none: data folders may hold a `.moorage/`
of mountd's own. The mark is written last, so a workspace is whole or absent; its folder is the owner's only (credentials
live here).
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace.files import locked, read_toml, toml_text, write_whole

__all__ = [
    "Identity",
    "WorkspaceFolder",
    "all_named",
    "check_catalog_url",
    "default_for_run",
    "find",
    "home",
    "init",
    "named",
]

FOLDER = ".moorage"
VARIABLE = "MOORAGE_WORKSPACE"
_MARK = "workspace.toml"
_OWN = {".lock", ".gitignore", "runs", "spool", "manifests", "workspaceblobstore"}  # what an init cut short leaves
_KEYS = ("name", "subscription_id", "resource_group", "location", "catalog")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PASSWORD_BEFORE_HOST = re.compile(r"[^:/]*://[^:/]*:[^@]+@")
_PASSWORD_IN_QUERY = re.compile(r"[?&](ssl)?password=", re.IGNORECASE)
_REMEDY = f"make one here with `moorage init`, or name one with --workspace or {VARIABLE}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What v1 asks a workspace for, and where its catalog is; `catalog` None is the file in the folder."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    name: str
    subscription_id: str = "00000000-0000-0000-0000-000000000000"
    resource_group: str = "local"
    location: str = "local"
    catalog: str | None = None


@dataclass(frozen=True, slots=True)
class WorkspaceFolder:
    """The folder itself (for a project: its `.moorage`), by its absolute path."""

    path: Path

    @property
    def catalog_path(self) -> Path:
        """The SQLite file of names and versions."""
        return self.path / "catalog.db"

    @property
    def datastores_path(self) -> Path:
        """The TOML of datastores; holds secrets."""
        return self.path / "datastores.toml"

    @property
    def runs_path(self) -> Path:
        """One folder a run."""
        return self.path / "runs"

    @property
    def spool_path(self) -> Path:
        """Local staging of outputs."""
        return self.path / "spool"

    @property
    def manifests_path(self) -> Path:
        """Frozen lists, each named by its digest."""
        return self.path / "manifests"

    @property
    def blobstore_path(self) -> Path:
        """The local folder behind the datastore `workspaceblobstore`."""
        return self.path / "workspaceblobstore"

    def exists(self) -> bool:
        """True if this is a whole workspace."""
        return (self.path / _MARK).is_file()

    def identity(self) -> Identity:
        """Read the mark.

        Raises:
            UserErrorException: the file was edited into something else; names the line or key.
        """
        return read_toml(self.path / _MARK, Identity, _KEYS)


def find(
    start: Path | None = None, explicit: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ
) -> WorkspaceFolder:
    """The workspace that this process means; `explicit` is the option's value, `start` where the search upwards begins.

    Raises:
        UnknownNameError: there is none; says how to make one.
    """
    for given, origin in ((explicit, "--workspace"), (environ.get(VARIABLE), VARIABLE)):
        if given:
            return _given(Path(given), origin)
    beginning = (start or Path.cwd()).absolute()
    for folder in (beginning, *beginning.parents):
        if (candidate := WorkspaceFolder(folder / FOLDER)).exists():
            return candidate
    if (default := _default(environ)).exists():
        return default
    raise UnknownNameError(f"no workspace: no {FOLDER} folder in {beginning} or above it; {_REMEDY}")


def default_for_run(
    start: Path | None = None, explicit: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ
) -> WorkspaceFolder:
    """As `find`, but where nothing is named or found, make ~/.moorage/default and say so, once, on stderr."""
    try:
        return find(start, explicit, environ)
    except UnknownNameError:
        if explicit or environ.get(VARIABLE):
            raise
    made = init(_default(environ).path)
    print(f"moorage: no workspace here, so I made {made.path}", file=sys.stderr)  # noqa: T201 # a line for the user, not a log
    return made


def named(identity: Identity, environ: Mapping[str, str] = os.environ) -> WorkspaceFolder:
    """The workspace that a v1 config.json selects, ~/.moorage/workspaces/<name>; made on first use, said on stderr."""
    folder = WorkspaceFolder(home(environ) / FOLDER / "workspaces" / _checked(identity.name))
    if not folder.exists():
        folder = init(folder.path, identity=identity)
        print(f"moorage: the workspace '{identity.name}' is {folder.path}", file=sys.stderr)  # noqa: T201 # as above
    return folder


def all_named(environ: Mapping[str, str] = os.environ) -> list[WorkspaceFolder]:
    """The workspaces below ~/.moorage: those that have names of their own, and the default one."""
    above = home(environ) / FOLDER
    places = [above / "default", *sorted((above / "workspaces").glob("*"))]
    return [folder for folder in map(WorkspaceFolder, places) if folder.exists()]


def init(path: Path, catalog_url: str | None = None, identity: Identity | None = None) -> WorkspaceFolder:
    """Make the workspace folder `path`, or return it if it is one already.

    Raises:
        UserErrorException: `path` holds other things, is a workspace with another catalog, or the URL holds a password.
    """
    folder = WorkspaceFolder(path.absolute())
    if catalog_url is not None:
        check_catalog_url(catalog_url)
    if folder.exists():
        return _same_catalog(folder, catalog_url)
    if path.exists() and (not path.is_dir() or any(each.name not in _OWN for each in path.iterdir())):
        raise UserErrorException(f"{path} holds something else; name another folder, such as {path / FOLDER}")
    wanted = identity or Identity(_name_for(folder.path), catalog=catalog_url)
    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder.path / ".lock"):
        if folder.exists():  # another process was faster
            return _same_catalog(folder, catalog_url)
        for each in (folder.runs_path, folder.spool_path, folder.manifests_path, folder.blobstore_path):
            each.mkdir(exist_ok=True)
        write_whole(folder.path / ".gitignore", "*\n")
        write_whole(folder.path / _MARK, _mark_text(wanted))
    return folder


def check_catalog_url(url: str) -> None:
    """Refuse a URL that holds a password: it would stand in workspace.toml, and in every error about the catalog.

    Raises:
        UserErrorException: it does; the text does not repeat it.
    """
    if _PASSWORD_BEFORE_HOST.match(url) or _PASSWORD_IN_QUERY.search(url):
        raise UserErrorException(
            "the catalog's URL holds a password; leave it out there, and put it into ~/.pgpass or PGPASSWORD"
        )


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's home folder, also where there is no user database."""
    given = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(given) if given else Path.home()


def _given(path: Path, origin: str) -> WorkspaceFolder:
    for candidate in (path, path / FOLDER):
        if (folder := WorkspaceFolder(candidate.absolute())).exists():
            return folder
    raise UnknownNameError(f"no workspace at {path} (from {origin}); make one with `moorage --workspace {path} init`")


def _default(environ: Mapping[str, str]) -> WorkspaceFolder:
    return WorkspaceFolder(home(environ) / FOLDER / "default")


def _name_for(path: Path) -> str:
    folder = path.parent if path.name == FOLDER else path
    return re.sub(r"[^A-Za-z0-9_.-]", "-", folder.name).lstrip("_.-")[:100] or "workspace"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserErrorException(f"{name!r} is no name for a workspace: letters, digits, '_', '-', '.', at most 100")
    return name


def _same_catalog(folder: WorkspaceFolder, catalog_url: str | None) -> WorkspaceFolder:
    if catalog_url is not None and folder.identity().catalog != catalog_url:
        raise UserErrorException(f"{folder.path} is a workspace with another catalog; change 'catalog' in its {_MARK}")
    return folder


def _mark_text(identity: Identity) -> str:
    lines = ["# A Moorage workspace. `catalog` may name a team's database, as an SQLAlchemy URL without a password."]
    for key in _KEYS:
        value = getattr(identity, key)
        lines.append(f"# {key} =" if value is None else f"{key} = {toml_text(value)}")
    return "\n".join(lines) + "\n"
