"""ComputeTarget and its kinds: v1's face of machines, which here are names for this one.

A script makes its cluster where it does not find it, so a name has to be kept: in the workspace's `compute.json`, with
what was asked for. A job on any of them runs on this machine, and that is told (see ScriptRunConfig). Nothing is started,
scaled or paid for; passwords and keys of administrators are not kept.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runtime.errors import ComputeTargetException, UserErrorException
from runtime.workspace import documents

if TYPE_CHECKING:
    from runtime.api.workspace import Workspace

_KIND = "compute"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,62}")
_NO_SECRETS = ("password", "ssh_key", "public_key", "private_key", "access_token", "passphrase")


@dataclass(frozen=True, slots=True)
class ComputeConfiguration:
    """What a compute target was asked to be: its kind in v1's words, and its properties."""

    kind: str
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ComputeStatus:
    """How a compute target is doing: always well."""

    kind: str
    properties: Mapping[str, Any]

    @property
    def provisioning_state(self) -> str:
        """Always Succeeded."""
        return "Succeeded"

    @property
    def allocation_state(self) -> str:
        """Always Steady."""
        return "Steady"

    def serialize(self) -> dict[str, Any]:
        """As v1 prints it."""
        nodes = {"currentNodeCount": 1, "targetNodeCount": 1, "errors": None, "vmSize": self.properties.get("vm_size")}
        scale = {"minNodeCount": self.properties.get("min_nodes"), "maxNodeCount": self.properties.get("max_nodes")}
        states = {"allocationState": self.allocation_state, "provisioningState": self.provisioning_state}
        return {**nodes, **states, "scaleSettings": scale, "runsOn": "this machine"}


class ComputeTarget:
    """The compute target `name` of `workspace`, as the class of its kind.

    Raises:
        ComputeTargetException: there is none of this name.
    """

    _kind = ""

    def __new__(cls, workspace: "Workspace", name: str) -> "ComputeTarget":  # noqa: PYI034 # of a subclass, as v1's
        """As the class of its kind."""
        document = documents.load(workspace.folder, _KIND).get(name)
        if document is None:
            raise ComputeTargetException(
                f"ComputeTargetNotFound: no compute target '{name}' in {workspace.folder.path}; ComputeTarget.create() "
                "makes one"
            )
        if cls._kind not in {"", document["type"]}:
            raise ComputeTargetException(f"compute target '{name}' is of type {document['type']}, not {cls._kind}")
        made: ComputeTarget = object.__new__(_CLASSES.get(document["type"], cls))
        return made

    def __init__(self, workspace: "Workspace", name: str) -> None:
        document = documents.load(workspace.folder, _KIND).get(name, {"type": self._kind, "properties": {}})
        self.workspace = workspace
        self.name = name
        self.type: str = document["type"]
        self._properties: dict[str, Any] = document["properties"]

    @staticmethod
    def create(workspace: "Workspace", name: str, provisioning_configuration: ComputeConfiguration) -> "ComputeTarget":
        """Keep the name with what was asked for; no machine is made.

        Raises:
            ComputeTargetException: the name is none that v1 takes, or the configuration is of something else.
        """
        if not isinstance(provisioning_configuration, ComputeConfiguration):
            raise ComputeTargetException(
                f"compute target '{name}': {type(provisioning_configuration).__name__} is no configuration; make one by "
                "AmlCompute.provisioning_configuration()"
            )
        if not _NAME.fullmatch(name):
            raise ComputeTargetException(
                f"{name!r} is no name for a compute target; use 2 to 63 letters, digits and '-', a letter first"
            )
        with documents.change(workspace.folder, _KIND) as kept:
            properties = {
                key: value for key, value in provisioning_configuration.properties.items() if _is_plain(value)
            }
            kept[name] = {"type": provisioning_configuration.kind, "properties": properties}
        return ComputeTarget(workspace, name)

    attach = create

    @staticmethod
    def list(workspace: "Workspace") -> "list[ComputeTarget]":
        """Every compute target of the workspace."""
        return [ComputeTarget(workspace, name) for name in documents.load(workspace.folder, _KIND)]

    @property
    def provisioning_state(self) -> str:
        """Always Succeeded."""
        return "Succeeded"

    @property
    def provisioning_errors(self) -> None:
        """None: nothing is provisioned."""

    @property
    def vm_size(self) -> str | None:
        """The size that was asked for."""
        return self._properties.get("vm_size")

    @property
    def tags(self) -> dict[str, str]:
        """The tags that were given."""
        return dict(self._properties.get("tags") or {})

    @property
    def status(self) -> ComputeStatus:
        """As `get_status`."""
        return self.get_status()

    def get_status(self) -> ComputeStatus:
        """How it is doing."""
        return ComputeStatus(self.type, self._properties)

    def refresh_state(self) -> None:
        """Nothing to refresh."""

    def wait_for_completion(
        self,
        show_output: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        min_node_count: int | None = None,  # noqa: ARG002 # as above; there is one node
        timeout_in_minutes: int = 25,  # noqa: ARG002 # as above; there is nothing to wait for
        is_delete_operation: bool = False,  # noqa: ARG002, FBT001, FBT002 # as above
    ) -> None:
        """Return at once."""
        if show_output:
            print(f"Succeeded: '{self.name}' stands for this machine")  # noqa: T201 # what v1 prints to a notebook

    def update(self, **properties: Any) -> None:
        """Keep other numbers of nodes, or an idle time."""
        self._properties |= {key: value for key, value in properties.items() if value is not None}
        with documents.change(self.workspace.folder, _KIND) as kept:
            kept[self.name] = {"type": self.type, "properties": self._properties}

    def delete(self) -> None:
        """Forget the name."""
        with documents.change(self.workspace.folder, _KIND) as kept:
            kept.pop(self.name, None)

    detach = delete

    def serialize(self) -> dict[str, Any]:
        """As v1 prints it."""
        return {"name": self.name, "type": self.type, "properties": dict(self._properties)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, type={self.type!r})"


class AmlCompute(ComputeTarget):
    """v1's cluster."""

    _kind = "AmlCompute"

    @staticmethod
    def provisioning_configuration(
        vm_size: str = "",
        vm_priority: str = "dedicated",
        min_nodes: int = 0,
        max_nodes: int | None = None,
        idle_seconds_before_scaledown: int | str | None = 1800,
        **others: Any,
    ) -> ComputeConfiguration:
        """What a cluster is asked to be; it is kept and has no effect."""
        given = {"vm_size": vm_size, "vm_priority": vm_priority, "min_nodes": min_nodes, "max_nodes": max_nodes}
        return _configuration(
            AmlCompute, idle_seconds_before_scaledown=idle_seconds_before_scaledown, **given, **others
        )

    @staticmethod
    def supported_vmsizes(workspace: "Workspace", location: str | None = None) -> Sequence[Mapping[str, Any]]:  # noqa: ARG004 # v1's signature
        """This machine."""
        return [{"name": "this machine", "vCPUs": os.cpu_count()}]


class ComputeInstance(ComputeTarget):
    """v1's workstation."""

    _kind = "ComputeInstance"

    @staticmethod
    def provisioning_configuration(vm_size: str = "", **others: Any) -> ComputeConfiguration:
        """What a workstation is asked to be; it is kept and has no effect."""
        return _configuration(ComputeInstance, vm_size=vm_size, **others)

    def start(self, wait_for_completion: bool = False, show_output: bool = False) -> None:  # noqa: FBT001, FBT002 # v1's signature
        """Nothing to start."""

    stop = restart = start


class RemoteCompute(ComputeTarget):
    """A machine that v1 reached by ssh; this one is used instead."""

    _kind = "VirtualMachine"

    @staticmethod
    def attach_configuration(
        username: str | None = None, address: str | None = None, resource_id: str | None = None, **others: Any
    ) -> ComputeConfiguration:
        """What a machine is reached by; kept without password or key, and nobody is called."""
        return _configuration(RemoteCompute, username=username, address=address, resource_id=resource_id, **others)


_CLASSES: dict[str, type[ComputeTarget]] = {each._kind: each for each in (AmlCompute, ComputeInstance, RemoteCompute)}  # noqa: SLF001 # our own


def _configuration(of: type[ComputeTarget], **properties: Any) -> ComputeConfiguration:
    kept = {key: value for key, value in properties.items() if not key.endswith(_NO_SECRETS)}
    return ComputeConfiguration(of._kind, kept)  # noqa: SLF001 # as above


def _is_plain(value: object) -> bool:
    """True for what JSON can keep."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    return value is None or isinstance(value, str | int | float)


def name_of(compute_target: object) -> str:
    """The name of what was given as a compute target: None is this machine, 'local'.

    Raises:
        UserErrorException: it is neither a name nor a compute target.
    """
    if compute_target is None:
        return "local"
    name = compute_target if isinstance(compute_target, str) else getattr(compute_target, "name", None)
    if not isinstance(name, str) or not name:
        raise UserErrorException(
            f"compute_target: {type(compute_target).__name__} is none; give a name or a ComputeTarget"
        )
    return name
