"""The injectors: each a context that harms a scene on entry and undoes, at its end, what would not pass by itself.

An injector yields how many things it injected. A new one is a function and a line in INJECTORS.
"""

import os
import random
import shutil
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from mountd import client
from mountd.errors import MountdError
from tests.soak.killing import hanging_worker, killed_workers, upgraded_worker, worker_out_of_memory
from tests.soak.scene import Scene
from tests.support.caches import files_of
from tests.support.http_server import Fault
from tests.support.storms import MIB

FLIPS = 20_000  # an injection: 50 of them make a million
_STALLS = 3
_FAULTS = ("status", "truncate", "reset", "brief")  # what a store may do now and then, and a read survives


@contextmanager
def flips(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """Bytes of segments and index become others."""
    done, files = 0, files_of(scene.cache)
    for path in files:
        with suppress(OSError), path.open("r+b", buffering=0) as stream:
            size = path.stat().st_size
            for _ in range(FLIPS // len(files) if size else 0):
                at = chosen.randrange(size)
                if old := os.pread(stream.fileno(), 1, at):
                    done += os.pwrite(stream.fileno(), bytes([old[0] ^ chosen.randrange(1, 256)]), at)
    yield done


@contextmanager
def truncations(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """A third of the cache's files lose their ends."""
    done = 0
    for path in files_of(scene.cache):
        if chosen.random() < 1 / 3:
            with suppress(OSError):
                os.truncate(path, chosen.randrange(path.stat().st_size + 1))
                done += 1
    yield done


@contextmanager
def full_disk(scene: Scene, _: random.Random) -> Iterator[int]:
    """The cache's disk has no byte left."""
    ballast = scene.disk / "ballast"
    with ballast.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(MIB))
    try:
        yield 1
    finally:
        ballast.unlink()


@contextmanager
def removed_cache(scene: Scene, _: random.Random) -> Iterator[int]:
    """The cache folder is gone."""
    shutil.rmtree(scene.cache, ignore_errors=True)
    yield 1


@contextmanager
def failing_server(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """Some requests fail, in every way that may pass."""
    faults = [Fault(chosen.choice(_FAULTS)) for _ in range(10)]
    scene.world.server.faults.extend(faults)
    try:
        yield len(faults)
    finally:
        scene.world.server.faults.clear()


@contextmanager
def stalled_server(scene: Scene, _: random.Random) -> Iterator[int]:
    """Some requests get no answer at all."""
    scene.world.server.faults.extend([Fault("stall")] * _STALLS)
    yield _STALLS


@contextmanager
def cache_commands(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """The operator trims or clears the cache."""
    told = [["trim", "--to", "4MiB"], ["clear"]][chosen.randrange(2)]
    command = [str(Path(sys.executable).with_name("mountd")), "cache", *told, "--cache-dir", str(scene.cache)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    yield 1


@contextmanager
def plan_and_warm(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """A plan in random order, and a warming that is left in the middle; what a mount refuses is no fault."""
    mount = chosen.choice(scene.mounts)
    inodes = list(range(2, 2 + len(scene.world.files)))
    chosen.shuffle(inodes)
    client.plan(mount.mountpoint, array("I", inodes), mount.status()["digest"])
    with suppress(MountdError):
        next(client.warm(mount.mountpoint, [chosen.choice(scene.world.files)]), None)
    yield 1


@contextmanager
def memory_pressure(scene: Scene, _: random.Random) -> Iterator[int]:
    """The group's page cache is driven out."""
    if scene.group is None:
        yield 0
        return
    yield scene.group.squeeze()


Injector = Callable[[Scene, random.Random], AbstractContextManager[int]]
INJECTORS: dict[str, Injector] = {
    each.__name__.replace("_", " "): each
    for each in (
        flips,
        truncations,
        full_disk,
        removed_cache,
        failing_server,
        cache_commands,
        plan_and_warm,
        memory_pressure,
        killed_workers,
        hanging_worker,
        worker_out_of_memory,
        upgraded_worker,
        stalled_server,
    )
}
