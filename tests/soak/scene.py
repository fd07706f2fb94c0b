"""What the injectors harm."""

from dataclasses import dataclass
from pathlib import Path

from mountd import client
from tests.support.cgroups import Cgroup
from tests.support.storms import Served


@dataclass(frozen=True, slots=True)
class Scene:
    """What can be harmed; `disk` is the small file system that the cache folder lies on."""

    world: Served
    mounts: tuple[client.Mount, ...]
    disk: Path
    cache: Path
    group: Cgroup | None
