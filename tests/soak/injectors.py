"""The injectors: each a context that harms a scene on entry and undoes, at its end, what would not pass by itself.

An injector yields how many things it injected, or what will have counted them at its end. A new one is a function and a line
in INJECTORS.
"""

import contextlib
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
from mountd.dataset.extents import FileKey
from mountd.dataset.manifest import Manifest
from mountd.errors import MountdError
from tests.soak.killing import hanging_worker, killed_workers, upgraded_worker, worker_out_of_memory
from tests.soak.scene import Scene
from tests.support import wire_faults as faults
from tests.support.caches import files_of, opened
from tests.support.damage_storm import held
from tests.support.fault_proxy import Injection
from tests.support.storms import KIB, MIB

FLIPS = 20_000  # an injection; the storm that reads after each flip of its own is `damage_storm`
_STALLS = 3
_QUEUED = 100
_GRANULE_BYTES = 64 * KIB
# Those that may pass. 200 in the place of 206 is not among them: the whole file is asked for then, and the proxy, which
# holds what it hands on, would take the memory of the machine for a sparse one.
WIRE_FAULTS = (
    faults.latency(0.5),
    faults.trickle(16 * KIB, 0.02),
    faults.stall(200),
    faults.reset(),
    faults.short(),
    faults.brief(),
    faults.wrong_range(),
    faults.page(206, xml=True),
    faults.refusal(500),
    faults.refusal(429, retry_after="1"),
    faults.refusal(503, "ServerBusy", retry_after="1"),
)


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
def damaged_queue(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """Another process of the node keeps what the mounts read, and each extent is damaged while it waits for the disk."""
    files = [file for path in scene.world.files if (file := _key(scene, path)).size > _GRANULE_BYTES]
    done = 0
    with opened(scene.cache, 16 * MIB) as cache, held(cache) as gate:
        gate.clear()
        for _ in range(_QUEUED):
            file = chosen.choice(files)
            offset = chosen.randrange(file.size // _GRANULE_BYTES) * _GRANULE_BYTES
            with (scene.world.plain / file.key).open("rb") as stream:
                data = bytearray(os.pread(stream.fileno(), _GRANULE_BYTES, offset))
            if cache.put(file.digest, offset, data, lambda: None):
                data[chosen.randrange(len(data))] ^= chosen.randrange(1, 256)
                done += 1
        gate.set()
        cache.drain(20)
    yield done


def _key(scene: Scene, path: str) -> FileKey:
    with contextlib.closing(Manifest.open(scene.world.manifest)) as manifest:
        entry = manifest.find(path)
        assert entry is not None
        return FileKey.of(manifest.sources[0], entry.inode, 0, manifest.key(entry), entry.etag, entry.size)


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
def wire_faults(scene: Scene, _: random.Random) -> Iterator[Injection]:
    """A third of the requests meets one of the faults that may pass."""
    try:
        yield scene.proxy.inject(*WIRE_FAULTS, share=1 / 3)
    finally:
        scene.proxy.clear()


@contextmanager
def stalled_server(scene: Scene, _: random.Random) -> Iterator[Injection]:
    """Some requests get no answer at all."""
    try:
        yield scene.proxy.inject(faults.stall(), times=_STALLS)
    finally:
        scene.proxy.clear()


@contextmanager
def refused_connections(scene: Scene, _: random.Random) -> Iterator[int]:
    """Every connection is refused, and those that there are break off."""
    with scene.proxy.refusing():
        yield 1


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


Injector = Callable[[Scene, random.Random], AbstractContextManager[int | Injection]]
INJECTORS: dict[str, Injector] = {
    each.__name__.replace("_", " "): each
    for each in (
        flips,
        truncations,
        damaged_queue,
        full_disk,
        removed_cache,
        wire_faults,
        refused_connections,
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
