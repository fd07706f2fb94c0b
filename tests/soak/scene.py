"""What the injectors harm."""

from dataclasses import dataclass
from pathlib import Path

from mountd import client
from tests.support.cgroups import Cgroup
from tests.support.fault_proxy import FaultProxy
from tests.support.storms import Served


@dataclass(frozen=True, slots=True)
class Scene:
    """What can be harmed; `proxy` stands before the server, `disk` is the small file system of the cache folder."""

    world: Served
    proxy: FaultProxy
    mounts: tuple[client.Mount, ...]
    disk: Path
    cache: Path
    group: Cgroup | None
