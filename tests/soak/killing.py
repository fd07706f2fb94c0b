"""The injectors that end workers: killed, hanging, killed by the kernel for memory, upgraded. The mount must not notice."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mountd import client, records
from tests.soak.scene import Scene
from tests.support.cgroups import limited
from tests.support.mounts import is_running
from tests.support.waiting import until

_KILLS = 3
_REPLACED_S = 30  # a hang takes five seconds to be seen, and this machine has other things to do
_NO_ROOM_BYTES = 4 << 20


@contextmanager
def killed_workers(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """The worker of each mount is killed (SIGKILL), and a moment later the next one, too."""
    killed = 0
    for _ in range(_KILLS):
        for mount in scene.mounts:
            record = records.find(mount.mountpoint)
            killed += record is not None and record.worker.kill()
        time.sleep(chosen.uniform(0, 0.6))  # at any moment of the next one's life
    yield killed


@contextmanager
def hanging_worker(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """A worker stands still (SIGSTOP) until it is replaced."""
    pid = _worker(chosen.choice(scene.mounts))
    os.kill(pid, signal.SIGSTOP)
    try:
        yield 1
        until(lambda: not is_running(pid), deadline_s=_REPLACED_S, what="the end of a worker that hangs")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def worker_out_of_memory(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """The kernel kills a worker, because its group may have no more memory; one that needs none meanwhile lives."""
    if scene.group is None:
        yield 0
        return
    pid = _worker(chosen.choice(scene.mounts))
    with limited(_NO_ROOM_BYTES) as group:
        with suppress(OSError):  # it has died meanwhile
            (group.folder / "cgroup.procs").write_text(str(pid))
        end_s = time.monotonic() + 5
        while group.pids() and time.monotonic() < end_s:
            time.sleep(0.05)
        for each in group.pids():
            (scene.group.folder / "cgroup.procs").write_text(str(each))
        yield group.oom_kills()


@contextmanager
def upgraded_worker(scene: Scene, chosen: random.Random) -> Iterator[int]:
    """`mountd upgrade`."""
    client.upgrade(chosen.choice(scene.mounts).mountpoint)
    yield 1


def _worker(mount: client.Mount) -> int:
    return int(mount.status()["worker_pid"])
