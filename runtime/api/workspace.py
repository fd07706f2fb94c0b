"""Workspace: v1's face of a workspace folder.

v1 names a workspace by four strings, mostly from a `config.json`. They select a folder: the one that MOORAGE_WORKSPACE
names, else the nearest `.moorage/` if it has that name, else ~/.moorage/workspaces/<name>, which is made on first use.
Without a `config.json` it is the folder that `runtime.workspace.find` finds. No service is contacted, and the strings that a
service would know are always there: what was given, else 'local' or zeros.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from runtime import datastores
from runtime import workspace as workspaces
from runtime.datastores import databases
from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import Identity, WorkspaceFolder

if TYPE_CHECKING:
    from runtime.api.compute import ComputeTarget
    from runtime.api.datastore import Datastore
    from runtime.api.environment import Environment
    from runtime.api.experiment import Experiment
    from runtime.api.keyvault import Keyvault
    from runtime.api.model import Model
    from runtime.api.run import Run

_FOLDERS = (".azureml", "aml_config", "")
_FILES = ("config.json", "project.json")
_KEYS = ("subscription_id", "resource_group", "workspace_name")


class Workspace:
    """A workspace; `folder` is where it lies."""

    def __init__(
        self,
        subscription_id: str,
        resource_group: str,
        workspace_name: str,
        auth: object = None,  # noqa: ARG002 # v1's parameter; nobody has to be convinced here
        **_: object,  # v1's private ones
    ) -> None:
        for what, given in zip(_KEYS, (subscription_id, resource_group, workspace_name), strict=True):
            if not given or type(given) is not str:
                raise UserErrorException(
                    f"Workspace: {what} {given!r} is no text; Workspace.from_config() reads all three"
                )
        self._open(Identity(workspace_name, subscription_id, resource_group))

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None = None,
        auth: object = None,  # noqa: ARG003 # as above
        _logger: object = None,
        _file_name: str | None = None,
    ) -> Self:
        """The workspace of a v1 `config.json`: `path` itself if it is a file, else searched for from there upwards.

        Raises:
            UserErrorException: none is found, and no workspace folder either; or the file lacks a key.
        """
        start = Path(path or ".").absolute()
        found = start if start.is_file() else _search(start, _file_name)
        if found is not None:
            return cls(*_read_config(found))
        if path is not None:
            raise UserErrorException(f"no config.json in {start} or above it; write one with Workspace.write_config()")
        try:
            return cls.of(workspaces.find())
        except UnknownNameError as error:
            raise UserErrorException(f"no config.json in {start} or above it, and {error}") from None

    @classmethod
    def get(
        cls,
        name: str,
        auth: object = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        **_: object,  # v1's location, cloud and id
    ) -> Self:
        """The workspace called `name`."""
        unsaid = Identity(name)
        return cls(subscription_id or unsaid.subscription_id, resource_group or unsaid.resource_group, name, auth)

    @classmethod
    def create(
        cls,
        name: str,
        auth: object = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,  # noqa: ARG003 # v1's; a folder is where it is
        create_resource_group: bool = True,  # noqa: ARG003, FBT001, FBT002 # v1's
        *_: object,
        exist_ok: bool = False,
        **__: object,
    ) -> Self:
        """Make the workspace called `name`, ~/.moorage/workspaces/<name>; what v1 would build in a cloud is not needed.

        Raises:
            UserErrorException: there is one of that name, and `exist_ok` is False.
        """
        if not exist_ok and name in cls.list():
            raise UserErrorException(
                f"there is a workspace '{name}' already; use Workspace.get({name!r}), or exist_ok=True"
            )
        return cls.get(name, auth, subscription_id, resource_group)

    @classmethod
    def list(
        cls,
        subscription_id: str | None = None,
        auth: object = None,  # noqa: ARG003 # as above
        resource_group: str | None = None,
    ) -> "dict[str, list[Self]]":
        """The workspaces of this user by name, of one subscription or resource group if they are given."""
        found: dict[str, list[Self]] = {}
        for folder in workspaces.all_named():
            each = cls.of(folder)
            told = ((subscription_id, each.subscription_id), (resource_group, each.resource_group))
            if all(wanted in {None, known} for wanted, known in told):
                found.setdefault(each.name, []).append(each)
        return found

    @classmethod
    def of(cls, folder: WorkspaceFolder) -> Self:
        """The face of a workspace folder."""
        made = cls.__new__(cls)
        made.folder, made._identity = folder, folder.identity()  # noqa: SLF001 # our own
        return made

    def write_config(self, path: str | os.PathLike[str] | None = None, file_name: str | None = None) -> None:
        """Write `.azureml/config.json` below the folder `path` (the current one if None)."""
        target = Path(path or ".") / ".azureml" / (file_name or "config.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        values = (self.subscription_id, self.resource_group, self.name)
        target.write_text(json.dumps(dict(zip(_KEYS, values, strict=True)), indent=4) + "\n", "utf-8")

    @property
    def name(self) -> str:
        """The workspace's name."""
        return self._identity.name

    @property
    def subscription_id(self) -> str:
        """As the identity says; nobody checks it."""
        return self._identity.subscription_id

    @property
    def resource_group(self) -> str:
        """As the identity says; nobody checks it."""
        return self._identity.resource_group

    @property
    def location(self) -> str:
        """As the identity says; 'local' where it says nothing."""
        return self._identity.location

    @property
    def sku(self) -> str:
        """v1's word for what is paid for; nothing is."""
        return "Basic"

    @property
    def datastores(self) -> "dict[str, Datastore]":
        """Every datastore by name."""
        from runtime.api.datastore import Datastore

        known = [each.name for each in datastores.load_all(self.folder).values()]
        known += [each.name for each in databases.load_all(self.folder).values()]
        return {name: Datastore(self, name) for name in known}

    @property
    def datasets(self) -> Mapping[str, Any]:
        """The latest version of every dataset by name; read when asked for."""
        return _Datasets(self)

    @property
    def compute_targets(self) -> "dict[str, ComputeTarget]":
        """Every compute target by name; all of them are this machine."""
        from runtime.api.compute import ComputeTarget

        return {each.name: each for each in ComputeTarget.list(self)}

    @property
    def environments(self) -> "dict[str, Environment]":
        """The latest version of every registered environment by name."""
        from runtime.api.environment import Environment

        return Environment.list(self)

    @property
    def experiments(self) -> "dict[str, Experiment]":
        """The experiments that have runs, by name."""
        from runtime.api.experiment import Experiment
        from runtime.job import runs

        names = sorted({record.spec.experiment for record in runs.read_all(self.folder)})
        return {name: Experiment(self, name) for name in names}

    def get_run(self, run_id: str) -> "Run":
        """The run with this id.

        Raises:
            UnknownNameError: there is none.
        """
        from runtime.api.experiment import Experiment
        from runtime.api.run import Run
        from runtime.job import runs

        return Run(Experiment(self, runs.read(self.folder, run_id).spec.experiment), run_id)

    @property
    def models(self) -> "dict[str, Model]":
        """The newest version of every model, by name."""
        from runtime.api.model import Model

        return {model.name: model for model in Model.list(self, latest=True)}

    def get_default_keyvault(self) -> "Keyvault":
        """The secrets of this workspace's users."""
        from runtime.api.keyvault import Keyvault

        return Keyvault(self)

    def get_details(self) -> dict[str, Any]:
        """The workspace as v1 describes it; `storageAccount` is the folder."""
        scope = f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
        return {
            "id": f"{scope}/providers/Microsoft.MachineLearningServices/workspaces/{self.name}",
            "name": self.name,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": self.location,
            "sku": self.sku,
            "tags": {},
            "workspaceid": self.name,
            "friendlyName": self.name,
            "description": "",
            "storageAccount": str(self.folder.path),
        }

    def get_default_datastore(self) -> "Datastore":
        """The datastore that is used where none is named."""
        from runtime.api.datastore import Datastore

        return Datastore(self)

    def set_default_datastore(self, name: str) -> None:
        """Use the datastore `name` where none is named."""
        datastores.set_default(self.folder, name)

    def __repr__(self) -> str:
        return f"Workspace(name={self.name!r}, folder={str(self.folder.path)!r})"

    def _open(self, identity: Identity) -> None:
        self.folder = _select(identity)
        self._identity = identity


class _Datasets(Mapping[str, Any]):
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def __getitem__(self, name: str) -> Any:
        from runtime.api.dataset import Dataset

        try:
            return Dataset.get_by_name(self._workspace, name)
        except UnknownNameError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        from runtime.catalog import open_catalog

        with open_catalog(self._workspace.folder) as catalog:
            return iter([record.name for record in catalog.list()])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _select(identity: Identity) -> WorkspaceFolder:
    if os.environ.get(workspaces.VARIABLE):
        return workspaces.find()
    try:
        nearest = workspaces.find()
    except UnknownNameError:
        return workspaces.named(identity)
    return nearest if nearest.identity().name == identity.name else workspaces.named(identity)


def _search(start: Path, file_name: str | None) -> Path | None:
    names = (file_name,) if file_name else _FILES
    for folder in (start, *start.parents):
        for below in _FOLDERS:
            for name in names:
                if (candidate := folder / below / name).is_file():
                    return candidate
    return None


def _read_config(path: Path) -> tuple[str, str, str]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserErrorException(f"{path}: cannot be read as JSON ({error}); mend it") from None
    if isinstance(document, dict) and isinstance(document.get("Scope"), str):  # the form before 2018
        parts = document["Scope"].strip("/").split("/")
        scope = dict(zip((part.lower() for part in parts[::2]), parts[1::2], strict=False))
        document = dict(zip(_KEYS, map(scope.get, ("subscriptions", "resourcegroups", "workspaces")), strict=True))
    values = [document.get(key) if isinstance(document, dict) else None for key in _KEYS]
    if missing := [key for key, value in zip(_KEYS, values, strict=True) if not isinstance(value, str) or not value]:
        raise UserErrorException(f"{path}: no {missing[0]!r} in it; a v1 config.json has {', '.join(_KEYS)}")
    subscription_id, resource_group, name = map(str, values)
    return subscription_id, resource_group, name
